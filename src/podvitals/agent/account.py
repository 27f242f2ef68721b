"""What changed, as people are told of it: a line of the log for each thing that changed, and counts for /metrics. After the hot path.

Many devices of one driver that change alike (it fell silent, or came back) are one thing and one line.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from podvitals.agent.metrics import Metrics
from podvitals.claim.pod import Pod
from podvitals.clock import Clock
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState
from podvitals.pod.book import Record

log = logging.getLogger(__name__)

MOST_LINES = 3
"""More devices that change alike are told in one line."""
BURST, RATE = 200.0, 5.0
"""Lines a driver may cause at once, and each second after that: the next one says how many there were not."""
MOST_NAMES = 8
"""Of pods or devices in one line; the rest is counted."""


def pod_name(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def listed(names: Iterable[str]) -> str:
    """`a,b,c and 5 more`."""
    found = list(dict.fromkeys(names))
    return ",".join(found[:MOST_NAMES]) + (f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else "")


@dataclass(slots=True)
class _Budget:
    """A driver's lines: how many are left as of `at` (boottime), and how many there were not."""

    at: float
    tokens: float = BURST
    unsaid: int = 0


class Account:
    """`state_of` and `holders` tell of a device as it is when this is called."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        state_of: Callable[[DeviceKey], DeviceState],
        holders: Callable[[DeviceKey], list[Record]],
    ) -> None:
        self._metrics, self._clock, self._state_of, self._holders = metrics, clock, state_of, holders
        self._said: dict[DeviceKey, DeviceState] = {}
        self._budgets: dict[str, _Budget] = {}

    def changed(self, keys: Iterable[DeviceKey]) -> None:
        """These devices' states changed."""
        alike: dict[tuple[str, int, str, str, str], list[DeviceKey]] = {}
        states = [self._state_of(key) for key in sorted(keys)]
        self._metrics.changed(states)
        for now in states:
            before = self._said.get(now.key)
            if before is not None and _alike(before, now):
                continue  # another change of this turn, told already
            if now.since > 0:
                self._said[now.key] = now
            else:
                self._said.pop(now.key, None)  # nobody has reported it, or it was forgotten
            level = logging.DEBUG if before is None and now.health is Health.HEALTHY and not now.faults else logging.INFO
            if log.isEnabledFor(level):
                was, why = _what(before, now)
                alike.setdefault((now.key.driver, level, now.health.value, was, why), []).append(now.key)
        for (driver, level, health, was, reason), changed in alike.items():
            self._say(driver, level, {"health": health, "was": was, "reason": reason}, changed)

    def ended(self, record: Record) -> None:
        """A pod with devices has ended."""
        worst = Health.worst(entry.health for entry in record.final or ())
        log.info("pod ended", extra={"pod": pod_name(record.pod), "health": worst.value, "count": len(record.keys)})

    def holds(self, record: Record) -> None:
        """It is known what a pod holds."""
        devices = {"devices": listed(sorted(str(key) for key in record.keys)), "count": len(record.keys)}
        log.info("pod holds devices", extra={"pod": pod_name(record.pod), **devices})

    def _say(self, driver: str, level: int, what: dict[str, str], keys: Sequence[DeviceKey]) -> None:
        if len(keys) > MOST_LINES:
            devices = listed(f"{key.pool}/{key.device}" for key in keys)
            names: dict[str, object] = {"driver": driver, "count": len(keys), "devices": devices, "pods": self._pods(keys)}
            self._line(level, "devices changed", driver, {**names, **what})
            return
        for key in keys:
            single: dict[str, object] = {"driver": driver, "pool": key.pool, "device": key.device, "pods": self._pods((key,))}
            self._line(level, "device changed", driver, {**single, **what})

    def _line(self, level: int, text: str, driver: str, extra: dict[str, object]) -> None:
        budget, now = self._budgets.setdefault(driver, _Budget(self._clock.now())), self._clock.now()
        budget.tokens, budget.at = min(BURST, budget.tokens + (now - budget.at) * RATE), now
        if budget.tokens < 1:
            budget.unsaid += 1
            return
        unsaid, budget.unsaid, budget.tokens = budget.unsaid, 0, budget.tokens - 1
        log.log(level, text, extra={**extra, "unsaid": unsaid} if unsaid else extra)

    def _pods(self, keys: Iterable[DeviceKey]) -> str:
        return listed(pod_name(record.pod) for key in keys for record in self._holders(key) if record.final is None)


def _alike(before: DeviceState, now: DeviceState) -> bool:
    return (before.health, before.message, before.action, before.faults) == (now.health, now.message, now.action, now.faults)


def _what(before: DeviceState | None, now: DeviceState) -> tuple[str, str]:
    """What it was, and why it is what it is now. What came and went within one turn of the loop was a fault all the same."""
    if before is None:
        return "", now.message
    if before.health is now.health and now.faults and now.faults[-1].end is not None and now.faults != before.faults:
        return now.faults[-1].health.value, now.message or now.faults[-1].message
    return "" if before.health is now.health else before.health.value, now.message
