"""Which faults must be found on a pod. Pure.

A fault counts as *delivered* when a driver handed a report of it to the socket of an agent process (it tells the peer's pid) and that agent

* lived on to the end of the round; or
* afterwards ran for KEPT_WITHIN s (time in which it was stopped does not count) with a disk that took what it wrote, and nobody damaged
  what it had written.

A fault counts too once a reader saw it in the annotation, whatever happens to the agent afterwards. Such a fault must be in the annotation
of each pod that held the device when it was delivered, at the end of the round and later, for as long as the pod exists, unless
* the very next thing that agents heard of the device was another fault: one episode carries its latest message. So it is with a fault
  that a reader saw lasting, where the next agent, which could not know that it had ended in between, found the device broken again;
* the annotation has three faults that began later: so many are kept.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.pod.entry import DeviceEntry
from tests.crash.oracle import Wrong
from tests.crash.truth import Spans, Truth, serials

KEPT_WITHIN = 1.0
HELD_SURELY = 1.5
"""Seconds of a pod's life, at its beginning and its end, in which a fault may still, or no more, be said to have met it."""
DISK_RECOVERS = 8.0
"""Seconds after a disk took nothing during which the checkpoint may still be missing: it is begun anew 5 s later."""
MOST_FAULTS = 3
ROUNDED = 1.5
SAME = 0.002


@dataclass(frozen=True, slots=True)
class Told:
    """A driver's report about a device, handed to process `to`'s socket at `at`; `serial` 0: no fault."""

    at: float
    to: int
    key: DeviceKey
    health: Health
    serial: int


@dataclass(slots=True)
class Life:
    """An agent process; `stopped`: when it stood still."""

    pid: int
    start: float
    end: float = inf
    stopped: Spans = field(default_factory=Spans)

    def ran(self, start: float) -> float:
        """How long it ran after `start`; `inf` for one that lives."""
        return inf if self.end == inf else max(0.0, self.end - start) - self.stopped.within(start, self.end)


@dataclass(slots=True)
class Hold:
    """A pod's hold on devices. `start`, `end`: of the pod's life on its node, which begins when the kubelet says that it did: faults that
    were over by then are not its. `gone`: its object was deleted, nothing is to be found any more."""

    uid: str
    pod: str
    keys: frozenset[DeviceKey]
    start: float
    end: float = inf
    gone: bool = False
    begun: bool = False


