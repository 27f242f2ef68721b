"""The pod status a kubelet writes, in upstream's shapes and words, from the machine's state. Pure.

Unlike upstream's, it keeps `allocatedResourcesStatus` when the pod has ended (kubernetes#132978) and fills it for init containers too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podvitals.claim.pod import AllocatedResourceStatus, ResourceHealth
from podvitals.claim.times import rfc3339, unix
from podvitals.device.text import clean
from podvitals.lab.kubelet.machine import PodMachine, Run
from podvitals.lab.kubelet.plan import Ended, Kind, Restart, Running, State, Waiting
from podvitals.lab.pods import RunnablePod

Field = Mapping[str, Sequence[AllocatedResourceStatus]]

HOST = "127.0.0.1"
MESSAGES = 256 * 1024
"""Bytes of all messages of a pod's field: an object in etcd has at most 1.5 MiB, and a thousand devices may each say something."""
LOST = 137
FORGOTTEN = "the kubelet began anew and does not know yet what this pod holds"
_FIRST = (Kind.INIT, Kind.SIDECAR)
_PARTS = {
    Kind.INIT: "initContainerStatuses",
    Kind.SIDECAR: "initContainerStatuses",
    Kind.MAIN: "containerStatuses",
    Kind.EPHEMERAL: "ephemeralContainerStatuses",
}
OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class Moment:
    """A condition's last transition, remembered so that it moves only with the status."""

    status: str
    time: str


def build(
    pod: RunnablePod, machine: PodMachine, field: Field, transitions: Mapping[str, Moment], started: float, wall: float
) -> tuple[dict[str, Any], dict[str, Moment]]:
    """The status as a strategic-merge patch's body, and the transitions to hand in next time."""
    now_phase = phase(machine)
    conditions, moments = [], {}
    for condition in _conditions(machine, now_phase):
        before = transitions.get(condition["type"])
        same = before is not None and before.status == condition["status"]
        moment = before if before is not None and same else Moment(condition["status"], rfc3339(wall))
        moments[condition["type"]] = moment
        conditions.append({**condition, "lastProbeTime": None, "lastTransitionTime": moment.time})
    containers = (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)
    images = {container.name: container.image for container in containers}
    status: dict[str, Any] = {
        "phase": now_phase,
        "conditions": conditions,
        "hostIP": HOST,
        "hostIPs": [{"ip": HOST}],
        "podIP": HOST,
        "podIPs": [{"ip": HOST}],
        "startTime": rfc3339(started),
        "containerStatuses": [],
    }
    for run in machine.runs.values():
        status.setdefault(_PARTS[run.plan.kind], []).append(_container(run, images, field))
    return status, moments


def phase(machine: PodMachine) -> str:
    """Upstream's getPhase; a final phase only once the claims are unprepared, so that nobody gives the devices away before."""
    mains = [run for run in machine.runs.values() if run.plan.kind is Kind.MAIN]
    if machine.over:
        ended = [run.last_end for run in machine.runs.values() if run.plan.kind in (Kind.INIT, Kind.MAIN)]
        return "Succeeded" if all(end is not None and end.exit_code == 0 for end in ended) else "Failed"
    if not machine.initialized() and not any(run.attempts for run in mains):
        return "Pending"
    if any(isinstance(run.state, Waiting) and run.last is None for run in mains):
        return "Pending"
    return "Running"


def _conditions(machine: PodMachine, now_phase: str) -> list[dict[str, Any]]:
    completed = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(now_phase)
    initialized = _condition("Initialized", machine.initialized() or now_phase == "Succeeded")
    incomplete = [run.plan.name for run in machine.runs.values() if run.plan.kind in _FIRST and not _prepared(run)]
    if initialized["status"] == "False":
        initialized |= {"reason": "ContainersNotInitialized", "message": f"containers with incomplete status: [{' '.join(incomplete)}]"}
    elif now_phase == "Succeeded":
        initialized["reason"] = "PodCompleted"
    unready = [run.plan.name for run in machine.runs.values() if run.plan.kind in (Kind.MAIN, Kind.SIDECAR) and not _ready(run)]
    why: dict[str, Any] = {"reason": completed}
    if not completed:
        why = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"}
    ready = not unready and not completed and machine.initialized()
    return [
        _condition("PodReadyToStartContainers", machine.prepared and not machine.over),
        initialized,
        _condition("Ready", ready) | ({} if ready else why),
        _condition("ContainersReady", ready) | ({} if ready else why),
        _condition("PodScheduled", True),
    ]


