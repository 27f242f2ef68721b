"""Pods, holdings and device states for the tests of `pod` and `agent`."""

from podvitals.claim.holdings import Holding
from podvitals.claim.meta import ObjectMeta
from podvitals.claim.pod import ContainerState, ContainerStatus, Pod, PodStatus, Terminated
from podvitals.claim.times import rfc3339
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState, Fault

START = 1_800_000_000.0
"""When the pods of these tests start, Unix seconds."""


def key(device: str, driver: str = "gpu.example.com") -> DeviceKey:
    return DeviceKey(driver, "node-1", device)


def holding(device: str, container: str = "train", entry: str = "claim:gpus", driver: str = "gpu.example.com") -> Holding:
    return Holding(container, "container", entry, entry.removeprefix("claim:"), "train-gpus-x7k2f", "gpu", key(device, driver))


def state(device: str, health: Health = Health.HEALTHY, message: str = "", *faults: Fault, since: float = START - 60) -> DeviceState:
    return DeviceState(key(device), health, message, "", since, since, 1000.0, faults)


def pod(name: str = "a", uid: str = "", *, ended: float | None = None, version: int = 1, annotations: dict[str, str] | None = None) -> Pod:
    statuses: tuple[ContainerStatus, ...] = ()
    if ended is not None:
        stop = Terminated(exit_code=1, finished_at=rfc3339(ended))
        statuses = (ContainerStatus(name="train", state=ContainerState(terminated=stop)),)
    phase = "Running" if ended is None else "Failed"
    return Pod(
        metadata=ObjectMeta(
            name=name, namespace="ml", uid=uid or f"uid-{name}", resource_version=str(version), annotations=annotations or {}
        ),
        status=PodStatus(phase=phase, start_time=rfc3339(START), container_statuses=statuses),
    )
