"""How often a verdict may change. Pure: one state machine between what the evidence says and what is shown, for health, taints and events.

Getting worse is shown at once, so a device is never shown better than its evidence. Getting better is shown when it has lasted (hold), and
when enough changes are left in the window for it to get worse again: so in no window are there more than `changes` of them. What comes
and goes is shown at its worst meanwhile.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from podvitals.detect.rules.rule import WORST, Damping

__all__ = ["STEPS", "WORST", "Damper", "Damping", "Step", "Trend"]


class Trend(Enum):
    SAME = auto()
    WORSE = auto()
    BETTER = auto()


class Step(Enum):
    SHOW = auto()
    """What the evidence says is shown."""
    HOLD = auto()
    """What was shown stays, until it has been better for long enough."""
    KEEP = auto()
    """What was shown stays, because it comes and goes."""


STEPS: dict[tuple[Trend, bool, bool], Step] = {
    # trend, has lasted, changes are left
    (Trend.SAME, False, False): Step.SHOW,
    (Trend.SAME, False, True): Step.SHOW,
    (Trend.SAME, True, False): Step.SHOW,
    (Trend.SAME, True, True): Step.SHOW,
    (Trend.WORSE, False, False): Step.SHOW,
    (Trend.WORSE, False, True): Step.SHOW,
    (Trend.WORSE, True, False): Step.SHOW,
    (Trend.WORSE, True, True): Step.SHOW,
    (Trend.BETTER, False, False): Step.KEEP,
    (Trend.BETTER, False, True): Step.HOLD,
    (Trend.BETTER, True, False): Step.KEEP,
    (Trend.BETTER, True, True): Step.SHOW,
}


@dataclass(slots=True)
class Damper:
    """Of one device. `shown`: the rank that is shown, None before the first one. `times`: of the changes in the window."""

    damping: Damping
    shown: int | None = None
    times: deque[float] = field(default_factory=deque)
    better_since: float | None = None

    def step(self, wanted: int, now: float) -> Step:
        """What becomes of it that the evidence says `wanted` now. The first one is no change."""
        self._forget(now)
        if self.shown is None:
            self.shown = wanted
            return Step.SHOW
        trend = Trend.SAME if wanted == self.shown else Trend.WORSE if wanted > self.shown else Trend.BETTER
        self.better_since = (now if self.better_since is None else self.better_since) if trend is Trend.BETTER else None
        lasted = self.better_since is None or now >= self.better_since + self.damping.hold
        step = STEPS[trend, lasted, self._left(wanted)]
        if step is Step.SHOW and wanted != self.shown:
            self.shown, self.better_since = wanted, None
            self.times.append(now)
        return step

    def comes_and_goes(self, now: float) -> bool:
        """Whether too many changes were seen to believe the next good one."""
        self._forget(now)
        return self.shown is not None and self.shown > 0 and not self._left(0)

    def _left(self, wanted: int) -> bool:
        """Whether a change to `wanted` leaves enough for the way down to the worst."""
        return len(self.times) + 1 + (WORST - wanted) <= self.damping.changes

    def _forget(self, now: float) -> None:
        while self.times and self.times[0] + self.damping.window <= now:
            self.times.popleft()

    def snapshot(self) -> dict[str, Any]:
        return {"shown": self.shown, "times": list(self.times), "better_since": self.better_since}

    def restore(self, document: dict[str, Any], shift: float, *, rebooted: bool) -> None:
        """`shift`: seconds to add to its times. After a reboot the first verdict is no change again."""
        self.shown = None if rebooted else document["shown"]
        self.times = deque(float(at) + shift for at in document["times"])
        since = document["better_since"]
        self.better_since = None if since is None or rebooted else float(since) + shift
