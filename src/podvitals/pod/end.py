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


def as_of(state: DeviceState, at: float, seen: float) -> DeviceState:
    """The state as it was at `at` (Unix seconds), as far as it is on record: Unknown where nothing tells. `seen`: the wall clock's time
    now. Where that is before `at` the clock was set back after it, and no time on record tells what was before and what after."""

    def before(moment: float) -> bool:
        return moment <= at or moment > seen + EXIT_ROUNDING

    faults = tuple(fault for fault in state.faults if before(fault.start))
    if at <= seen + 2 * EXIT_ROUNDING:
        if before(state.since):
            return DeviceState(state.key, state.health, state.message, state.action, state.since, state.checked_at, state.deadline, faults)
        for fault in reversed(faults):
            if fault.end is None or fault.end > at:
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