def _condition(kind: str, holds: bool) -> dict[str, Any]:
    """Reason and message by name, where there are none too: a merge would keep those of before."""
    return {"type": kind, "status": "True" if holds else "False", "reason": None, "message": None}


def _prepared(run: Run) -> bool:
    return run.started_ever if run.plan.kind is Kind.SIDECAR else isinstance(run.state, Ended) and run.state.exit_code == 0


def _ready(run: Run) -> bool:
    if run.plan.kind is Kind.INIT:
        return isinstance(run.state, Ended) and run.state.exit_code == 0
    return isinstance(run.state, Running) and run.plan.kind is not Kind.EPHEMERAL


def _container(run: Run, images: Mapping[str, str], field: Field) -> dict[str, Any]:
    end = run.last_end
    status: dict[str, Any] = {
        "name": run.plan.name,
        "image": images.get(run.plan.name, ""),
        "imageID": "",
        "containerID": run.container_id or (end.container_id if end is not None else ""),
        "ready": _ready(run),
        "started": isinstance(run.state, Running),
        "restartCount": run.restarts,
        "state": _state(run.state),
        "lastState": _state(run.last) if run.last is not None else {},
    }
    if not status["containerID"]:
        del status["containerID"]
    if entries := field.get(run.plan.name):
        status["allocatedResourcesStatus"] = [
            {"name": entry.name, "resources": [_health(each) for each in entry.resources]} for entry in entries
        ]
    return status


def _health(resource: ResourceHealth) -> dict[str, str]:
    """Spelled out: the struct leaves Unknown, its default, away when it is encoded, and the API demands a health."""
    said = {"resourceID": resource.resource_id, "health": resource.health}
    return said | ({"message": resource.message} if resource.message else {})


def _state(state: State) -> dict[str, Any]:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        case Running(since):
            return {"running": {"startedAt": rfc3339(since)}}
        case Ended(exit_code, reason, message, started, finished, container_id):
            terminated: dict[str, Any] = {
                "exitCode": exit_code,
                "reason": reason,
                "startedAt": rfc3339(started) if started is not None else "1970-01-01T00:00:00Z",
                "finishedAt": rfc3339(finished),
            }
            terminated |= {"message": message} if message else {}
            terminated |= {"containerID": container_id} if container_id else {}
            return {"terminated": terminated}


def earlier(pod: RunnablePod, wall: float) -> Mapping[str, tuple[int, Ended]]:
    """Container → how often an earlier kubelet started it, and how it ended: what ran then ended with that kubelet."""
    found = {}
    kinds = (pod.status.init_container_statuses, pod.status.container_statuses, pod.status.ephemeral_container_statuses)
    for status in (each for kind in kinds for each in kind):
        done, runs, last = status.state.terminated, status.state.running, status.last_state.terminated
        if runs is not None:
            since = unix(runs.started_at) or wall
            end = Ended(LOST, "ContainerStatusUnknown", "it ended with the kubelet that ran it", since, wall, status.container_id)
        elif (ended := done or last) is not None:
            started, finished = unix(ended.started_at), unix(ended.finished_at) or wall
            end = Ended(ended.exit_code, ended.reason, ended.message, started, finished, status.container_id)
        else:
            continue
        found[status.name] = status.restart_count + 1, end
    return found


def unknown(pod: RunnablePod) -> Field:
    """The field of a pod whose kubelet began anew, until it has read its claims: what stands there is not known any more."""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    return {
        status.name: [
            AllocatedResourceStatus(
                name=entry.name,
                resources=tuple(ResourceHealth(resource_id=each.resource_id, message=FORGOTTEN) for each in entry.resources),
            )
            for entry in status.allocated_resources_status
        ]
        for status in statuses
        if status.allocated_resources_status
    }


def within(field: Field, most: int = MESSAGES) -> Field:
    """The field with its messages cut alike where all of them together are longer than the API would take."""
    said = [each.message for entries in field.values() for entry in entries for each in entry.resources if each.message]
    if sum(len(message.encode()) for message in said) <= most:
        return field
    share = most // len(said)
    return {
        name: [
            AllocatedResourceStatus(name=entry.name, resources=tuple(_shortened(each, share) for each in entry.resources))
            for entry in entries
        ]
        for name, entries in field.items()
    }


def _shortened(resource: ResourceHealth, share: int) -> ResourceHealth:
    message = clean(resource.message, share) if resource.message else None
    return ResourceHealth(resource_id=resource.resource_id, health=resource.health, message=message)


def restart_policy(text: str) -> Restart:
    """The pod's restartPolicy; the API server refused anything else already."""
    return Restart(text) if text in tuple(Restart) else Restart.ALWAYS
