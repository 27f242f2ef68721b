"""What a pod says of a device, as the API gives it: in the kubelet's field, or in podvitals' condition and annotation. Pure.

Pods are plain objects, read here and nowhere else: a judge must not see them through the code it judges.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

Object = Mapping[str, Any]
Reads = Literal["field", "condition"]

CONDITION = "podvitals.dev/DevicesHealthy"
ANNOTATION = "podvitals.dev/devices"
_HEALTH_OF = {"True": "Healthy", "False": "Unhealthy", "Unknown": "Unknown"}
_BADNESS = {"Healthy": 0, "Unknown": 1, "Unhealthy": 2}


class Entry(NamedTuple):
    """One device as one container shows it. `id`: the field's resourceID, or driver/pool/device."""

    container: str
    id: str
    health: str
    message: str


class Shown(NamedTuple):
    """How a pod shows a device: the worst of its entries."""

    health: str
    message: str = ""

    def __str__(self) -> str:
        return self.health + (f" ({self.message})" if self.message else "")


def entries(pod: Object, reads: Reads) -> list[Entry]:
    """Every entry, in the order it stands."""
    return list(_field(pod) if reads == "field" else _annotation(pod))


def shown(pod: Object, reads: Reads, ids: Iterable[str]) -> Shown | None:
    """How the pod shows the device known by these ids; None where it does not."""
    wanted = set(ids)
    found = [Shown(entry.health, entry.message) for entry in entries(pod, reads) if entry.id in wanted]
    if reads == "condition":
        # The annotation is written once a second, the condition at once: where they differ the condition is the newer.
        found = _by_condition(pod, wanted, found)
    return max(found, key=lambda each: _BADNESS.get(each.health, 3), default=None)


def _by_condition(pod: Object, ids: set[str], annotated: list[Shown]) -> list[Shown]:
    condition = next((each for each in pod.get("status", {}).get("conditions", ()) if each["type"] == CONDITION), None)
    if condition is None:
        return []
    health, text = _HEALTH_OF.get(condition["status"], "Unknown"), condition.get("message", "")
    named = next((each for each in ids if each in text), "")
    if not named and health != "Healthy":
        return annotated
    same = [each for each in annotated if each.health == health]
    return same or [Shown(health, text.partition(f"{named}: ")[2] if named else "")]


def _field(pod: Object) -> Iterator[Entry]:
    status = pod.get("status", {})
    kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    for container in (each for kind in kinds for each in status.get(kind, ())):
        for resource in container.get("allocatedResourcesStatus", ()):
            for device in resource.get("resources", ()):
                yield Entry(container["name"], device["resourceID"], device.get("health", ""), device.get("message", ""))


def _annotation(pod: Object) -> Iterator[Entry]:
    text = (pod.get("metadata", {}).get("annotations") or {}).get(ANNOTATION, "{}")
    for device in json.loads(text).get("devices", ()):
        key = f"{device['driver']}/{device['pool']}/{device['device']}"
        yield Entry(device["container"], key, device["health"], device.get("message", ""))


def ephemeral(pod: Object) -> list[str]:
    """The names of the ephemeral containers that have been begun."""
    begun = (each for each in pod.get("status", {}).get("ephemeralContainerStatuses", ()) if "waiting" not in each.get("state", {}))
    return [each["name"] for each in begun]


def phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def why(pod: Object) -> str:
    """Why a pod is where it is, for messages."""
    status = pod.get("status", {})
    reasons = [each.get("message", "") for each in status.get("conditions", ()) if each.get("status") == "False" and each.get("message")]
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            reasons.append(f"{waiting.get('reason', '')} {waiting.get('message', '')}".strip())
    return f"{phase(pod) or 'no phase'}" + (f": {'; '.join(dict.fromkeys(reasons))[:300]}" if reasons else "")
