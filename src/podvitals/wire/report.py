"""Health reports read from their bytes, an entry at a time. Pure. What they mean is `convert.decode_report`'s to say; this says the same.

A driver with 4,096 devices says every few seconds of all of them that nothing changed: the same bytes but for the times in them. Making
objects of that costs milliseconds, comparing it does not. So:

* `Decoder` reads a report in steps, so that a large one does not hold up the others, and no further than it has to.
* `Layout` knows where in a report's bytes each entry begins and where its time stands. The next report is compared with the last one by
  windows of bytes, the times masked out; only entries that differ are read. A time's bytes keep their highest bit under the mask, so
  that equal means: the same entries, at the same places.

An entry is plain if its fields come in the order of their numbers, as every known encoder writes them. Others are protobuf's business.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from google.protobuf.message import DecodeError

from podvitals.device.health import Health
from podvitals.device.text import LONGEST_MESSAGE
from podvitals.errors import PluginProtocolError
from podvitals.wire.convert import MOST_DEVICES, Refusals, details, device_report, keep_worst, names, taken_time
from podvitals.wire.generated import health_pb2
from podvitals.wire.messages import DeviceReport, Report

STEP = 128
"""Entries read at a time: a quarter of a millisecond, ten times that where their names were never seen."""
_HEALTH = (Health.UNKNOWN, Health.HEALTHY, Health.UNHEALTHY)
_ENTRY, _DEVICE, _NUMBER, _TIME = 0x0A, 0x0A, 0x10, 0x18
_GROUPS = (3, 4)
_LONGEST_GROUP = 4096
_LONGEST_TIME = 9  # bytes of a varint that holds no negative number
_FIRST_WINDOW, _WINDOW = 512, 32 * 1024
_LONGEST_TAIL = LONGEST_MESSAGE + 256


Plain = tuple[DeviceReport, tuple[str, str], int, slice]
"""A plain entry: what it says, its pool and device, where the next begins, where its time stands (an empty span where it says none)."""


class Decoder:
    """`most`: entries that are read; a report with more is refused beyond them."""

    def __init__(self, raw: bytes, most: int = MOST_DEVICES) -> None:
        self._raw, self._most = raw, most
        self._at = self._count = 0
        self._devices: dict[tuple[str, str], DeviceReport] = {}
        self._refusals = Refusals()
        self._starts: list[int] = []
        self._times: list[slice] = []
        self._plain = True

    def step(self, entries: int = STEP) -> bool:
        """Reads on; whether there is more. Raises PluginProtocolError where the bytes are no report at all."""
        raw, size = self._raw, len(self._raw)
        for _ in range(min(entries, self._most - self._count)):
            if self._at == size:
                return False
            self._count += 1
            plain = _plain(raw, self._at)
            if plain is None:
                self._odd()
                continue
            said, name, end, time = plain
            self._starts.append(self._at)
            self._times.append(time)
            if self._devices.setdefault(name, said) is not said:
                keep_worst(self._devices, said, self._refusals)
            self._at = end
        if self._count < self._most or self._at == size:
            return self._at < size
        self._refusals.cut(self._most)
        return False

    @property
    def report(self) -> Report:
        return Report(tuple(self._devices.values()), self._refusals.texts(), self._refusals.count)

    @property
    def layout(self) -> "Layout | None":
        """None where not all of it is plain, or what it says is not simply all that it says."""
        if not self._plain or self._refusals.count or self._at != len(self._raw) or not self._starts:
            return None
        return Layout(self._raw, self._starts, self._times)

    def _odd(self) -> None:
        """What is not plain: protobuf reads it, whatever it is."""
        self._plain = False
        end = _end_of_field(self._raw, self._at)
        if end - self._at > _LONGEST_GROUP and self._raw[self._at] & 7 in _GROUPS:
            raise PluginProtocolError(f"a health report of {len(self._raw)} bytes holds a group, which is no part of one")
        response = health_pb2.NodeWatchResourcesResponse()
        try:
            response.ParseFromString(self._raw[self._at : end])
        except DecodeError as error:
            raise PluginProtocolError(f"a health report of {len(self._raw)} bytes is not a NodeWatchResourcesResponse: {error}") from None
        self._at = end
        for entry in response.devices:
            if (said := device_report(entry, self._refusals)) is not None:
                keep_worst(self._devices, said, self._refusals)


class Match(NamedTuple):
    """What a report says that has the layout of an earlier one. `changed`: the entries that were read, by their place. `times`: of all
    entries, as in DeviceReport.checked_at."""

    layout: "Layout"
    changed: dict[int, DeviceReport]
    times: Sequence[float]


class Layout:
    """The entries of a report whose bytes are `raw`, all of them plain and each about another device."""

    __slots__ = ("_mask", "_starts", "_times", "_times_of", "raw")

    def __init__(self, raw: bytes, starts: list[int], times: list[slice]) -> None:
        self.raw = raw
        self._starts, self._times = starts, times
        self._mask: bytes | None = None
        self._times_of: itemgetter[tuple[bytes, ...]] | None = None

    def __len__(self) -> int:
        return len(self._starts)

    def match(self, raw: bytes, most: int) -> Match | None:
        """`raw` as this report with at most `most` entries changed, of the same devices; None where it is not that."""
        changed: dict[int, Plain] = {}
        old = new = 0
        while (index := self._differs(raw, old, new)) is not None:
            new += self._starts[index] - old
            plain = _plain(raw, new) if len(changed) < most else None
            if plain is None or (known := _plain(self.raw, self._starts[index])) is None or known[1] != plain[1]:
                return None
            changed[index] = plain
            old, new = self._end(index), plain[2]
        if len(self.raw) - old != len(raw) - new:
            return None
        layout = self._amended(raw, changed)
        return Match(layout, {index: plain[0] for index, plain in changed.items()}, layout._moments())

    def _end(self, index: int) -> int:
        return self._starts[index + 1] if index + 1 < len(self._starts) else len(self.raw)

    def _differs(self, raw: bytes, old: int, new: int) -> int | None:
        """The first entry from `old` on that is another in `raw` from `new` on; None where all that both have is the same."""
        mask, window = self._masked(), _FIRST_WINDOW
        size = min(len(self.raw) - old, len(raw) - new)
        at = 0
        while at < size:
            here, there = slice(old + at, old + min(at + window, size)), slice(new + at, new + min(at + window, size))
            unlike = _number(self.raw[here]) ^ _number(raw[there])
            if unlike and (unlike := unlike & _number(mask[here])):
                first = old + at + ((unlike & -unlike).bit_length() - 1) // 8
                return bisect_right(self._starts, first) - 1
            at, window = at + window, min(2 * window, _WINDOW)
        return None

    def _amended(self, raw: bytes, changed: dict[int, Plain]) -> "Layout":
        if not changed:
            same = Layout(raw, self._starts, self._times)
            same._mask, same._times_of = self._mask, self._times_of
            return same
        old_mask, starts, times, mask = self._masked(), list[int](), list[slice](), list[bytes]()
        begin = shift = 0
        for index, (_, _, end, time) in changed.items():
            self._copy(begin, index, shift, starts, times)
            mask.append(old_mask[self._starts[begin] : self._starts[index]])
            start = self._starts[index] + shift
            starts.append(start)
            times.append(time)
            mask.append(_mask(end - start, [slice(time.start - start, time.stop - start)]))
            begin, shift = index + 1, end - self._end(index)
        if begin < len(self._starts):
            self._copy(begin, len(self._starts), shift, starts, times)
            mask.append(old_mask[self._starts[begin] :])
        amended = Layout(raw, starts, times)
        amended._mask = b"".join(mask)
        return amended

    def _copy(self, begin: int, end: int, shift: int, starts: list[int], times: list[slice]) -> None:
        if shift:
            starts += [at + shift for at in self._starts[begin:end]]
            times += [slice(time.start + shift, time.stop + shift) for time in self._times[begin:end]]
        else:
            starts += self._starts[begin:end]
            times += self._times[begin:end]

    def _masked(self) -> bytes:
        if self._mask is None:
            self._mask = _mask(len(self.raw), self._times)
        return self._mask

    def _moments(self) -> Sequence[float]:
        if len(self._times) == 1:  # itemgetter of one gives no tuple
            return [_moment(self.raw[self._times[0]])]
        if self._times_of is None:
            self._times_of = itemgetter(*self._times)  # type: ignore[arg-type]  # typeshed knows of no slices
        return list(map(_moment, self._times_of(self.raw)))


def _mask(size: int, times: Sequence[slice]) -> bytes:
    mask = bytearray(b"\xff") * size
    for time in times:
        mask[time] = b"\x80" * (time.stop - time.start)
    return bytes(mask)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


# --- entries --------------------------------------------------------------------------------------------------------------------


def _plain(raw: bytes, at: int) -> Plain | None:
    """The entry that begins at `at`; None where there is none, or one that is not plain and in order."""
    try:
        if raw[at] != _ENTRY:
            return None
        size, here = raw[at + 1], at + 2
        if size > 0x7F:
            size, here = size & 0x7F | raw[here] << 7, here + 1
            if size > 0x3FFF:
                return None
        end = here + size
        if raw[here] != _DEVICE or raw[here + 1] > 0x7F:
            return None
        here, named = here + 2 + raw[here + 1], here + 2
        name, wrong = _named(raw[named:here])
        number = 0
        if here < end and raw[here] == _NUMBER:
            number, here = raw[here + 1], here + 2
        begin = here
        if here < end and raw[here] == _TIME:
            begin = here = here + 1
            while raw[here] > 0x7F:
                here += 1
            here += 1
        if wrong or end > len(raw) or here > end or number > 2 or here - begin > _LONGEST_TIME:
            return None
        tail = _tail(raw[here:end]) if end - here <= _LONGEST_TAIL else None
        if tail is None:
            return None
    except (IndexError, DecodeError):
        return None  # it ends too early: let protobuf say so
    # As DeviceReport(...) would, in half the time.
    said: DeviceReport = tuple.__new__(DeviceReport, (*name, _HEALTH[number], _moment(raw[begin:here]), *tail))
    return said, name, end, slice(begin, here)


@lru_cache(maxsize=4096)
def _named(identifier: bytes) -> tuple[tuple[str, str], str]:
    """Pool and device, and what is wrong with them. Cached for drivers that say the same in another order each time."""
    said = health_pb2.DeviceIdentifier.FromString(identifier)
    pool, device, wrong = names.__wrapped__(said.pool_name, said.device_name)
    return (pool, device), wrong


@lru_cache(maxsize=2048)
def _tail(raw: bytes) -> tuple[float, str, str] | None:
    """Lease, message and action: what follows the time. None where something follows that belongs before it."""
    entry = health_pb2.DeviceHealth.FromString(raw)
    at = 0
    while at < len(raw):
        tag = _varint(raw, at)[0]
        if tag <= _TIME | 7 or tag & 7 in _GROUPS:
            return None
        at = _end_of_field(raw, at)
    return details(entry)


@lru_cache(maxsize=4096)
def _moment(time: bytes) -> float:
    """Of the bytes of a varint; none: no time."""
    number = 0
    for byte in reversed(time):
        number = number << 7 | byte & 0x7F
    return taken_time(number)


def _end_of_field(raw: bytes, at: int) -> int:
    """Where the field that begins at `at` ends; the end of it all where that cannot be told, so that protobuf says what is wrong."""
    tag, here = _varint(raw, at)
    match tag & 7:
        case 0:
            here = _varint(raw, here)[1]
        case 1:
            here += 8
        case 2:
            size, here = _varint(raw, here)
            here += size
        case 5:
            here += 4
        case _:
            return len(raw)
    return min(here, len(raw))


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Its value, and where it ends. One that never ends has a value that leads beyond everything."""
    value = shift = 0
    for here in range(at, min(at + 10, len(raw))):
        value |= (raw[here] & 0x7F) << shift
        if raw[here] <= 0x7F:
            return value, here + 1
        shift += 7
    return len(raw) << 3, len(raw)
