"""What one watcher of a driver's health must be told, and when. Pure: verdicts and `now` in, reports out.

A first report at once; then what changed, at once; and each device again well within its lease, but only if it was read again since:
nothing may renew a lease on behalf of a detector that is stuck. Unknown renews nothing, so it is repeated, to keep its reason from
decaying.
"""

from collections.abc import Iterable

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.verdict import Verdict
from podvitals.wire.messages import DeviceReport

RENEW_AFTER = 0.25
"""Part of a lease after which a device is told again. With readings each third of a lease, a device is told at least each half of it."""
_NEARLY = 0.8
"""A look that comes a little early, or after one that came a little late, must not wait for the next."""


class Teller:
    """What one watcher was told. Times are seconds since boot."""

    def __init__(self) -> None:
        self._told: dict[DeviceKey, tuple[Verdict, float]] = {}

    def due(self, verdicts: Iterable[Verdict], now: float) -> list[DeviceReport]:
        """Of `verdicts`, those the watcher must be told now; they count as told."""
        reports = []
        for verdict in verdicts:
            told = self._told.get(verdict.key)
            if told is None or _must_tell(verdict, *told, now):
                self._told[verdict.key] = (verdict, now)
                reports.append(_report(verdict))
        return reports

    def next_look(self, now: float, shortest_lease: float) -> float:
        """When to call due() with all verdicts again, if nothing changes before.

        The same for all watchers, whenever they came: when a driver hangs, its leases end for the agent and for the kubelet together, so
        that the annotation the agent then writes finds the kubelet's lease ended too (CONTRACT §4, the nudge)."""
        step = RENEW_AFTER * shortest_lease
        at = (now // step + 1) * step
        return at if at > now else at + step


def _must_tell(verdict: Verdict, told: Verdict, at: float, now: float) -> bool:
    if (verdict.health, verdict.message, verdict.action, verdict.lease) != (told.health, told.message, told.action, told.lease):
        return True
    read_since = verdict.checked_at != told.checked_at or verdict.health is Health.UNKNOWN
    return read_since and now - at >= _NEARLY * RENEW_AFTER * verdict.lease


def _report(verdict: Verdict) -> DeviceReport:
    return DeviceReport(
        verdict.key.pool, verdict.key.device, verdict.health, verdict.checked_at, verdict.lease, verdict.message, verdict.action
    )
