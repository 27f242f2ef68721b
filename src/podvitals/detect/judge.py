"""The families of a driver at work: evidence with a clock, a lock, a memory and a tap. Threads that check and watches come here."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from podvitals.clock import Clock
from podvitals.detect import kernellog
from podvitals.detect.damping import Damping
from podvitals.detect.detector import Device, Reading
from podvitals.detect.evidence import Evidence
from podvitals.detect.findings import Finding, finding
from podvitals.detect.memory import Memory
from podvitals.detect.recording import Failed, Found, Heard, Named, Record, Taken
from podvitals.detect.rules.rule import Rules
from podvitals.detect.signal import LIFE, Code, Signal
from podvitals.detect.subject import Subject
from podvitals.device.verdict import Verdict

SAVE_EVERY = 60.0
"""Seconds between two saves while only counters grow. A fault that begins or ends is saved at once."""

Tap = Callable[[Record], None]


class Teller(Protocol):
    """What of a family has to be remembered beside the evidence."""

    def remember(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """The families of a driver that one judge hears; `number`: of the judge among those of the driver, each with a memory of its own."""

    number: int = 0
    families: set[str] = field(default_factory=set)

    @property
    def file(self) -> str:
        return f"detectors-{self.number}.state.json" if self.number else "detectors.state.json"


class Judge:
    """`tap` is told everything that comes from the hardware (a recording); `memory` and `boot` are for restarts."""

    def __init__(self, rules: Rules, clock: Clock, tap: Tap | None, damping: Damping | None = None) -> None:
        self.rules = rules
        self.evidence = Evidence(rules, damping)
        self._clock, self._tap = clock, tap
        self._lock = threading.Lock()
        self._memory: Memory | None = None
        self._boot = ""
        self._restored: Mapping[str, Any] = {}
        self._tellers: dict[str, Teller] = {}
        self._saved: tuple[int, float] = (-1, 0.0)
        self._found: dict[str, dict[str, Device]] = {}
        self._serviced: dict[str, float] = {}

    def know(self, family: str, devices: Iterable[Device]) -> None:
        found = {device.name: device for device in devices}
        with self._lock:
            for name, device in found.items():
                self.evidence.know(name, device.attributes, family)
            if found != self._found.get(family):
                self._found[family] = found
                self._record(Found(self._clock.now(), family, tuple(found.values())))

    def take(self, family: str, device: str, signals: Iterable[Signal], *, since: float | None = None) -> Reading:
        """`since`: when a whole reading began; None for something pushed."""
        signals = tuple(signals)
        now = self._clock.now()
        with self._lock:
            self._record(Taken(now, family, device, signals, whole=since is not None))
            if since is None:
                return self.evidence.take(device, signals, now, whole=False, source=family)
            return self.evidence.take(device, signals, now, whole=True, since=since, source=family)

    def named(self, family: str, names: Mapping[str, tuple[Subject, ...]]) -> None:
        """By what names a log speaks of the devices."""
        with self._lock:
            self._record(Named(self._clock.now(), family, tuple(names.items())))

    def heard(self, family: str, line: kernellog.Record, age: float) -> None:
        """A line of a log, whole, before what it says is taken."""
        with self._lock:
            self._record(Heard(self._clock.now(), family, line.text, tuple(sorted(line.keys.items())), age, line.goes_on, line.caller))

    def ask_service(self, family: str, device: str) -> None:
        """Whether somebody touched `serviced/<device>` beside the memory: then nothing is due any more. Blocks."""
        if self._memory is None:
            return
        try:
            at = (self._memory.path.parent / "serviced" / device).stat().st_mtime
        except OSError:
            return
        if at > self._serviced.get(device, 0.0):
            self._serviced[device] = at
            self.take(family, device, (Code(LIFE, "service"),))

    def failed(self, family: str, device: str, why: str) -> Reading:
        """What is known of a device that could not be read."""
        with self._lock:
            self._record(Failed(self._clock.now(), family, device, why))
            return self.evidence.fail(device, why, self._clock.now(), family)

    def finding(self, device: Device, verdict: Verdict | None) -> Finding:
        """What is known of a device, for a person."""
        with self._lock:
            return finding(device, verdict, self.rules, self.evidence)

    def _record(self, record: Record) -> None:
        if self._tap is not None:
            self._tap(record)

    # --- over a restart --------------------------------------------------------------------------------------------------------------

    def keep(self, directory: Path, name: str, teller: Teller, boot: str, bench: Bench) -> tuple[Mapping[str, str], bool]:
        """Remembers in `directory`, also what `teller` has to say. What it said before, and whether that was in this boot. Blocks."""
        with self._lock:
            if self._memory is None:
                self._memory, self._boot = Memory(directory / bench.file), boot
                self._restored = self._load(self._memory, {*bench.families, name})
            self._tellers[name] = teller
            own = self._restored.get("families", {}).get(name, {})
            return {str(key): str(value) for key, value in own.items()}, self._restored.get("boot") == boot

    def _load(self, memory: Memory, here: Collection[str]) -> Mapping[str, Any]:
        document = memory.load()
        if document is None:
            return {}
        try:
            families = {str(name): dict(own) for name, own in document["families"].items()}
            serviced = {str(name): float(at) for name, at in document["serviced"].items()}
            self.evidence.restore(document["evidence"], self._clock.now(), self._clock.wall(), self._boot)
            self.evidence.only(here, self._clock.now())  # the driver may have been started with other detectors
            self._serviced = serviced
            return {"families": families, "boot": document["evidence"]["boot"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            memory.set_aside(f"{type(error).__name__}: {error}")
            return {}

    def save_if_due(self) -> None:
        """Saves a fault that began or ended at once, counters once a minute. Does not wait for the disk."""
        if self._memory is None:
            return
        with self._lock:
            now = self._clock.now()
            if self.evidence.revision == self._saved[0] and now < self._saved[1] + SAVE_EVERY:
                return
            # What a family remembers of its place is of the same moment as the evidence.
            document: dict[str, Any] = {
                "families": self._restored.get("families", {}) | {name: dict(one.remember()) for name, one in self._tellers.items()},
                "serviced": dict(self._serviced),
                "evidence": self.evidence.snapshot(now, self._clock.wall(), self._boot),
            }
            self._saved = (self.evidence.revision, now)
        self._memory.later(document)

    def saved(self) -> bool:
        """Waits until what was saved is on the disk; whether that was in time. Blocks."""
        return self._memory is None or self._memory.flush()
