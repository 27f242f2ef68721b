"""Devices of drivers that the operator told the agent to leave alone: their health is what the kubelet wrote into the pod's field. Pure.

The field names a device by its first CDI id, which only the kubelet knows (CONTRACT §4). So a device is found by its own name where that
is used, or where its entry leaves no choice; otherwise its health is Unknown unless all devices of the entry have the same.
"""

import math
from collections.abc import Iterable

from podvitals.claim.holdings import Holding
from podvitals.claim.pod import Pod, ResourceHealth
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.node.record import DeviceState, with_change
from podvitals.pod.entry import DeviceEntry

_SAYS_NOTHING = "its driver is left to the kubelet, which says nothing of it"


class Guests:
    """What the kubelet has said of each such device of each pod, with the times at which it was seen and the faults there were.

    The kubelet takes its field away when a pod ends: what it said last stays (rule 6)."""

    def __init__(self) -> None:
        self._states: dict[str, dict[DeviceKey, DeviceState]] = {}
        self._since: dict[str, dict[DeviceKey, tuple[Health, float]]] = {}

    def begin(self, uid: str, entries: Iterable[DeviceEntry]) -> None:
        """What an earlier agent wrote: a health that is still the same has been so since then."""
        known = {entry.key: (entry.health, entry.since.timestamp()) for entry in entries if entry.since is not None}
        if known:
            self._since[uid] = known

    def look(self, pod: Pod, holdings: Iterable[Holding], wall: float) -> None:
        """The pod as the API shows it at `wall` (Unix seconds), and what it holds of drivers that are left alone."""
        if _field_gone(pod):
            return
        uid, held = pod.metadata.uid, tuple(holdings)
        states = self._states.setdefault(uid, {})
        for holding in held:
            beside = {one.key for one in held if (one.container, one.entry) == (holding.container, holding.entry)}
            said = kubelet_says(pod, holding, len(beside))
            known = states.get(holding.key)
            states[holding.key] = self._first(uid, said, wall) if known is None else _next(known, said, wall)

    def state(self, pod: Pod, holding: Holding) -> DeviceState:
        known = self._states.get(pod.metadata.uid, {}).get(holding.key)
        return _state(holding, Health.UNKNOWN, _SAYS_NOTHING) if known is None else known

    def forget(self, uid: str) -> None:
        self._states.pop(uid, None)
        self._since.pop(uid, None)

    def _first(self, uid: str, said: DeviceState, wall: float) -> DeviceState:
        if said.health is Health.UNKNOWN:
            return said  # before the kubelet's first word nothing has gone wrong
        health, since = self._since.get(uid, {}).get(said.key, (None, wall))
        return _with(said, said, None, since if health is said.health and since <= wall else wall)


def _next(known: DeviceState, said: DeviceState, wall: float) -> DeviceState:
    if (known.health, known.message) == (said.health, said.message):
        return known
    return _with(said, known, known.health, wall)


def _with(said: DeviceState, known: DeviceState, before: Health | None, wall: float) -> DeviceState:
    faults = with_change(known.faults, before, said.health, said.message, said.action, wall)
    since = known.since if before is said.health else wall
    return DeviceState(said.key, said.health, said.message, said.action, since, 0.0, said.deadline, faults)


def _field_gone(pod: Pod) -> bool:
    """The kubelet has taken its field away because containers have ended, not because it says nothing any more."""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    if any(status.allocated_resources_status for status in statuses):
        return False
    return pod.ended or any(status.state.terminated is not None for status in pod.status.container_statuses)


def kubelet_says(pod: Pod, holding: Holding, devices: int = 1) -> DeviceState:
    """The device's state as of the kubelet's field; times are not known. `devices`: how many its entry has."""
    # An entry of one name gives every container the same devices, and upstream's kubelet never tells of them on init containers.
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    statuses = tuple(sorted(statuses, key=lambda status: status.name != holding.container))
    fields = (field for status in statuses for field in status.allocated_resources_status if field.name == holding.entry)
    resources = next((field.resources for field in fields), ())
    said = _of(resources, holding)
    if said is None or (said.health == Health.HEALTHY and len(resources) < devices):
        # Devices with one CDI id are one resource of the field, and an Unhealthy one of them may read Healthy (CONTRACT §5).
        why = "its driver is left to the kubelet, whose field does not say which device this is" if resources else ""
        return _state(holding, Health.UNKNOWN, why or _SAYS_NOTHING)
    health = Health(said.health) if said.health in list(Health) else Health.UNKNOWN
    return _state(holding, health, clean(said.message or ""))


def _of(resources: tuple[ResourceHealth, ...], holding: Holding) -> ResourceHealth | None:
    for resource in resources:
        if resource.resource_id in (str(holding.key), holding.key.device) or resource.resource_id.endswith(f"={holding.key.device}"):
            return resource
    return resources[0] if len({(resource.health, resource.message) for resource in resources}) == 1 else None


def _state(holding: Holding, health: Health, message: str) -> DeviceState:
    # A lease that never ends: nobody here counts one.
    return DeviceState(holding.key, health, message, "", 0.0, 0.0, math.inf, ())
