"""What an earlier agent wrote on a pod, as far as it is taken over: the faults on record, and nothing else. Pure.

The node's checkpoint remembers faults, but it may be lost or damaged, and no fault that a driver reported may be (rule 5). So those in the
pod's own annotation are joined to those the ledger knows. They are history alone: no health is ever better for them, since whoever may
create a pod may write its annotation too.
"""

from collections.abc import Iterable

from podvitals.claim.holdings import Holding
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.node.record import MOST_FAULTS, DeviceState, Fault, with_history
from podvitals.pod.entry import DeviceEntry, FaultEntry

NOT_KNOWN_AT_END = "its health when the pod ended is not known"
Faults = dict[DeviceKey, tuple[Fault, ...]]


def earlier_faults(entries: Iterable[DeviceEntry], wall: float) -> Faults:
    """The faults of each device that has any, as of `wall` (Unix seconds): none of them lies in the future or was found after an end."""
    found: Faults = {}
    for entry in entries:
        faults = tuple(fault for fault in map(_fault, entry.faults) if fault is not None and fault.start <= wall)
        if faults:
            found[entry.key] = tuple(sorted(faults, key=lambda fault: fault.start))[-MOST_FAULTS:]
    return found


def _fault(entry: FaultEntry) -> Fault | None:
    if entry.health is Health.HEALTHY or entry.start is None or entry.after_end:
        return None
    start = entry.start.timestamp()
    end = None if entry.until is None else max(start, entry.until.timestamp())
    return Fault(entry.health, clean(entry.message), clean(entry.action), start, end)


def joined(state: DeviceState, earlier: tuple[Fault, ...], taken_over: float) -> DeviceState:
    """`state` with the faults that its own record lacks. `taken_over`: Unix seconds when they were read from the pod.

    One that lasted goes on where the record begins with the same health; else it ended when the record began, or was taken over."""
    if not earlier:
        return state
    starts = [fault.start for fault in state.faults] + ([state.since] if state.since > 0 else [])
    faults = with_history(state.faults, earlier, min(starts, default=taken_over))
    if faults == state.faults:
        return state
    goes_on = bool(state.faults) and bool(faults) and state.faults[-1].end is None and state.since == state.faults[-1].start
    since = faults[-1].start if goes_on else state.since
    return DeviceState(state.key, state.health, state.message, state.action, since, state.checked_at, state.deadline, faults)


def last_words(entries: Iterable[DeviceEntry]) -> tuple[DeviceEntry, ...]:
    """The entries of a pod that ended while nobody here knew what it held: what stood on it is kept as history, its health is not."""
    return tuple(
        DeviceEntry(
            entry.container,
            entry.driver,
            entry.pool,
            entry.device,
            Health.UNKNOWN,
            kind=entry.kind,
            entry=entry.entry,
            claim=entry.claim,
            claim_name=entry.claim_name,
            request=entry.request,
            admin=entry.admin,
            message=NOT_KNOWN_AT_END,
            faults=entry.faults,
        )
        for entry in entries
    )


def holding_of(entry: DeviceEntry) -> Holding:
    """What the entry says that the pod held."""
    kind = entry.kind if entry.kind in ("init", "sidecar", "ephemeral") else "container"
    return Holding(entry.container, kind, entry.entry, entry.claim, entry.claim_name, entry.request, entry.key, entry.admin)  # type: ignore[arg-type]
