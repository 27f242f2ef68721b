"""What is really so: the devices' files as the world wrote them, which processes could speak when, and what drivers delivered. Pure.

Times are CLOCK_MONOTONIC seconds of this machine, which all its processes share.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey

_SERIAL = re.compile(r"\bn=(\d+)\b")


def text_of(serial: int) -> str:
    """The message of a fault: every one is told from every other."""
    return f"broken n={serial}"


def serials(text: str) -> frozenset[int]:
    return frozenset(int(found) for found in _SERIAL.findall(text))


@dataclass(frozen=True, slots=True)
class State:
    """What a device's file says from `at` on; `serial` is 0 for Healthy."""

    at: float
    health: Health
    serial: int = 0


class Spans:
    """Stretches of time in which something was so."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def begin(self, at: float) -> None:
        if not self.open:
            self._spans.append((at, inf))

    def end(self, at: float) -> None:
        if self.open:
            self._spans[-1] = (self._spans[-1][0], at)

    @property
    def open(self) -> bool:
        return bool(self._spans) and self._spans[-1][1] == inf

    def within(self, start: float, end: float) -> float:
        """For how long it was so between the two."""
        return sum(max(0.0, min(end, to) - max(start, begin)) for begin, to in self._spans)

    def longest(self, start: float, end: float) -> float:
        """For how long it was so without a break between the two."""
        return max((max(0.0, min(end, to) - max(start, begin)) for begin, to in self._spans), default=0.0)

    def last(self, start: float, end: float) -> float | None:
        """The last moment of start … end at which it was so."""
        for begin, to in reversed(self._spans):
            if begin <= end and to >= start:
                return min(end, to)
        return None

    def began(self) -> float:
        """When it last began to be so; `-inf` if it never was."""
        return self._spans[-1][0] if self._spans else -inf

    def ended(self) -> float:
        """When it last ceased to be so; `inf` while it is, `-inf` if it never was."""
        return self._spans[-1][1] if self._spans else -inf


class Driver:
    """The processes that serve one driver name, by pid. `speaks`: some process runs, and is not stopped. `exists`: some process does."""

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self.speaks, self.exists = Spans(), Spans()
        self._alive: set[int] = set()
        self._running: set[int] = set()

    def started(self, pid: int, at: float) -> None:
        self._alive.add(pid)
        self.woken(pid, at)

    def woken(self, pid: int, at: float) -> None:
        self._running.add(pid)
        self._tell(at)

    def stopped(self, pid: int, at: float) -> None:
        self._running.discard(pid)
        self._tell(at)

    def died(self, pid: int, at: float) -> None:
        self._alive.discard(pid)
        self.stopped(pid, at)

    def _tell(self, at: float) -> None:
        (self.speaks.begin if self._running else self.speaks.end)(at)
        (self.exists.begin if self._alive else self.exists.end)(at)


class Truth:
    """`gone_after`: seconds without any endpoint after which a device is Unknown, whatever is left of its lease."""

    def __init__(self, gone_after: float) -> None:
        self.drivers: dict[str, Driver] = {}
        self._gone_after = gone_after
        self._states: dict[DeviceKey, list[State]] = {}
        self._serial = 0

    def add(self, key: DeviceKey, at: float) -> None:
        self._states[key] = [State(at, Health.HEALTHY)]

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def write(self, key: DeviceKey, state: State) -> None:
        self._states[key].append(state)

    def keys(self) -> Iterable[DeviceKey]:
        return self._states

    def now(self, key: DeviceKey) -> State:
        return self._states[key][-1]

    def changes(self) -> int:
        return sum(len(states) - 1 for states in self._states.values())

    def faults(self, key: DeviceKey) -> Iterator[tuple[int, float, float]]:
        """(serial, from, to) of each it had; `inf` for one that stands."""
        states = self._states[key]
        for state, after in zip(states, [*states[1:], State(inf, Health.HEALTHY)], strict=True):
            if state.serial:
                yield state.serial, state.at, after.at

    def of(self, key: DeviceKey, serial: int) -> State | None:
        """The state in which this device had that fault; None: never, so whoever says so invents it."""
        return next((state for state in self._states.get(key, ()) if state.serial == serial), None)

    def ended(self, key: DeviceKey, serial: int) -> float:
        """When that fault gave way to another state; `inf` while it stands."""
        states = self._states[key]
        after = next((index + 1 for index, state in enumerate(states) if state.serial == serial), len(states))
        return states[after].at if after < len(states) else inf

    def backing(self, key: DeviceKey, health: Health, serial: int | None, at: float) -> float | None:
        """The last moment up to `at` at which this was so and a process could say it; None: never. `serial` None: any fault will do."""
        driver = self.drivers[key.driver]
        for begin, end in self._when(key, health, serial, at):
            if (moment := driver.speaks.last(begin, end)) is not None:
                return moment
        return None

    def ceased(self, key: DeviceKey, health: Health, serial: int, at: float) -> float:
        """Since when this has not been so; `inf` while it is."""
        now = self._states[key][bisect_right(self._states[key], at, key=lambda state: state.at) - 1]
        if (now.health, now.serial) == (health, serial):
            return inf
        return next((end for _, end in self._when(key, health, serial, at)), -inf)

    def good_until(self, key: DeviceKey, backing: float) -> float:
        """When the lease of a report made at `backing` has ended at the latest."""
        driver = self.drivers[key.driver]
        gone = inf if driver.exists.open else max(driver.exists.ended(), backing) + self._gone_after
        return min(backing + driver.lease, gone)

    def _when(self, key: DeviceKey, health: Health, serial: int | None, at: float) -> Iterator[tuple[float, float]]:
        """The stretches up to `at` in which it was so, the last first."""
        end = at
        for state in reversed(self._states[key]):
            if state.at > at:
                continue
            if state.health is health and serial in (None, state.serial):
                yield state.at, end
            end = state.at


@dataclass(slots=True)
class Path:
    """Whether what lies between two parties is as it should be. `good_from`: from when on that counts: `settles` s after it was mended, or
    once all is true again and it was seen to work."""

    settles: float
    _wrong: set[str] = field(default_factory=set)
    _mended: float = -inf
    _worked: float = -inf

    def broke(self, what: str) -> None:
        self._wrong.add(what)

    def mended(self, what: str, at: float) -> None:
        if what in self._wrong:
            self._wrong.discard(what)
            self._mended = at

    def worked(self, at: float) -> None:
        """Something that was said no earlier than `at` came all the way."""
        self._worked = max(self._worked, at)

    @property
    def works(self) -> bool:
        """Since it was mended: what stands at its end may be true by chance, and whoever was started may not be there yet."""
        return not self._wrong and self._worked >= self._mended

    def settled(self) -> None:
        """All is true."""
        if self.works:
            self._mended = -inf

    @property
    def good_from(self) -> float:
        """`inf` while something is wrong."""
        return inf if self._wrong else self._mended + self.settles
