"""The reader of our own says what protobuf says, of whatever bytes; and comparing with the last report says what reading would."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podvitals.wire.report
from podvitals.device.health import Health
from podvitals.errors import PluginProtocolError
from podvitals.wire.convert import decode_report, encode_report
from podvitals.wire.messages import DeviceReport, Report
from podvitals.wire.report import Decoder, Layout, Plain
from tests.wire.test_golden import field, varint
from tests.wire.test_report import GOOD, GOOD_BYTES, entry


def read(raw: bytes, most: int = 1 << 20, step: int = 3) -> Decoder:
    decoder = Decoder(raw, most)
    while decoder.step(step):
        pass
    return decoder


def layout(raw: bytes) -> Layout:
    found = read(raw).layout
    assert found is not None
    return found


def same(raw: bytes) -> Report | None:
    """What both say; None where both say that it is no report."""
    try:
        expected = decode_report(raw)
    except PluginProtocolError:
        with pytest.raises(PluginProtocolError):
            read(raw)
        return None
    assert read(raw).report == expected
    return expected


FIELDS = st.one_of(
    st.tuples(st.sampled_from([2, 3, 4]), st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))).map(lambda f: field(*f)),
    st.tuples(st.sampled_from([1, 5, 6, 1001]), st.one_of(st.binary(max_size=8), st.just(field(1, "p") + field(2, "d")))).map(
        lambda f: field(*f)
    ),
    st.sampled_from(
        [b"\x0b\x0c", b"\x1b\x08\x01\x1c", b"\x98\x00\x07", b"\x8a\x80\x00\x02xy", b"\x0d1234", b"\x0912345678", b"\x1f", b"\x00"]
    ),
)
NAMED = st.tuples(st.sampled_from(["p", "q", "p/r", ""]), st.sampled_from(["d0", "d1", "D", ""])).map(
    lambda names: field(1, field(1, names[0]) + field(2, names[1]))
)
ENTRIES = st.tuples(NAMED | st.just(b""), st.lists(FIELDS, max_size=4)).map(lambda parts: field(1, parts[0] + b"".join(parts[1])))
PIECES = st.one_of(ENTRIES, ENTRIES, FIELDS, st.binary(max_size=12), st.just(GOOD_BYTES))


@given(st.lists(PIECES, max_size=6).map(b"".join))
@settings(max_examples=1000)
def test_it_says_what_protobuf_says(raw: bytes) -> None:
    same(raw)


@given(st.lists(ENTRIES, min_size=1, max_size=6).map(b"".join), st.integers(0, 200))
def test_a_report_cut_anywhere_is_what_protobuf_says(raw: bytes, at: int) -> None:
    same(raw[: at % (len(raw) + 1)])


SAID = st.builds(
    DeviceReport,
    st.just("node1"),
    st.just("?"),
    st.sampled_from([*Health, Health.HEALTHY, Health.HEALTHY]),
    st.sampled_from([0.0, 1.0, 127.0, 128.0, 1.7e9, 1.7e9 + 1, 253402300799.0]),
    st.sampled_from([0.0, 30.0, 30.0, 200.0]),
    st.sampled_from(["", "", "", "hot", "x" * 200]),
    st.sampled_from(["", "", "reset-gpu"]),
)
STATES = st.lists(SAID, min_size=1, max_size=9)


def named(said: list[DeviceReport]) -> list[DeviceReport]:
    return [one._replace(device=f"gpu-{number}") for number, one in enumerate(said)]


def through(known: Layout, devices: list[DeviceReport], raw: bytes, most: int = 99) -> tuple[list[DeviceReport], Layout] | None:
    """The report in `raw` as the difference from the last one makes it."""
    match = known.match(raw, most)
    if match is None:
        return None
    said = [match.changed.get(index, one) for index, one in enumerate(devices)]
    return [one._replace(checked_at=time) for one, time in zip(said, match.times, strict=True)], match.layout


@given(first=STATES, changes=st.lists(st.dictionaries(st.integers(0, 8), SAID, max_size=4), max_size=4), ticks=st.booleans())
@settings(max_examples=500)
def test_a_report_of_the_same_devices_is_understood_by_its_difference(
    first: list[DeviceReport], changes: list[dict[int, DeviceReport]], ticks: bool
) -> None:
    devices = named(first)
    known = layout(b"".join(encode_report(devices)))
    for change in changes:
        now = [change.get(index, one) for index, one in enumerate(devices)]
        if ticks:
            now = [one._replace(checked_at=one.checked_at + 1) if one.checked_at else one for one in now]
        expected = named(now)
        raw = b"".join(encode_report(expected))
        found = through(known, devices, raw)
        assert found is not None
        devices, known = found
        assert tuple(devices) == decode_report(raw).devices
        again = layout(raw)
        assert (known._starts, known._times, known._masked()) == (again._starts, again._times, again._masked())


@given(devices=STATES.map(named), seed=st.integers(0, 2**32), flips=st.integers(1, 3))
@settings(max_examples=1000)
def test_no_change_of_bytes_is_taken_for_less_than_it_is(devices: list[DeviceReport], seed: int, flips: int) -> None:
    raw = bytearray(b"".join(encode_report(devices)))
    known, dice = layout(bytes(raw)), random.Random(seed)
    for _ in range(flips):
        match dice.randrange(4):
            case 0:
                raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
            case 1:
                del raw[dice.randrange(len(raw))]
            case 2:
                raw.insert(dice.randrange(len(raw) + 1), dice.choice([0, 1, 0x0A, 0x18, 0x80, 0xFF]))
            case 3:
                at = dice.randrange(len(raw) + 1)
                raw[at:at] = raw[at : at + dice.randrange(40)]
        if not raw:
            return
    found = through(known, devices, bytes(raw))
    if found is None or [one[:2] for one in found[0]] != [one[:2] for one in devices]:
        return  # to be read as a whole
    assert tuple(found[0]) == decode_report(bytes(raw)).devices


BASE = [GOOD._replace(device=f"gpu-{number}", checked_at=1.7e9 + number, message="hot" * (number % 3)) for number in range(40)]


def test_no_flipped_bit_is_overlooked() -> None:
    raw = b"".join(encode_report(BASE))
    known = layout(raw)
    for at in range(len(raw)):
        for bit in range(8):
            other = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
            found = through(known, BASE, other)
            if found is not None and [one[:2] for one in found[0]] == [one[:2] for one in BASE]:
                assert tuple(found[0]) == decode_report(other).devices


@pytest.mark.parametrize("time", [2**63 - 1, 2**63, 2**64 - 1])
def test_the_longest_times_are_told_apart(time: int) -> None:
    raw = entry("node1", "gpu-0", field(3, time), field(4, 30))
    same(raw)
    assert (read(raw).layout is None) == (time >= 2**63)


def test_only_what_differs_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [GOOD._replace(device=f"gpu-{number}") for number in range(500)]
    known = layout(b"".join(encode_report(devices)))
    reads: list[int] = []

    def counted(raw: bytes, at: int) -> Plain | None:
        reads.append(at)
        return plain(raw, at)

    plain = podvitals.wire.report._plain
    monkeypatch.setattr(podvitals.wire.report, "_plain", counted)
    later = [one._replace(checked_at=2000.0) for one in devices]
    assert known.match(b"".join(encode_report(later)), 99) is not None
    assert reads == []
    for number in (3, 300):
        later[number] = later[number]._replace(health=Health.UNHEALTHY, message="Xid 79")
    found = known.match(b"".join(encode_report(later)), 99)
    assert found is not None
    assert set(found.changed) == {3, 300}
    assert len(reads) == 4, "each as it was and as it is"


def test_more_changes_than_wanted_are_not_looked_for() -> None:
    devices = [GOOD._replace(device=f"gpu-{number}") for number in range(9)]
    raw = b"".join(encode_report([one._replace(health=Health.UNHEALTHY) for one in devices]))
    known = layout(b"".join(encode_report(devices)))
    assert known.match(raw, 8) is None
    assert known.match(raw, 9) is not None


@pytest.mark.parametrize(
    "raw", [b"", GOOD_BYTES + GOOD_BYTES, GOOD_BYTES + field(7, 1), entry("node1", "BAD"), entry("node1", "d", field(2, 9))]
)
def test_what_is_not_simply_what_it_says_has_no_layout(raw: bytes) -> None:
    assert read(raw).layout is None


def test_a_report_is_read_in_steps_and_no_further_than_wanted() -> None:
    raw = GOOD_BYTES + field(1, b"") * 2_000_000
    decoder = Decoder(raw, 1000)
    steps = 1
    while decoder.step(100):
        steps += 1
    assert steps == 10
    assert decoder.report.devices == (GOOD,)
    assert decoder.report.refusals[0] == "a report of more than 1000 entries: only the first 1000 are read"


def test_a_large_group_is_refused_unread() -> None:
    with pytest.raises(PluginProtocolError, match="holds a group"):
        read(b"\x0b\x0c" + field(1, b"") * 10_000)
    assert same(b"\x0b\x0c" + GOOD_BYTES) is not None


def test_a_varint_longer_than_it_need_be_is_read() -> None:
    inner = field(1, field(1, "node1") + field(2, "gpu-0"))
    same(b"\x0a" + bytes([len(inner) | 0x80, 0x80, 0]) + inner)
    same(b"\x8a\x00" + varint(len(inner)) + inner)
