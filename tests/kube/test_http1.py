"""HTTP/1.1 as bytes: what is sent, what is understood however it is cut, and what is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.errors import InvalidInput
from podvitals.kube.http1 import CHUNK_LINE_LIMIT, HEAD_LIMIT, Answer, BadAnswer, request

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = {
    "sized": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "chunked": (CHUNKED + b"3\r\nhel\r\n2;name=value\r\nlo\r\n0\r\n\r\n", b"hello"),
    "with trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nExpires: never\r\nX: y\r\n\r\n", b"hello"),
    "a body like a head": (CHUNKED + b"c\r\nHTTP/1.1 200\r\n1\r\n\r\r\n0\r\n\r\n", b"HTTP/1.1 200\r"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "without a body": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "announced": (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        b"ok",
    ),
    "without a reason": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", b"ok"),
    "doubled the same": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok", b"ok"),
}


def fed(data: bytes, cuts: set[int] = frozenset()) -> tuple[Answer, bytes]:  # type: ignore[assignment]
    """The answer and its body, `data` cut at `cuts`."""
    answer, body = Answer(), b""
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    for start, end in pairwise(edges):
        answer.feed(data[start:end])
        body += answer.take()
    return answer, body


@given(name=st.sampled_from(sorted(WHOLE)), cuts=st.sets(st.integers(0, 160)))
def test_an_answer_is_the_same_however_it_is_cut(name: str, cuts: set[int]) -> None:
    data, body = WHOLE[name]
    answer, got = fed(data, cuts)
    assert (got, answer.complete, answer.reusable) == (body, True, True)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_an_answer_that_is_cut_short_is_not_complete(name: str) -> None:
    data, _ = WHOLE[name]
    for length in range(len(data)):
        answer, _ = fed(data[:length])
        assert not answer.complete
        assert not answer.end()


def test_what_is_there_of_a_body_is_given_before_the_rest_came() -> None:
    """A line of a watch must not wait for the next one."""
    answer = Answer()
    answer.feed(CHUNKED + b"6\r\nline 1")
    assert (answer.status, answer.take(), answer.complete) == (200, b"line 1", False)
    answer.feed(b"\r\n6\r\nline 2\r\n")
    assert (answer.take(), answer.take()) == (b"line 2", b"")


def test_headers_are_found_by_their_names_in_lower_case_and_doubled_ones_are_joined() -> None:
    answer, _ = fed(b"HTTP/1.1 429 Too Many\r\nRETRY-after:  7 \r\nVary: a\r\nvary: b\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.headers) == (429, {"retry-after": "7", "vary": "a, b", "content-length": "0"})


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_a_body_of_no_stated_length_lasts_as_long_as_its_connection(version: bytes) -> None:
    answer, body = fed(version + b" 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
    assert (body, answer.complete, answer.reusable) == (b"Client sent an HTTP request to an HTTPS server.\n", False, False)
    assert answer.end()
    assert not answer.reusable


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_a_connection_that_ends_or_says_more_than_was_asked_is_not_used_again(data: bytes) -> None:
    answer, _ = fed(data)
    assert answer.complete
    assert not answer.reusable


def test_a_connection_of_http_1_0_that_is_to_last_is_used_again() -> None:
    assert fed(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")[0].reusable


def test_behind_the_answer_to_a_connect_another_protocol_begins() -> None:
    answer = Answer(head_only=True)
    answer.feed(b"HTTP/1.1 200 Connection established\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (answer.status, answer.complete) == (200, True)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "does not speak HTTP"),
        (b"\x15\x03\x01\x00\x02\x02F\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "does not speak HTTP"),
        ("HTTP/1.1 2\u00b20 OK\r\n\r\n".encode("latin-1"), "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "a header that is none"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\n\r\n", "a header that is none"),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", "a header that is none"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", "Content-Length is not a number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length is not a number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", "Content-Length is not a number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "Content-Length is not a number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n", "compressed"),
        (CHUNKED + b"0x5\r\n", "the length of a chunk is not a number"),
        (CHUNKED + b"\r\n", "the length of a chunk is not a number"),
        (CHUNKED + b"-1\r\n", "the length of a chunk is not a number"),
        (CHUNKED + b"1_0\r\n", "the length of a chunk is not a number"),
        (CHUNKED + b"2\r\nabc\r\n", "longer than it says"),
        (CHUNKED + b"1" * (CHUNK_LINE_LIMIT + 1), "the length of a chunk is longer"),
        (CHUNKED + b"0\r\nX: " + b"y" * HEAD_LIMIT, "what follows an answer is longer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * HEAD_LIMIT, "the head of an answer is longer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 17, "announce another"),
    ],
)
def test_what_is_not_understood_is_refused_and_not_guessed_at(data: bytes, told: str) -> None:
    with pytest.raises(BadAnswer, match=told):
        fed(data)


@given(st.binary(max_size=200), st.booleans())
def test_bytes_of_any_kind_are_an_answer_or_refused(data: bytes, chunked: bool) -> None:
    try:
        answer, body = fed((CHUNKED if chunked else b"HTTP/1.1 200 OK\r\n") + data)
    except BadAnswer:
        return
    assert len(body) <= len(data)
    assert answer.end() or not answer.complete


def test_a_request_says_how_long_its_body_is() -> None:
    assert request("GET", "/x?a=b", {"Host": "h:1"}) == b"GET /x?a=b HTTP/1.1\r\nHost: h:1\r\n\r\n"
    assert request("PATCH", "/x", {"Host": "h"}, b"{}") == b"PATCH /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
    assert request("DELETE", "/x", {}, b"").endswith(b"Content-Length: 0\r\n\r\n")


@pytest.mark.parametrize("token", ["a\r\nX-Remote-User: admin", "a\nb", "a\x00", "\u017e"])
def test_no_token_can_become_a_header_of_its_own(token: str) -> None:
    with pytest.raises(InvalidInput, match="the header Authorization cannot be sent") as caught:
        request("GET", "/", {"Authorization": f"Bearer {token}"})
    assert token not in str(caught.value)
