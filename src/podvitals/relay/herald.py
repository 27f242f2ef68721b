"""What a watcher of a stand-in is told, and when. Pure (ARCHITECTURE, rule 12).

The kubelet forgets what it is not told again within a lease, notices that only when it looks, does not announce what returns unchanged,
and forgets everything about a driver when any of its streams ends (CONTRACT §5). So towards it:

* The whole state at once, and again each 5 s, with a lease of 15 s: the ledger behind us has ended the driver's own leases already.
* What changed is told at once, alone, and the whole again when another watcher's stream has ended.
* A device that flaps, or a driver that floods, costs it ten messages a second at most, each of the newest state: at each change the kubelet
  writes a file and a pod's status.
* Lease and message stay the same from one heartbeat to the next, so that a heartbeat changes nothing. After one that came so late that the
  kubelet's leases may have ended, the lease is another one: a change of it is announced, and says nothing untrue.
"""

from collections.abc import Callable, Iterable

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState
from podvitals.wire.messages import DeviceReport

HEARTBEAT = 5.0
LEASE = 15.0
OTHER_LEASE = 16.0
BURST, RATE = 20.0, 10.0
"""Messages of changes a watcher is told at once, and each second after that."""


class Herald:
    """One watcher. Ask `due` whenever something changed, and at `next_look`; what it gives counts as told.

    `keys`: every device of the driver that anything is known of; `state_of`: a device's state now."""

    def __init__(self, keys: Callable[[], Iterable[DeviceKey]], state_of: Callable[[DeviceKey], DeviceState]) -> None:
        self._keys, self._state_of = keys, state_of
        self._lease = LEASE
        self._told_all: float | None = None
        self._again = True
        self._pending: set[DeviceKey] = set()
        self._tokens, self._filled = BURST, 0.0

    def retell(self) -> None:
        """Another watcher's stream ended: the kubelet has forgotten what it knew."""
        self._again = True

    def due(self, changed: Iterable[DeviceKey], now: float) -> list[DeviceReport] | None:
        """What to tell now, None for nothing. `changed`: the driver's devices whose state is another since the last call."""
        self._pending.update(changed)
        if not (self._again or self._told_all is None or now >= next_heartbeat(self._told_all)):
            return self._changes(now)
        if self._told_all is not None and now - self._told_all >= LEASE:
            self._lease = OTHER_LEASE if self._lease == LEASE else LEASE
        self._again, self._told_all = False, now
        self._pending.clear()
        whole = [self._report(key) for key in self._keys()]
        # Where a whole state takes several messages, what is wrong comes with the first.
        return sorted(whole, key=lambda one: (one.health is Health.HEALTHY, one.pool, one.device))

    def next_look(self) -> float | None:
        """When `due` has something although nothing changed; None: now."""
        if self._again or self._told_all is None:
            return None
        heartbeat = next_heartbeat(self._told_all)
        return min(heartbeat, self._filled + (1 - self._tokens) / RATE) if self._pending else heartbeat

    def _changes(self, now: float) -> list[DeviceReport] | None:
        if not self._pending:
            return None
        self._tokens, self._filled = min(BURST, self._tokens + (now - self._filled) * RATE), now
        if self._tokens < 1 - 1e-6:
            return None
        self._tokens -= 1
        told, self._pending = sorted(self._pending), set()
        return [self._report(key) for key in told]

    def _report(self, key: DeviceKey) -> DeviceReport:
        state = self._state_of(key)
        return DeviceReport(key.pool, key.device, state.health, state.checked_at, self._lease, state.message, state.action)


def next_heartbeat(now: float) -> float:
    """The same instants for all watchers: where the relay hangs, their leases end together."""
    at = (now // HEARTBEAT + 1) * HEARTBEAT
    return at if at > now else at + HEARTBEAT
