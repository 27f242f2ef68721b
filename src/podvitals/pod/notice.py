"""What is announced in events: a device of a pod became Unhealthy or Unknown, or recovered. Pure.

Events are for people reading `kubectl describe pod`, so there are few: one a pod, device and reason, whose count grows; a device that flaps
costs a patch every ten seconds; many devices that change together are one event; a node has a budget. Nothing is dropped for it: what
waits is counted, and there is never more than one waiting event a pod, device and reason.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from podvitals.claim.pod import Pod
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.pod.entry import DeviceEntry
from podvitals.pod.turns import doubled

REPEAT_PACE = 10.0
"""Seconds between two writes of one event."""
BURST, RATE = 200.0, 5.0
"""Events a node may write at once, and each second after that."""
RETRY_PAUSE = 5.0
LONGEST_REST = 60.0
"""Seconds nothing is written while the server has trouble: events are the least of what it has to do then."""
REMEMBERED = 60.0
"""Seconds after its last write for which an event is remembered; after that the API server's copy is found by its name."""
MOST_SINGLE = 3
"""More devices of one pod that change together are told in one event."""
_EVENT_MESSAGE_LIMIT = 1024


class Reason(StrEnum):
    UNHEALTHY = "DeviceUnhealthy"
    UNKNOWN = "DeviceHealthUnknown"
    RECOVERED = "DeviceRecovered"

    @property
    def kind(self) -> str:
        return "Normal" if self is Reason.RECOVERED else "Warning"


_REASON = {Health.UNHEALTHY: Reason.UNHEALTHY, Health.UNKNOWN: Reason.UNKNOWN, Health.HEALTHY: Reason.RECOVERED}


@dataclass(slots=True, eq=False)
class Notice:
    """One event. `unposted`: how often it happened since it was last written; `first`, `last`: Unix seconds. `surely`: an earlier agent
    knew of it and has probably written it; it is written only if it is not there."""

    uid: str
    namespace: str
    pod: str
    reason: Reason
    subject: str
    message: str
    first: float
    last: float
    count: int = 0
    unposted: int = 1
    not_before: float = 0.0
    surely: bool = False

    @property
    def name(self) -> str:
        """The event's name: the same for the same pod, device and reason, also from an agent that was restarted."""
        digest = blake2b("\0".join((self.uid, self.subject, self.reason)).encode(), digest_size=8).hexdigest()
        return f"{self.pod[:230]}.{digest}"


@dataclass(slots=True)
class _Known:
    health: dict[DeviceKey, Health] = field(default_factory=dict)
    inherited: set[DeviceKey] = field(default_factory=set)
    notices: dict[tuple[str, Reason], Notice] = field(default_factory=dict)


