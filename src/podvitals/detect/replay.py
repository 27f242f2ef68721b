"""A recording, run through rules: what would have been shown, and when. Pure.

The same evidence and the same merging as at work; what is left out is the passing of leases, since a recording does not tell that nothing
came. Lines of the kernel log are read again, by the patterns of these rules. So a bug report becomes a test, and an operator's rules can be
tried on what really happened.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from podvitals.detect.board import Board, Source
from podvitals.detect.damping import Damping
from podvitals.detect.detector import Device
from podvitals.detect.evidence import Evidence
from podvitals.detect.findings import Finding, finding
from podvitals.detect.inventory import listing
from podvitals.detect.kernellog import Reader
from podvitals.detect.recording import Failed, Found, Heard, Named, Record, Taken
from podvitals.detect.rules.rule import Rules
from podvitals.detect.signal import Code, Signal
from podvitals.detect.subject import Names
from podvitals.device.verdict import Verdict

FOREVER = 1e12
"""Seconds: the lease of what was recorded."""


@dataclass(frozen=True, slots=True)
class Change:
    """`at`: seconds from the beginning of the recording. `before`: None for a device's first verdict."""

    at: float
    before: Verdict | None
    now: Verdict


class Replay:
    def __init__(self, rules: Rules, records: Iterable[Record], damping: Damping | None = None) -> None:
        self._records = tuple(records)
        families = tuple(dict.fromkeys(record.family for record in self._records))
        self._sources = {family: number for number, family in enumerate(families)}
        self._evidence = Evidence(rules, damping)
        self._rules = rules
        self._logs = {record.family for record in self._records if isinstance(record, Named | Heard)}
        self._names, self._reader = Names(), Reader(rules.lines.values())
        self._board = Board("replay", "recorded", [Source(family, FOREVER) for family in families])

    def run(self) -> Iterator[Change]:
        """Every change of a verdict's health, message or action, in order."""
        before: dict[str, Verdict] = {}
        for record in self._records:
            for name in sorted(self._take(record)):
                verdict = self._board.verdict(name)
                if verdict is not None:
                    yield Change(record.at, before.get(name), verdict)
                    before[name] = verdict

    def findings(self) -> list[Finding]:
        """How it ended, of every device."""
        return [finding(device, self._board.verdict(name), self._rules, self._evidence) for name, device in self._board.devices.items()]

    def _take(self, record: Record) -> frozenset[str]:
        source, evidence = self._sources[record.family], self._evidence
        match record:
            case Found(devices=devices):
                for device in devices:
                    evidence.know(device.name, device.attributes, record.family)
                return self._board.take(source, listing(record.family, devices), record.at, record.at)
            case Taken(device=device, signals=signals, whole=whole):
                if record.family in self._logs:
                    signals = tuple(signal for signal in signals if not (isinstance(signal, Code) and signal.text))  # said by a line
                return self._taken(record, device, signals, whole=whole) if whole or signals else frozenset()
            case Named(names=names):
                for name, subjects in names:
                    self._names.know(name, subjects)
                return frozenset()
            case Heard():
                return self._heard(record)
            case Failed(device=device, why=why):
                still = evidence.fail(device, why, record.at, record.family)
                return self._board.fail(source, self._listed(source, device, record.at), f"{record.family}: {why}", still)

    def _taken(self, record: Taken | Heard, device: str, signals: Iterable[Signal], *, whole: bool) -> frozenset[str]:
        source, at = self._sources[record.family], record.at
        reading = self._evidence.take(device, signals, at, whole=whole, source=record.family)
        return self._board.read(source, self._listed(source, device, at), reading, at, at)

    def _heard(self, record: Heard) -> frozenset[str]:
        changed: set[str] = set()
        for said in self._reader.said(record.line):
            for device in self._names.devices(said.about, said.who):
                changed |= self._taken(record, device, (replace(said.code, age=record.age),), whole=False)
        return frozenset(changed)

    def _listed(self, source: int, name: str, at: float) -> str:
        """A recording that was cut may speak of a device before it lists it."""
        if not self._board.knows(name):
            known = self._board.listed_by(source)
            self._board.take(source, listing("recording", [*known, Device(name)]), at, at)
        return name
