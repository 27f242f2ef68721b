"""Header blocks, held against the hpack library: what either writes, the other reads; and what is no block to one is none to the other."""

import pytest
from hpack import Decoder as TheirDecoder
from hpack import Encoder as TheirEncoder
from hpack import HeaderTuple, NeverIndexedHeaderTuple
from hpack.exceptions import HPACKError
from hypothesis import given
from hypothesis import strategies as st

from podvitals.wire import fields
from podvitals.wire.fields import LONGEST, TABLE, Decoder, Encoder, Malformed, TooLong

COMMON = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources"),
    ("te", "trailers"),
    ("grpc-status", "0"),
    ("grpc-message", ""),
]
NAMES = st.text(st.sampled_from("abc-:\xe4"), min_size=1, max_size=8)
PAIRS = st.sampled_from(COMMON) | st.tuples(NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
HEADERS = st.lists(PAIRS, max_size=8)


@given(st.lists(HEADERS, max_size=6))
def test_what_we_write_they_read(blocks: list[list[tuple[str, str]]]) -> None:
    ours, theirs = Encoder(), TheirDecoder()
    for number, headers in enumerate(blocks):
        if number == 1:
            # As a peer that makes its table smaller; it may then insist on being told.
            theirs.max_allowed_table_size = 0
        read = [(bytes(name).decode("latin-1"), bytes(value).decode()) for name, value in theirs.decode(ours.encode(headers), raw=True)]
        assert read == headers


@given(st.lists(st.tuples(HEADERS, st.booleans(), st.sampled_from([None, None, 0, 100, TABLE])), max_size=8), st.booleans())
def test_what_they_write_we_read(blocks: list[tuple[list[tuple[str, str]], bool, int | None]], huffman: bool) -> None:
    ours, theirs = Decoder(), TheirEncoder()
    for headers, sensitive, size in blocks:
        if size is not None:
            theirs.header_table_size = size
        kind = NeverIndexedHeaderTuple if sensitive else HeaderTuple
        raw = theirs.encode([kind(name.encode("latin-1"), value.encode()) for name, value in headers], huffman=huffman)
        assert list(ours.decode(raw)) == headers


@given(st.lists(st.binary(max_size=40) | HEADERS.map(lambda headers: TheirEncoder().encode(headers)), max_size=4))
def test_any_bytes_are_what_they_say_or_no_block(blocks: list[bytes]) -> None:
    ours, theirs = Decoder(), TheirDecoder()
    for raw in blocks:
        try:
            read = [
                (bytes(name).decode("latin-1"), bytes(value).decode("utf-8", "replace")) for name, value in theirs.decode(raw, raw=True)
            ]
        except HPACKError:
            with pytest.raises(Malformed):
                ours.decode(raw)
            return
        assert list(ours.decode(raw)) == read


def test_the_same_bytes_mean_something_else_when_the_table_has_changed() -> None:
    decoder = Decoder()
    assert decoder.decode(b"\x40\x01a\x011") == (("a", "1"),)
    assert decoder.decode(b"\xbe") == (("a", "1"),)
    assert decoder.decode(b"\xbe") == (("a", "1"),)
    assert decoder.decode(b"\x40\x01b\x012") == (("b", "2"),)
    assert decoder.decode(b"\xbe") == (("b", "2"),)


def test_a_block_that_stands_for_more_than_it_may_is_refused() -> None:
    """Four bytes may name a header of 4,000 bytes."""
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000)
    most = LONGEST // 4033
    assert len(decoder.decode(b"\xbe" * most)) == most
    with pytest.raises(TooLong, match=f"more than {LONGEST} bytes"):
        decoder.decode(b"\xbe" * (most + 1))
    with pytest.raises(Malformed):
        decoder.decode(b"\xbe" * (2 * most + 4))


def test_long_headers_are_not_kept_when_they_are_sent() -> None:
    kept = fields._encoded.cache_info().currsize
    Encoder().encode([("x" * 60_000, ""), ("y", "z" * 60_000)])
    assert fields._encoded.cache_info().currsize == kept
