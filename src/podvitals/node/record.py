"""What is known of one device, and the faults it had. Pure.

A fault is an episode of one health other than Healthy: it begins when that health begins, ends when another follows, and carries the
latest message. The last three stay, since whoever looks five minutes later must still find them (ARCHITECTURE, rule 5).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey

MOST_FAULTS = 3


class SourceKey(NamedTuple):
    """Who says something: a driver itself (`source` is "") or an auxiliary source of health for its devices."""

    driver: str
    source: str = ""

    def __str__(self) -> str:
        return f'health source "{self.source}" of driver {self.driver}' if self.source else f"driver {self.driver}"


@dataclass(frozen=True, slots=True)
class Fault:
    """`start`, `end`: Unix seconds; `end` is None while it lasts."""

    health: Health
    message: str
    action: str
    start: float
    end: float | None = None


@dataclass(frozen=True, slots=True)
class DeviceState:
    """`since`: Unix seconds of the last change of health. `checked_at`: Unix seconds when the hardware was last read, 0.0 if nobody said.

    `deadline`: when (boottime) the first lease ends that this state rests on; None where no lease runs. `faults`: newest last.
    `began`: Unix seconds of the first verdict, with which the record begins; 0.0 where an earlier process heard it (not compared).
    Two states mean the same to a reader when all but `checked_at` and `deadline` are equal."""

    key: DeviceKey
    health: Health
    message: str
    action: str
    since: float
    checked_at: float
    deadline: float | None
    faults: tuple[Fault, ...]
    began: float = field(default=0.0, compare=False)


def with_change(
    faults: tuple[Fault, ...], before: Health | None, health: Health, message: str, action: str, wall: float
) -> tuple[Fault, ...]:
    """The faults after a device that was `before` (None: not known yet) is said to be `health`."""
    if health is before:
        if not faults or faults[-1].end is not None:
            return faults
        last = faults[-1]
        return (*faults[:-1], Fault(health, message, action, last.start))
    if faults and faults[-1].end is None:
        last = faults[-1]
        # The wall clock may have been set back meanwhile: no episode ends before it starts.
        faults = (*faults[:-1], Fault(last.health, last.message, last.action, last.start, max(last.start, wall)))
    if health is Health.HEALTHY:
        return faults
    return bounded((*faults, Fault(health, message, action, wall)))


def bounded(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """The oldest Unknown goes first, else the oldest; the newest always stays."""
    while len(faults) > MOST_FAULTS:
        drop = next((index for index, fault in enumerate(faults[:-1]) if fault.health is Health.UNKNOWN), 0)
        faults = faults[:drop] + faults[drop + 1 :]
    return faults
