"""What an earlier agent wrote on a pod, as far as it is taken over: the faults on record, and nothing else. Pure.

The node's checkpoint remembers faults, but it may be lost or damaged, and no fault that a driver reported may be (rule 5). So those in the
pod's own annotation are joined to those the ledger knows. They are history alone: no health is ever better for them, since whoever may
create a pod may write its annotation too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from podvitals.claim.holdings import Holding
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.node.record import MOST_FAULTS, DeviceState, Fault, bounded
from podvitals.pod.entry import DeviceEntry, FaultEntry


@dataclass(frozen=True, slots=True)
class Earlier:
    """The faults that stood on a pod for one device when it was taken over, at `at` (Unix seconds).

    What lasted then goes on, or has ended, as the ledger's first verdict says: this is settled once. `goes_on`: the beginning of the fault,
    by the ledger, which is that of an earlier one, and when that began. `met`: when the faults began that the ledger knew by then; others
    came later, also where the clock was set back."""

    faults: tuple[Fault, ...]
    at: float
    settled: bool = False
    goes_on: tuple[float, float] | None = None
    met: frozenset[float] = frozenset()

    def settle(self, state: DeviceState) -> "Earlier":
        """As of the ledger's word about the device; itself while there is none."""
        starts = [fault.start for fault in state.faults] + ([state.since] if state.since > 0 else [])
        if self.settled or not starts:
            return self
        begins, left, goes_on = state.began or min(starts), _missing(state.faults, self.faults), None
        if left and left[-1].end is None:
            last, first = left.pop(), next((fault for fault in state.faults if fault.start == begins), None)
            # A full record that an earlier process began may have begun with another fault, and seen this one end.
            sure = state.began > 0 or len(state.faults) < MOST_FAULTS
            if sure and first is not None and first.health is last.health and begins >= last.start:
                goes_on = (begins, last.start)
            else:
                left.append(_closed(last, begins))
        return Earlier(tuple(left), self.at, True, goes_on, frozenset(fault.start for fault in state.faults))

    def joined(self, state: DeviceState) -> DeviceState:
        """`state` with these faults."""
        if self.settled and not self.faults and self.goes_on is None:
            return state
        since, older = state.since, self.faults
        own = tuple(fault for fault in state.faults if fault.start in self.met)
        later = tuple(fault for fault in state.faults if fault.start not in self.met)
        if not self.settled:
            older = tuple(_closed(fault, self.at) for fault in older)
        elif self.goes_on is not None:
            began, earlier = self.goes_on
            since = earlier if since == began else since
            own = tuple(Fault(f.health, f.message, f.action, earlier, f.end) if f.start == began else f for f in own)
        faults = bounded((*sorted((*older, *own), key=lambda fault: (fault.end is None, fault.start)), *later))
        return DeviceState(state.key, state.health, state.message, state.action, since, state.checked_at, state.deadline, faults)


def _missing(own: tuple[Fault, ...], earlier: tuple[Fault, ...]) -> list[Fault]:
    """Those of `earlier` that are not one of `own`; the annotation's times are milliseconds."""
    return [fault for fault in earlier if not any(fault.health is one.health and abs(fault.start - one.start) < 0.002 for one in own)]


def _closed(fault: Fault, at: float) -> Fault:
    return fault if fault.end is not None else Fault(fault.health, fault.message, fault.action, fault.start, max(fault.start, at))


def earlier_faults(entries: Iterable[DeviceEntry], wall: float) -> dict[DeviceKey, Earlier]:
    """Of each device that has any, as of `wall` (Unix seconds): none of them lies in the future or was found after an end."""
    found: dict[DeviceKey, Earlier] = {}
    for entry in entries:
        faults = tuple(fault for fault in map(_fault, entry.faults) if fault is not None and fault.start <= wall)
        if faults:
            latest = sorted(faults, key=lambda fault: (fault.end is None, fault.start))[-MOST_FAULTS:]
            # Only the last can last.
            found[entry.key] = Earlier((*(_closed(fault, wall) for fault in latest[:-1]), latest[-1]), wall)
    return found


def _fault(entry: FaultEntry) -> Fault | None:
    if entry.health is Health.HEALTHY or entry.start is None or entry.after_end:
        return None
    start = entry.start.timestamp()
    end = None if entry.until is None else max(start, entry.until.timestamp())
    return Fault(entry.health, clean(entry.message), clean(entry.action), start, end)


def holding_of(entry: DeviceEntry) -> Holding:
    """What the entry says that the pod held."""
    kind = entry.kind if entry.kind in ("init", "sidecar", "ephemeral") else "container"
    return Holding(entry.container, kind, entry.entry, entry.claim, entry.claim_name, entry.request, entry.key, entry.admin)  # type: ignore[arg-type]
