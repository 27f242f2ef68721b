"""What a pod's status says of its devices: the annotation's entries, the condition, and the field a kubelet writes. Pure.

The agent uses the first two, the lab's kubelet the third; both from the same holdings and device states. Rules kept: entries in a fixed
order with messages free of times (9), a fault stays in the entry while the pod exists (5), and devices are never merged in the field:
upstream shows two devices with one CDI id as one, and so an Unhealthy one as Healthy (CONTRACT §5).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from podvitals.claim.holdings import Holding
from podvitals.claim.meta import Condition
from podvitals.claim.pod import AllocatedResourceStatus, Pod, ResourceHealth
from podvitals.claim.times import rfc3339, unix
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.node.record import DeviceState, Fault
from podvitals.pod.entry import CONDITION, DeviceEntry, FaultEntry, moment

StateOf = Callable[[DeviceKey], DeviceState]

_CONDITION_LIMIT = 1024
"""Bytes of a condition's message: it must be readable in `kubectl get -o yaml`; the annotation has the rest."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    status: str
    reason: str
    adjective: str


_MEANING = {
    Health.HEALTHY: _Meaning("True", "DevicesHealthy", "healthy"),
    Health.UNKNOWN: _Meaning("Unknown", "DeviceUnknown", "of unknown health"),
    Health.UNHEALTHY: _Meaning("False", "DeviceUnhealthy", "unhealthy"),
}


def began(pod: Pod) -> float:
    """When the pod's life on its node began, Unix seconds; 0.0 where the pod does not say. Kubernetes rounds it down to a second."""
    return unix(pod.status.start_time) or unix(pod.metadata.creation_timestamp) or 0.0


def ended_at(pod: Pod) -> float | None:
    """When its last container stopped, Unix seconds; None for a pod that has not ended, or that ended without saying when."""
    if not pod.ended:
        return None
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    stops = [unix(status.state.terminated.finished_at) for status in statuses if status.state.terminated is not None]
    return max((stop for stop in stops if stop is not None), default=None)


def entries(start: float, holdings: Iterable[Holding], state_of: StateOf) -> tuple[DeviceEntry, ...]:
    """One entry for each device of each container, with the faults that met the pod's life, which began at `start` (Unix seconds)."""
    found = {}
    for holding in holdings:
        if holding.key not in found:
            found[holding.key] = state_of(holding.key)
    return tuple(_entry(holding, found[holding.key], start) for holding in holdings)


def _entry(holding: Holding, state: DeviceState, start: float) -> DeviceEntry:
    return DeviceEntry(
        container=holding.container,
        driver=holding.key.driver,
        pool=holding.key.pool,
        device=holding.key.device,
        health=state.health,
        kind=holding.kind,
        entry=holding.entry,
        claim=holding.claim,
        claim_name=holding.claim_name,
        request=holding.request,
        admin=holding.admin,
        message=state.message,
        action=state.action,
        since=moment(state.since) if state.since > 0 else None,
        faults=tuple(fault_entry(fault) for fault in state.faults if fault.end is None or fault.end >= start),
    )


def fault_entry(fault: Fault, *, after_end: bool = False) -> FaultEntry:
    until = None if fault.end is None else moment(fault.end)
    return FaultEntry(fault.health, fault.message, fault.action, moment(fault.start), until, after_end)


@dataclass(frozen=True, slots=True)
class Said:
    """A condition without its times: two that are equal here need no write."""

    status: str
    reason: str
    message: str

    def stamped(self, shown: Condition | None, now: float) -> Condition:
        """The whole condition. The transition time of the one the pod has (`shown`) stays as long as its status. `now`: Unix seconds."""
        stays = shown is not None and shown.status == self.status and bool(shown.last_transition_time)
        when = shown.last_transition_time if shown is not None and stays else rfc3339(now)
        return Condition(type=CONDITION, status=self.status, reason=self.reason, message=self.message, last_transition_time=when)


def said(entries: Sequence[DeviceEntry]) -> Said:
    """What the pod's condition says of these entries: as bad as the worst of them."""
    worst = Health.worst(entry.health for entry in entries)
    meaning = _MEANING[worst]
    return Said(meaning.status, meaning.reason, _why(entries, worst))


def condition(entries: Sequence[DeviceEntry], shown: Condition | None, now: float) -> Condition:
    return said(entries).stamped(shown, now)


def _why(entries: Sequence[DeviceEntry], worst: Health) -> str:
    devices: dict[DeviceKey, DeviceEntry] = {entry.key: entry for entry in entries}
    bad = sorted(key for key, entry in devices.items() if entry.health is worst)
    count = f"{len(bad)} of {len(devices)} device{'s' if len(devices) != 1 else ''} {_MEANING[worst].adjective}"
    if worst is Health.HEALTHY:
        return count
    reasons: list[str] = []
    for key in bad:
        reason = str(key) + (f": {devices[key].message}" if devices[key].message else "")
        if reasons and len("; ".join([count, *reasons, reason]).encode()) > _CONDITION_LIMIT - 16:
            reasons.append(f"{len(bad) - len(reasons)} more")
            break
        reasons.append(reason)
    return clean("; ".join([count, *reasons]), _CONDITION_LIMIT)


def field(
    holdings: Iterable[Holding], state_of: StateOf, resource_ids: Mapping[DeviceKey, str], *, messages: bool = True
) -> dict[str, list[AllocatedResourceStatus]]:
    """`allocatedResourcesStatus` of each container that holds devices, init containers and sidecars included, by container name.

    `resource_ids`: the first CDI id of each prepared device, as the driver's answer gave it. `messages`: the gate
    ResourceHealthStatusMessage."""
    held: dict[str, dict[str, set[DeviceKey]]] = {}
    for holding in holdings:
        held.setdefault(holding.container, {}).setdefault(holding.entry, set()).add(holding.key)
    return {
        container: [
            AllocatedResourceStatus(name=name, resources=_resources(keys, state_of, resource_ids, messages))
            for name, keys in sorted(by_entry.items())
        ]
        for container, by_entry in sorted(held.items())
    }


def _resources(
    keys: set[DeviceKey], state_of: StateOf, resource_ids: Mapping[DeviceKey, str], messages: bool
) -> tuple[ResourceHealth, ...]:
    wanted = {key: resource_ids.get(key) or str(key) for key in keys}
    count = Counter(wanted.values())
    names = {str(key) for key in keys}
    shown = {key: name if count[name] == 1 and name not in names else str(key) for key, name in wanted.items()}
    return tuple(_resource(name, state_of(key), messages) for key, name in sorted(shown.items(), key=lambda item: (item[1], item[0])))


def _resource(name: str, state: DeviceState, messages: bool) -> ResourceHealth:
    message = clean(state.message) if messages and state.message else None
    return ResourceHealth(resource_id=name, health=state.health.value, message=message)