class Notices:
    """`tell` when a pod's devices are said to be something else; then `take` and `done` until there is nothing to write."""

    def __init__(self) -> None:
        self._resting_until, self._troubles = 0.0, 0
        self._pods: dict[str, _Known] = {}
        self._waiting: dict[int, Notice] = {}
        self._tokens, self._filled = BURST, 0.0
        self._written: deque[tuple[float, Notice]] = deque()

    def begin(self, uid: str, entries: Iterable[DeviceEntry]) -> None:
        """What an earlier agent said of this pod, so that it is not announced again. It may have ended between saying and announcing: what
        is Unhealthy is announced if it was not."""
        known = self._pods.setdefault(uid, _Known())
        for entry in entries:
            known.health[entry.key] = entry.health
            if entry.health is Health.UNHEALTHY:
                known.inherited.add(entry.key)

    def tell(self, pod: Pod, entries: Sequence[DeviceEntry], now: float, wall: float) -> bool:
        """Whether there is something to announce. A device first seen Unknown is not: its driver may simply not have spoken yet."""
        known = self._pods.setdefault(pod.metadata.uid, _Known())
        changed: dict[Reason, dict[DeviceKey, DeviceEntry]] = {}
        inherited = {entry.key: entry for entry in entries if entry.key in known.inherited and entry.health is Health.UNHEALTHY}
        known.inherited.clear()
        for entry in entries:
            before = known.health.get(entry.key)
            if before is not entry.health:
                known.health[entry.key] = entry.health
                if before is not None or entry.health is Health.UNHEALTHY:
                    changed.setdefault(_REASON[entry.health], {})[entry.key] = entry
        for reason, devices in changed.items():
            if reason is Reason.RECOVERED and all(not entry.faults for entry in devices.values()):
                continue
            self._add(known, pod, reason, devices, now, wall)
        for key, entry in inherited.items():
            self._add(known, pod, Reason.UNHEALTHY, {key: entry}, now, wall, surely=True)
        return bool(changed or inherited)

    def forget(self, uid: str) -> None:
        known = self._pods.pop(uid, None)
        for notice in known.notices.values() if known is not None else ():
            self._waiting.pop(id(notice), None)

    def take(self, now: float) -> Notice | None:
        """An event to write now. `count` is what it then says; follow with `done`."""
        self._tokens = min(BURST, self._tokens + max(0.0, now - self._filled) * RATE)
        self._filled = now
        if self._tokens < 1 or now < self._resting_until:
            return None
        for notice in self._waiting.values():
            if notice.not_before <= now:
                self._tokens -= 1
                del self._waiting[id(notice)]
                notice.count, notice.unposted = notice.count + notice.unposted, 0
                return notice
        return None

    def done(self, notice: Notice, now: float, *, written: bool, pause: float = RETRY_PAUSE, trouble: bool = False) -> None:
        """`pause`: seconds until this one is tried again. `trouble`: the server has some, and so nothing is tried before."""
        self._troubles = self._troubles + 1 if trouble else 0
        if trouble:
            self._resting_until = now + max(pause, doubled(self._troubles, pause, LONGEST_REST))
        notice.not_before = now + (REPEAT_PACE if written else pause)
        if written:
            self._written.append((now, notice))
            self._drop_old(now)
        if not written and notice.uid in self._pods:
            self._waiting[id(notice)] = notice

    def next_deadline(self, now: float) -> float | None:
        if not self._waiting:
            return None
        due = min(notice.not_before for notice in self._waiting.values())
        return max(due, self._resting_until, now if self._tokens >= 1 else now + (1 - self._tokens) / RATE)

    def _drop_old(self, now: float) -> None:
        while self._written and self._written[0][0] + REMEMBERED <= now:
            _, notice = self._written.popleft()
            known = self._pods.get(notice.uid)
            quiet = notice.not_before + REMEMBERED - REPEAT_PACE <= now and id(notice) not in self._waiting
            place = (notice.subject, notice.reason)
            if known is not None and quiet and known.notices.get(place) is notice:
                del known.notices[place]

    def _add(
        self,
        known: _Known,
        pod: Pod,
        reason: Reason,
        devices: dict[DeviceKey, DeviceEntry],
        now: float,
        wall: float,
        *,
        surely: bool = False,
    ) -> None:
        if len(devices) > MOST_SINGLE:
            told = [("*", f"{len(devices)} devices: " + "; ".join(_text(entry, reason) for _, entry in sorted(devices.items())))]
        else:
            told = [(str(key), _text(entry, reason)) for key, entry in sorted(devices.items())]
        for subject, text in told:
            message = clean(text, _EVENT_MESSAGE_LIMIT)
            notice = known.notices.get((subject, reason))
            if notice is None:
                meta = pod.metadata
                notice = Notice(meta.uid, meta.namespace, meta.name, reason, subject, message, wall, wall, surely=surely)
                known.notices[subject, reason] = notice
            else:
                notice.message, notice.last, notice.unposted, notice.surely = message, wall, notice.unposted + 1, False
            notice.not_before = max(notice.not_before, now)
            self._waiting[id(notice)] = notice


def _text(entry: DeviceEntry, reason: Reason) -> str:
    if reason is Reason.RECOVERED:
        last = entry.faults[-1] if entry.faults else None
        return f"{entry.key} is healthy again" + (f" (was {last.health}: {last.message})" if last is not None and last.message else "")
    text = f"{entry.key}, held by container {entry.container}" + (f": {entry.message}" if entry.message else "")
    return text + (f" (do: {entry.action})" if entry.action else "")
