"""Whether the kubelet's own field says the same as the annotation, and whether it could. Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from podvitals.claim.pod import AllocatedResourceStatus, ContainerStatus, Pod
from podvitals.device.health import Health
from podvitals.pod.entry import PodDevices

Told = Mapping[tuple[str, str], list[Health]]


class Agreement(StrEnum):
    """What the kubelet's own field says beside the agent's annotation."""

    AGREES = "agrees"
    DIFFERS = "differs"
    SILENT = "silent"  # the field is empty: gate off, kubelet older than 1.36, or a driver it does not listen to
    ENDED = "ended"  # the kubelet removes the field when a pod ends
    NOT_ASKED = "not asked"  # there is nothing to compare with


def compare(pod: Pod, devices: PodDevices) -> tuple[Agreement, str]:
    """Whether the kubelet's field counts the same healths for each entry as the annotation; where not, the first difference in words."""
    fields = [(status.name, entry) for status, entry, kind in allocated(pod)]
    if not fields:
        return Agreement.SILENT, ""
    if devices.omitted.total == 0:
        for container, entry, theirs, ours in _healths(pod, told(devices)):
            if theirs != ours:
                return Agreement.DIFFERS, f"{entry} of container {container}: it says {_counts(theirs)}, the agent {_counts(ours)}"
    return Agreement.AGREES, ""


def told(devices: PodDevices) -> Told:
    """The healths that the annotation tells of each entry of each container, sorted."""
    listed: dict[tuple[str, str], list[Health]] = {}
    for entry in devices.entries:
        listed.setdefault((entry.container, entry.entry), []).append(entry.health)
    return {place: sorted(healths) for place, healths in listed.items()}


def late(pod: Pod, told: Told) -> bool:
    """Whether the kubelet could say the same, and does not: it lists the same devices with other healths."""
    return any(theirs != ours and len(theirs) == len(ours) for _, _, theirs, ours in _healths(pod, told))


def unprepared(pod: Pod) -> bool:
    """Whether the kubelet has taken the pod and not prepared what its containers need: it tries, has failed, or waits to try again."""
    ready = pod.condition("PodReadyToStartContainers")
    return pod.status.phase == "Pending" and ready is not None and ready.status == "False"


def allocated(pod: Pod) -> Iterable[tuple[ContainerStatus, AllocatedResourceStatus, str]]:
    """The kubelet's field, entry by entry, with the kind of container."""
    for kind, statuses in (("init", pod.status.init_container_statuses), ("container", pod.status.container_statuses)):
        for status in statuses:
            for entry in status.allocated_resources_status:
                yield status, entry, kind


def health_of(text: str) -> Health:
    """What the field calls a health; a word of a later version is Unknown."""
    return Health(text) if text in Health.__members__.values() else Health.UNKNOWN


def _healths(pod: Pod, told: Told) -> Iterable[tuple[str, str, list[Health], list[Health]]]:
    for status, field, _ in allocated(pod):
        theirs = sorted(health_of(resource.health) for resource in field.resources)
        yield status.name, field.name, theirs, told.get((status.name, field.name), [])


def _counts(healths: Iterable[Health]) -> str:
    listed = list(healths)
    parts = [f"{listed.count(h)} {h}" if len(listed) > 1 else str(h) for h in reversed(Health) if h in listed]
    return ", ".join(parts) or "nothing"
