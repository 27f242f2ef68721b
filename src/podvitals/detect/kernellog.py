"""Records of the kernel log, and what is known of their lines: a table of patterns (rules/lines.toml) turns a line into a code. Pure.

Kernel ABI: Documentation/ABI/testing/dev-kmsg. A record is `priority,sequence,microseconds,flags[,more];text`, then lines ` KEY=value`;
what is not printable in it is written `\\xNN`. A record flagged `c` goes on with the line of the one before.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from podvitals.detect import nvlink5, subject
from podvitals.detect.rules.line import Line
from podvitals.detect.signal import Code
from podvitals.detect.subject import HARDWARE_ERROR
from podvitals.device.text import clean

LONGEST_LINE = 2048
"""Characters of a line that are looked at."""
LONGEST_TEXT = 512
LONGEST_PARAM = 128
FROM_KERNEL = 0
T = TypeVar("T")
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
MOST_RECORDS = MOST_CALLERS = 64
_SEVERITY = re.compile(r"(?:\{(?P<number>\d{1,9})\})?\[Hardware Error\]:\s*event severity: (?P<severity>\w+)")
_RECORDED = re.compile(r"(?:\{(?P<number>\d{1,9})\})?\[Hardware Error\]:\s*device_id: (?P<pci>[0-9a-fA-F:.]+)")


@dataclass(frozen=True, slots=True)
class Record:
    """`facility` 0 is the kernel itself: nobody else can write such a record. `at`: seconds since boot. `keys`: SUBSYSTEM, DEVICE."""

    sequence: int
    facility: int
    at: float
    text: str
    keys: Mapping[str, str] = field(default_factory=dict)
    goes_on: bool = False
    caller: str = ""


def parse(data: bytes) -> Record:
    """One record, as one read of /dev/kmsg gives it. Raises ValueError for what is none."""
    header, semicolon, body = data.partition(b";")
    try:
        priority, sequence, microseconds, flags, *more = header.decode("ascii").split(",")
        if not semicolon:
            raise ValueError
        number, place, at = int(priority), int(sequence), int(microseconds) / 1e6
    except ValueError:
        raise ValueError(f"{data[:60]!r} is no record of the kernel log") from None
    first, *others = body.split(b"\n")
    keys = dict(_pair(line) for line in others if line.startswith(b" ") and b"=" in line)
    caller = next((word.removeprefix("caller=") for word in more if word.startswith("caller=")), "")
    return Record(place, number >> 3, at, _readable(first), keys, flags == "c", caller)


def _pair(line: bytes) -> tuple[str, str]:
    key, _, value = line[1:].partition(b"=")
    return _readable(key), _readable(value)


def _readable(data: bytes) -> str:
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), data[:LONGEST_LINE]).decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Said:
    """A line that means something: about whom (a kind of name and the name, as the line has it), and what."""

    about: str
    who: str
    code: Code


class Lines:
    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = tuple(lines)

    def said(self, record: Record) -> Iterator[Said]:
        """What a record means; nothing for most."""
        for line in self._lines:
            if line.has in record.text and (found := line.pattern.search(record.text)) is not None:
                groups = {name: clean(value, LONGEST_PARAM) for name, value in found.groupdict().items() if value}
                if address := subject.pci_address(groups.get("pci", "")):
                    groups["pci"] = address  # as everybody writes it, so that a message is the same whoever told it
                if line.table == "xid":
                    groups |= nvlink5.told(groups.get("xid", ""), groups.get("what", ""))
                if (whom := subject.of_groups(groups) or subject.of_keys(record.keys)) is not None:
                    code = line.code.format_map(_Filled(groups))
                    yield Said(*whom, Code(line.table, code, clean(record.text, LONGEST_TEXT), tuple(sorted(groups.items()))))


class _Filled(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


class Firmware:
    """What the firmware recorded of errors (APEI: drivers/firmware/efi/cper.c), a record over many lines: its severity stands in one, its
    PCI device in a later one. Lines of one record bear one number (`{1}[Hardware Error]: ...`); those of the last boot (BERT) bear none."""

    def __init__(self) -> None:
        self._severities: dict[str, str] = {}

    def said(self, record: Record) -> Iterator[Said]:
        if HARDWARE_ERROR not in record.text:
            return
        if (found := _SEVERITY.search(record.text)) is not None:
            if len(self._severities) >= MOST_RECORDS:
                self._severities.clear()
            self._severities[found["number"] or ""] = found["severity"]
        elif (found := _RECORDED.search(record.text)) is not None and (address := subject.pci_address(found["pci"])):
            severity = self._severities.get(found["number"] or "", "")
            if severity == "fatal":
                yield Said("pci", address, Code("cper", severity, clean(record.text, LONGEST_TEXT)))


class Joiner:
    """Puts the pieces of lines together again."""

    def __init__(self) -> None:
        self._last: dict[str, Record] = {}

    def whole(self, record: Record) -> Record:
        """The record with what came before it of the same line; it still `goes_on`, for that was told already."""
        before = self._last.get(record.caller)
        if record.goes_on and before is not None:
            record = replace(record, text=(before.text + record.text)[:LONGEST_LINE], keys={**before.keys, **record.keys})
        _keep(self._last, record.caller, record)
        return record


class Reader:
    """What records say that a Joiner put together: of a line that grows, each thing once."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines, self._firmware = Lines(lines), Firmware()
        self._told: dict[str, frozenset[tuple[str, str]]] = {}

    def said(self, record: Record) -> list[Said]:
        told = self._told.get(record.caller, frozenset()) if record.goes_on else frozenset()
        meant = (*self._lines.said(record), *self._firmware.said(record))
        found = [said for said in meant if (said.code.table, said.code.code) not in told]
        _keep(self._told, record.caller, told | {(said.code.table, said.code.code) for said in found})
        return found


def _keep(known: dict[str, T], caller: str, what: T) -> None:
    """Callers are tasks and processors: only the last few can be in the middle of a line."""
    if len(known) > MOST_CALLERS:
        known.clear()
    known[caller] = what
