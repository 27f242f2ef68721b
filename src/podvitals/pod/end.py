"""A pod's end: what of its devices' states is as of then. Pure.

Nothing but wall clocks orders a pod's end (the kubelet's word) and a device's changes (ours), and a wall clock may be set back:
what lies in its future then began before that.
"""

import msgspec

from podvitals.device.health import Health
from podvitals.node.record import DeviceState
from podvitals.pod.entry import DeviceEntry, PodDevices

EXIT_ROUNDING = 1.0
"""Seconds: Kubernetes rounds the time of an exit down, so what broke in that second broke before the end."""
NOT_KNOWN_AT_END = "its health when the pod ended is not known"


def in_order(ended: float, seen: float, *, twice: bool) -> bool:
    """Whether times on record tell what came before an end that was seen at `seen`: not where the clock was set back between the two.
    `twice`: it may have shown that time before it was set back and again after it; only an end that is seen at once is surely the later."""
    return ended <= seen + EXIT_ROUNDING and (not twice or seen <= ended + 2 * EXIT_ROUNDING)


def as_of(state: DeviceState, ended: float, seen: float, *, sure: bool = True) -> DeviceState:
    """The state as it was at `ended` (Unix seconds), as far as it is on record: Unknown where nothing tells, or where it is not `sure` what
    came before. `seen`: the wall clock's time now."""
    at = ended + EXIT_ROUNDING

    def before(moment: float) -> bool:
        return moment <= at or moment > seen + EXIT_ROUNDING

    faults = tuple(fault for fault in state.faults if before(fault.start))
    if sure and before(state.since):
        return DeviceState(state.key, state.health, state.message, state.action, state.since, state.checked_at, state.deadline, faults)
    for fault in reversed(faults) if sure else ():
        if fault.end is None or not before(fault.end):
            return DeviceState(state.key, fault.health, fault.message, fault.action, fault.start, 0.0, None, faults)
    # Not Healthy although no episode is on record: only three are kept, and before its first report nothing is known.
    return DeviceState(state.key, Health.UNKNOWN, NOT_KNOWN_AT_END, "", 0.0, 0.0, None, faults)


def last_words(said: PodDevices, ended: float | None) -> tuple[tuple[DeviceEntry, ...], float | None]:
    """What stands on a pod that ended (at `ended`, where it says when) and of which nobody here knows what it held: entries, and when it
    ended. They are kept as history; their health too where they are as of that end."""
    if said.ended is not None and (ended is None or abs(said.ended.timestamp() - ended) < EXIT_ROUNDING):
        return said.entries, said.ended.timestamp()
    return tuple(_not_known(entry) for entry in said.entries), ended


def _not_known(entry: DeviceEntry) -> DeviceEntry:
    return msgspec.structs.replace(entry, health=Health.UNKNOWN, message=NOT_KNOWN_AT_END, action="", since=None)
