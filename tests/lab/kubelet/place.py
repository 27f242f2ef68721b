"""The lab's API server and a node of the lab's kubelet, for tests: what a pod is given, and what a reader of the API sees of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podvitals.claim.pod import ContainerStatus
from podvitals.clock import SYSTEM, Clock
from podvitals.device.key import DeviceKey
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import CLAIMS, Resource
from podvitals.lab.kubelet.backoff import BackoffSettings
from podvitals.lab.kubelet.gates import Gates
from podvitals.lab.kubelet.prepare import Drivers
from podvitals.lab.kubelet.run import Kubelet, KubeletSettings
from podvitals.lab.pods import RUNNABLE_PODS, RunnablePod
from podvitals.wire.messages import PreparedDevice
from tests.lab.kubelet.fakes import FakeDrivers, FakePlugin

GPU = DeviceKey("gpu.example.com", "lab", "gpu-0")
GATES = Gates()
PREPARED = PreparedDevice(("gpu",), "lab", "gpu-0", ("gpu.example.com/claim=gpu-0",))


@dataclass
class Lab:
    client: Client
    kubelet: Kubelet
    drivers: FakeDrivers
    root: Path
    stop: Callable[[], Awaitable[None]]
    """Ends the kubelet, and with it every process; pods stay as they were said to be."""

    async def run(self, *containers: dict[str, Any], name: str = "p", init: list[dict[str, Any]] | None = None, **spec: Any) -> None:
        full = [{"name": "main", "image": "none"} | container for container in containers]
        first = [{"name": "init", "image": "none"} | container for container in init or []]
        body = {"metadata": {"name": name}, "spec": {"nodeName": "lab", "containers": full, "initContainers": first} | spec}
        await self.client.create(RUNNABLE_PODS, body, "default")

    async def sees(self, holds: Callable[[RunnablePod], object], resource: Resource[Any] = RUNNABLE_PODS) -> Any:
        async with asyncio.timeout(15), aclosing(follow(self.client, resource)) as changes:
            async for change in changes:
                if change.object is not None and change.kind != "deleted" and holds(change.object):
                    return change.object
        raise AssertionError("unreachable")

    async def gone(self, name: str = "p") -> None:
        async with asyncio.timeout(15), aclosing(follow(self.client, RUNNABLE_PODS)) as changes:
            async for change in changes:
                if change.kind == "deleted" and change.object is not None and change.object.metadata.name == name:
                    return

    async def logs(self, container: str = "main", *, previous: bool = False, follows: bool = False, name: str = "p") -> str:
        source = self.kubelet.log_source("default", name, container, previous, follows, None)
        return b"".join([chunk async for chunk in source]).decode()

    async def bind(self, name: str) -> None:
        """As the scheduler does."""
        target = {"apiVersion": "v1", "kind": "Node", "name": "lab"}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self.client.raw("POST", f"/api/v1/namespaces/default/pods/{name}/binding", body=json.dumps(body).encode())

    async def claim(
        self, name: str = "named", pods: Sequence[str] = ("p",), devices: Sequence[str] = (GPU.device,), owner: RunnablePod | None = None
    ) -> None:
        """An allocated claim, reserved for the pods that are there already."""
        spec = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}
        metadata: dict[str, Any] = {"name": name}
        if owner is not None:
            reference = {"apiVersion": "v1", "kind": "Pod", "name": owner.metadata.name, "uid": owner.metadata.uid, "controller": True}
            metadata["ownerReferences"] = [reference]
        await self.client.create(CLAIMS, {"metadata": metadata, "spec": spec}, "default")
        results = [{"request": "gpu", "driver": GPU.driver, "pool": GPU.pool, "device": device} for device in devices]
        found = [await self.client.get(RUNNABLE_PODS, pod, "default") for pod in pods]
        reserved = [{"resource": "pods", "name": pod.metadata.name, "uid": pod.metadata.uid} for pod in found]
        status = {"allocation": {"devices": {"results": results}}, "reservedFor": reserved}
        await self.client.patch(CLAIMS, name, {"status": status}, "default", subresource="status", kind="merge")


def furnish(root: Path) -> None:
    for part in ("cdi", "logs", "pods"):
        (root / part).mkdir()


@asynccontextmanager
async def node(client: Client, drivers: Drivers, root: Path, *, gates: Gates = GATES, clock: Clock = SYSTEM) -> AsyncIterator[Kubelet]:
    """A kubelet of node "lab" in a furnished directory; every process of it ends with it."""
    settings = KubeletSettings("lab", root / "cdi", root / "logs", root / "pods", root / "held", BackoffSettings(0.05, 0.4), gates)
    kubelet = Kubelet(client, drivers, settings, clock)
    running = asyncio.create_task(kubelet.run(), name="kubelet")
    try:
        yield kubelet
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def sh(script: str, **fields: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script]} | fields


def main(pod: RunnablePod) -> ContainerStatus:
    return next(status for status in pod.status.container_statuses if status.name == "main")


def running(pod: RunnablePod) -> bool:
    return bool(pod.status.container_statuses) and main(pod).state.running is not None


def use_gpu(lab: Lab) -> FakePlugin:
    (lab.root / "cdi" / "gpu.json").write_text(
        '{"kind": "gpu.example.com/claim", "devices": [{"name": "gpu-0", "containerEdits": {"env": ["GPU=gpu-0"]}}]}'
    )
    plugin = lab.drivers.plugins[GPU.driver] = FakePlugin((PREPARED,))
    return plugin


async def gpu_pod(lab: Lab, script: str, **spec: Any) -> None:
    claims = {"claims": [{"name": "gpus"}]}
    await lab.run(sh(script, resources=claims), resourceClaims=[{"name": "gpus", "resourceClaimName": "named"}], **spec)
    await lab.claim()


def health(pod: RunnablePod) -> list[tuple[str, str, str | None]]:
    return [(r.resource_id, r.health, r.message) for entry in main(pod).allocated_resources_status for r in entry.resources]
