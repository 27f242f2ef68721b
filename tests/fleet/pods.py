"""Pods as the tests of the readers need them: one container, one claim, an annotation and the kubelet's field."""

from datetime import UTC, datetime

from podvitals.claim.meta import Condition, ObjectMeta
from podvitals.claim.pod import (
    AllocatedResourceStatus,
    ClaimReference,
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    Pod,
    PodClaim,
    PodSpec,
    PodStatus,
    ResourceHealth,
    Resources,
    Terminated,
    Waiting,
)
from podvitals.claim.times import rfc3339
from podvitals.device.health import Health
from podvitals.pod.entry import ANNOTATION, CONDITION, DeviceEntry, FaultEntry, PodDevices

NOW = datetime(2026, 11, 23, 12, 9, 4, tzinfo=UTC).timestamp()
NODE, DRIVER = "gpu-07", "gpu.nvidia.com"


def at(seconds: float) -> datetime:
    """`seconds` from NOW."""
    return datetime.fromtimestamp(NOW + seconds, UTC)


def entry(name: str, health: Health = Health.HEALTHY, message: str = "", since: float = -5000, **more: object) -> DeviceEntry:
    faults: tuple[FaultEntry, ...] = ()
    if health is not Health.HEALTHY:
        faults = (FaultEntry(health=health, message=message, action=str(more.get("action", "")), start=at(since)),)
    fields: dict[str, object] = {"faults": faults, "entry": "claim:gpus", "claim": "gpus", "claim_name": "trainer-0-gpus-x7k2f", **more}
    return DeviceEntry("train", DRIVER, NODE, name, health, message=message, since=at(since), **fields)  # type: ignore[arg-type]


def field(*healths: Health) -> tuple[AllocatedResourceStatus, ...]:
    resources = tuple(ResourceHealth(resource_id=f"{DRIVER}/{NODE}/gpu-{n}", health=str(health)) for n, health in enumerate(healths))
    return (AllocatedResourceStatus(name="claim:gpus", resources=resources),) if healths else ()


def condition(status: str, message: str = "") -> Condition:
    return Condition(type=CONDITION, status=status, message=message)


def pod(
    *entries: DeviceEntry,
    field: tuple[AllocatedResourceStatus, ...] = (),
    exit_code: int | None = None,
    exit_reason: str = "Error",
    exited: float = -33,
    phase: str = "Running",
    annotation: str | None = None,
    condition: Condition | None = None,
) -> Pod:
    text = annotation if annotation is not None else PodDevices(NODE, "0.1.0", entries).encode() if entries else None
    ended = Terminated(
        exit_code=exit_code or 0, reason=exit_reason, started_at=rfc3339(NOW + exited - 1000), finished_at=rfc3339(NOW + exited)
    )
    crashed = exit_code is not None
    status = ContainerStatus(
        name="train",
        restart_count=5 if crashed else 0,
        state=ContainerState(waiting=Waiting(reason="CrashLoopBackOff")) if crashed else ContainerState(),
        last_state=ContainerState(terminated=ended) if crashed else ContainerState(),
        allocated_resources_status=field,
    )
    return Pod(
        metadata=ObjectMeta(
            name="trainer-0",
            namespace="ml",
            uid="u1",
            creation_timestamp=rfc3339(NOW - 11520),
            annotations={} if text is None else {ANNOTATION: text},
        ),
        spec=PodSpec(
            node_name=NODE,
            containers=(ContainerSpec(name="train", resources=Resources(claims=(ClaimReference(name="gpus"),), limits={"memory": "2Gi"})),),
            resource_claims=(PodClaim(name="gpus", resource_claim_template_name="gpus"),),
        ),
        status=PodStatus(phase=phase, container_statuses=(status,), conditions=(condition,) if condition else ()),
    )
