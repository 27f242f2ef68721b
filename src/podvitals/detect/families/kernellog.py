"""Records of the kernel log, and what is known of their lines: a table of patterns (lines.toml) that turns a line into a code. Pure.

Kernel ABI: Documentation/ABI/testing/dev-kmsg. A record is `priority,sequence,microseconds,flags[,more];text`, then lines ` KEY=value`;
what is not printable in it is written `\\xNN`. A record flagged `c` goes on with the line of the one before.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from podvitals.detect.families.pcidev import normal
from podvitals.detect.signal import Code
from podvitals.device.text import clean
from podvitals.errors import InvalidInput

LONGEST_LINE = 2048
"""Characters of a line that are looked at."""
LONGEST_TEXT = 512
LONGEST_PARAM = 128
SUBJECTS = ("pci", "block", "ifname", "nvme", "neuron", "driver")
"""What names a device in a line: a pattern's group of this name, or the record's own DEVICE= key."""
FROM_KERNEL = 0
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
MOST_RECORDS = 64
_SEVERITY = re.compile(r"(?:\{(?P<number>\d{1,9})\})?\[Hardware Error\]:\s*event severity: (?P<severity>\w+)")
_RECORDED = re.compile(r"(?:\{(?P<number>\d{1,9})\})?\[Hardware Error\]:\s*device_id: (?P<pci>[0-9a-fA-F:.]+)")
_KEYS = {"table", "code", "has", "pattern"}


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
class Line:
    """One kind of line. `has`: words it contains, looked for before the pattern. `code`: of the Code, with {group} filled in."""

    id: str
    table: str
    code: str
    has: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Said:
    """A line that means something: about whom (a subject of SUBJECTS and its name there), and what."""

    about: str
    who: str
    code: Code
    at: float
    sequence: int


class Lines:
    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = tuple(lines)

    @classmethod
    def parse(cls, text: str, where: str) -> "Lines":
        """A table of lines in TOML: `[id]` with has, pattern, and perhaps table and code. Raises InvalidInput that names the entry."""
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidInput(f"{where}: {error}") from None
        return cls(_line(name, entry, where) for name, entry in table.items())

    def and_also(self, others: "Lines") -> "Lines":
        """Both tables; an entry of `others` takes the place of one of the same id."""
        merged = {line.id: line for line in self._lines} | {line.id: line for line in others._lines}
        return Lines(merged.values())

    def said(self, record: Record) -> Iterator[Said]:
        """What a record means; nothing for most."""
        for line in self._lines:
            if line.has in record.text and (found := line.pattern.search(record.text)) is not None:
                groups = {name: clean(value, LONGEST_PARAM) for name, value in found.groupdict().items() if value}
                if address := normal(groups.get("pci", "")):
                    groups["pci"] = address  # as everybody writes it, so that a message is the same whoever told it
                if (subject := _subject(groups, record.keys)) is not None:
                    code = Code(
                        line.table, line.code.format_map(_Filled(groups)), clean(record.text, LONGEST_TEXT), tuple(sorted(groups.items()))
                    )
                    yield Said(*subject, code, record.at, record.sequence)


class _Filled(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def _subject(groups: Mapping[str, str], keys: Mapping[str, str]) -> tuple[str, str] | None:
    for subject in SUBJECTS:
        if subject in groups:
            return subject, groups[subject]
    device = keys.get("DEVICE", "")
    if device.startswith("+pci:"):
        return "pci", device[5:]
    if device.startswith("+nvme:"):
        return "nvme", device[6:]
    if re.fullmatch(r"n[0-9]{1,9}", device):
        return "ifindex", device[1:]
    if re.fullmatch(r"b[0-9]{1,5}:[0-9]{1,9}", device):
        return "number", device[1:]
    return None


def _line(name: str, entry: object, where: str) -> Line:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise InvalidInput(f"{where}: [{name}] must hold texts: has, pattern, and perhaps table and code")
    if wrong := sorted(set(entry) - _KEYS):
        raise InvalidInput(f"{where}: [{name}] has {wrong[0]!r}, which is none of {', '.join(sorted(_KEYS))}")
    if not entry.get("pattern") or not entry.get("has"):
        raise InvalidInput(f"{where}: [{name}] needs a pattern, and in has the words that every such line contains")
    try:
        pattern = re.compile(entry["pattern"])
    except re.error as error:
        raise InvalidInput(f"{where}: [{name}] pattern: {error}") from None
    return Line(name, entry.get("table", "kmsg"), entry.get("code", name), entry["has"], pattern)


class Firmware:
    """What the firmware recorded of errors (APEI: drivers/firmware/efi/cper.c), a record over many lines: its severity stands in one, its
    PCI device in a later one. Lines of one record bear one number (`{1}[Hardware Error]: ...`); those of the last boot (BERT) bear none."""

    def __init__(self) -> None:
        self._severities: dict[str, str] = {}

    def said(self, record: Record) -> Iterator[Said]:
        if "[Hardware Error]:" not in record.text:
            return
        if (found := _SEVERITY.search(record.text)) is not None:
            if len(self._severities) >= MOST_RECORDS:
                self._severities.clear()
            self._severities[found["number"] or ""] = found["severity"]
        elif (found := _RECORDED.search(record.text)) is not None and (address := normal(found["pci"])):
            severity = self._severities.get(found["number"] or "", "")
            if severity == "fatal":
                yield Said("pci", address, Code("cper", severity, clean(record.text, LONGEST_TEXT)), record.at, record.sequence)


class Joiner:
    """Puts the pieces of lines together again: a piece is told by itself, then with what came before it."""

    def __init__(self, lines: Lines) -> None:
        self._lines, self._firmware = lines, Firmware()
        self._last: dict[str, tuple[Record, frozenset[tuple[str, str]]]] = {}

    def said(self, record: Record) -> list[Said]:
        before, told = self._last.get(record.caller, (None, frozenset[tuple[str, str]]()))
        if record.goes_on and before is not None:
            record = replace(record, text=(before.text + record.text)[:LONGEST_LINE], keys={**before.keys, **record.keys})
        else:
            told = frozenset()
        meant = (*self._lines.said(record), *self._firmware.said(record))
        found = [said for said in meant if (said.code.table, said.code.code) not in told]
        if len(self._last) > 64:  # callers are tasks and processors: only the last few can be in the middle of a line
            self._last.clear()
        self._last[record.caller] = (record, told | {(said.code.table, said.code.code) for said in found})
        return found
