"""A family at work: evidence with a clock, a lock, a memory and a tap. The check's thread and the loop's watch both come here."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from podvitals.clock import Clock
from podvitals.detect.damping import Damping
from podvitals.detect.detector import Device, Reading
from podvitals.detect.evidence import Evidence
from podvitals.detect.memory import Memory
from podvitals.detect.recording import Failed, Found, Record, Taken
from podvitals.detect.rules.rule import Rules
from podvitals.detect.signal import LIFE, Code, Signal

SAVE_EVERY = 60.0
"""Seconds between two saves while only counters grow. A fault that begins or ends is saved at once."""

Tap = Callable[[Record], None]


class Judge:
    """`tap` is told everything that comes from the hardware (a recording); `memory` and `boot` are for restarts."""

    def __init__(self, family: str, rules: Rules, clock: Clock, tap: Tap | None, damping: Damping | None = None) -> None:
        self.rules = rules
        self.evidence = Evidence(rules, damping)
        self._family, self._clock, self._tap = family, clock, tap
        self._lock = threading.Lock()
        self._memory: Memory | None = None
        self._boot = ""
        self._saved: tuple[int, float] = (-1, 0.0)
        self._found: dict[str, Device] = {}
        self._serviced: dict[str, float] = {}

    def know(self, devices: Iterable[Device]) -> None:
        found = {device.name: device for device in devices}
        with self._lock:
            for name, device in found.items():
                self.evidence.know(name, device.attributes)
            if found != self._found:
                self._found = found
                self._record(Found(self._clock.now(), self._family, tuple(found.values())))

    def take(self, device: str, signals: Iterable[Signal], *, since: float | None = None) -> Reading:
        """`since`: when a whole reading began; None for something pushed."""
        signals = tuple(signals)
        now = self._clock.now()
        with self._lock:
            self._record(Taken(now, self._family, device, signals, whole=since is not None))
            if since is None:
                return self.evidence.take(device, signals, now, whole=False)
            return self.evidence.take(device, signals, now, whole=True, since=since)

    def ask_service(self, device: str) -> None:
        """Whether somebody touched `serviced/<device>` beside the memory: then nothing is due any more. Blocks."""
        if self._memory is None:
            return
        try:
            at = (self._memory.path.parent / "serviced" / device).stat().st_mtime
        except OSError:
            return
        if at > self._serviced.get(device, 0.0):
            self._serviced[device] = at
            self.take(device, (Code(LIFE, "service"),))

    def failed(self, device: str, why: str) -> Reading:
        """What is known of a device that could not be read."""
        with self._lock:
            self._record(Failed(self._clock.now(), self._family, device, why))
            return self.evidence.look(device, self._clock.now())

    def _record(self, record: Record) -> None:
        if self._tap is not None:
            self._tap(record)

    # --- over a restart --------------------------------------------------------------------------------------------------------------

    def restore(self, memory: Memory, boot: str) -> tuple[Mapping[str, str], bool]:
        """Takes up what was saved; what the family itself remembered, and whether it is still the same boot. Blocks."""
        self._memory, self._boot = memory, boot
        document = memory.load()
        if document is None:
            return {}, False
        try:
            self._serviced = {str(name): float(at) for name, at in document["serviced"].items()}
            self.evidence.restore(document["evidence"], self._clock.now(), self._clock.wall(), boot)
            return {str(name): str(value) for name, value in document["family"].items()}, document["evidence"]["boot"] == boot
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            memory.set_aside(f"{type(error).__name__}: {error}")
            return {}, False

    def due(self) -> bool:
        """Whether there is something to save."""
        if self._memory is None:
            return False
        with self._lock:
            return self.evidence.revision != self._saved[0] or self._clock.now() >= self._saved[1] + SAVE_EVERY

    def save(self, remember: Callable[[], Mapping[str, str]]) -> None:
        """`remember` tells the family's own place in its source, of the same moment as the evidence. Does not wait for the disk."""
        if self._memory is None:
            return
        with self._lock:
            now = self._clock.now()
            document: dict[str, Any] = {
                "family": dict(remember()),
                "serviced": dict(self._serviced),
                "evidence": self.evidence.snapshot(now, self._clock.wall(), self._boot),
            }
            self._saved = (self.evidence.revision, now)
        self._memory.later(document)

    def saved(self) -> bool:
        """Waits until what was saved is on the disk; whether that was in time. Blocks."""
        return self._memory is None or self._memory.flush()
