"""Devices of drivers that the operator told the agent to leave alone: their health is what the kubelet wrote into the pod's field. Pure.

The field names a device by its first CDI id, which only the kubelet knows (CONTRACT §4). So a device is found by its own name where that
is used, or where its entry leaves no choice; otherwise its health is Unknown unless all devices of the entry have the same.
"""

import math

from podvitals.claim.holdings import Holding
from podvitals.claim.pod import Pod, ResourceHealth
from podvitals.device.health import Health
from podvitals.device.text import clean
from podvitals.node.record import DeviceState


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
        return _state(holding, Health.UNKNOWN, why or "its driver is left to the kubelet, which says nothing of it")
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