class Register:
    """What was delivered, and to whom. `wall`: what to add to these times for Unix seconds."""

    def __init__(self, truth: Truth, wall: float) -> None:
        self._truth, self.wall = truth, wall
        self.lives: dict[int, Life] = {}
        self.disk_wrong = Spans()
        self.damaged: list[float] = []
        self._told: list[Told] = []
        self._heard: dict[DeviceKey, list[tuple[Health, int]]] = defaultdict(list)
        self._seen: dict[tuple[str, DeviceKey], dict[int, float]] = defaultdict(dict)

    def tell(self, told: Told) -> None:
        """What agents heard before is no news: a heartbeat delivers nothing."""
        if told.to not in self.lives:
            return  # the kubelet
        heard = self._heard[told.key]
        if told.health is Health.UNHEALTHY and not any(one.to == told.to and one.serial == told.serial for one in self._told):
            self._told.append(told)
        if not heard or heard[-1] != (told.health, told.serial):
            heard.append((told.health, told.serial))

    def seen(self, uid: str, entries: Iterable[DeviceEntry]) -> None:
        """What a reader saw on a pod."""
        for entry in entries:
            self._seen[uid, entry.key].update(self._found(entry))

    def delivered(self) -> int:
        return len({(told.key, told.serial) for told in self._told if self._kept(told)})

    def missing(self, hold: Hold, entries: Iterable[DeviceEntry]) -> tuple[list[Wrong], int]:
        """Faults that the pod's annotation must have and has not; how many it must have."""
        if hold.gone:
            return [], 0
        by_key = {entry.key: entry for entry in entries}
        wrong, due = [], 0
        for key in sorted(hold.keys):
            entry = by_key.get(key)
            found = shown(entry) if entry is not None else frozenset[int]()
            wanted = self._due(hold, key)
            gone = [serial for serial in wanted if serial not in found and not self._excused(hold, entry, key, serial)]
            if gone:
                lost = ", ".join(f"n={serial}{self._why(hold, key, serial)}" for serial in gone)
                wrong.append(Wrong("lost", f"faults of {key.device} are not on pod {hold.pod}: {lost}; there are: {_listed(entry)}"))
            due += len(wanted)
        return wrong, due

    def looked(self, hold: Hold, entries: Iterable[DeviceEntry]) -> None:
        """The round is over for this pod: what it shows now is looked for again after the next; what is displaced or lost is not."""
        by_key = {entry.key: entry for entry in entries}
        for key in hold.keys:
            self._seen[hold.uid, key] = self._found(by_key[key]) if key in by_key else {}

    def forget(self) -> None:
        """What was delivered so far has been looked for; what was found is looked for again."""
        self._told = []

    def _due(self, hold: Hold, key: DeviceKey) -> list[int]:
        seen = self._seen.get((hold.uid, key), {})
        due = dict.fromkeys(serial for serial in seen if self._truth.ended(key, serial) > hold.start + HELD_SURELY)
        for told in self._told:
            if told.key == key and hold.start + HELD_SURELY < told.at < hold.end - HELD_SURELY and self._kept(told):
                due[told.serial] = None
        return [serial for serial in due if not self._superseded(key, serial)]

    def _superseded(self, key: DeviceKey, serial: int) -> bool:
        heard = self._heard[key]
        last = max((index for index, (_, heard_serial) in enumerate(heard) if heard_serial == serial), default=None)
        return last is not None and last + 1 < len(heard) and heard[last + 1][0] is Health.UNHEALTHY

    def _kept(self, told: Told) -> bool:
        life = self.lives[told.to]
        if life.end == inf:
            return True
        in_order = self.disk_wrong.within(told.at - DISK_RECOVERS, life.end) == 0 and not any(at >= told.at for at in self.damaged)
        return in_order and life.ran(told.at) >= KEPT_WITHIN

    def _found(self, entry: DeviceEntry) -> dict[int, float]:
        """The faults that an entry tells of, by serial, with their beginning in Unix seconds."""
        told = [fault for fault in entry.faults if fault.health is Health.UNHEALTHY]
        found = {serial: fault.start.timestamp() for fault in told if fault.start is not None for serial in serials(fault.message)}
        return {serial: began for serial, began in found.items() if self._truth.of(entry.key, serial) is not None}

    def _excused(self, hold: Hold, entry: DeviceEntry | None, key: DeviceKey, serial: int) -> bool:
        state = self._truth.of(key, serial)
        if entry is None or state is None:
            return state is None
        starts = [fault.start.timestamp() for fault in entry.faults if fault.start is not None]
        displaced = sum(start > state.at + self.wall - ROUNDED for start in starts) >= MOST_FAULTS
        began = self._seen.get((hold.uid, key), {}).get(serial)
        return displaced or (began is not None and any(abs(start - began) < SAME for start in starts))

    def _why(self, hold: Hold, key: DeviceKey, serial: int) -> str:
        state = self._truth.of(key, serial)
        assert state is not None
        began = datetime.fromtimestamp(state.at + self.wall, UTC)
        if serial in self._seen.get((hold.uid, key), ()):
            return f" (from {began:%H:%M:%S.%f}, a reader saw it)"
        first = next(told for told in self._told if (told.key, told.serial) == (key, serial))
        return f" (from {began:%H:%M:%S.%f}, handed to agent {first.to} at {first.at:.2f})"


def shown(entry: DeviceEntry) -> frozenset[int]:
    """The serials of the faults that an entry tells of. What is quoted ("last known: …") is no fault of its own."""
    told = {fault.message for fault in entry.faults if fault.health is Health.UNHEALTHY}
    if entry.health is Health.UNHEALTHY:
        told.add(entry.message)
    return frozenset(serial for text in told for serial in serials(text))


def _listed(entry: DeviceEntry | None) -> str:
    faults = entry.faults if entry is not None else ()
    return ", ".join(f"{fault.message!r} from {fault.start:%H:%M:%S.%f}" for fault in faults if fault.start is not None) or "none"
