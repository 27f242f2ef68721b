"""One node around an agent: the lab's API server, pods as scheduler and kubelet would leave them, and what a reader of the API sees."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from podvitals.agent.compose import Agent, AgentSettings
from podvitals.agent.memory import Memory
from podvitals.claim.cluster import Event, Lease
from podvitals.claim.pod import Pod
from podvitals.claim.times import rfc3339
from podvitals.clock import SYSTEM
from podvitals.device.health import Health
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import CLAIMS, PODS, Resource
from podvitals.pod.book import Memo
from podvitals.pod.entry import ANNOTATION, CONDITION, PodDevices, decode
from podvitals.wire.messages import DeviceReport

T = TypeVar("T", Pod, Event, Lease)
DRIVER = "gpu.example.com"


class Cluster:
    """One node: an API server, a directory for drivers, and pods that a test binds to it."""

    def __init__(self, path: Path, client: Client) -> None:
        self.path, self.client = path, client
        self.settings = AgentSettings("node1", path / "plugins_registry", path / "state", namespace="kube-system")

    async def pod(self, name: str, *devices: str, driver: str = DRIVER) -> Pod:
        """A pod whose claim is allocated these devices, as the scheduler would leave it."""
        request = {"name": "gpu", "exactly": {"deviceClassName": "gpu", "count": len(devices)}}
        claim: dict[str, Any] = {"metadata": {"name": f"{name}-gpus"}, "spec": {"devices": {"requests": [request]}}}
        await self.client.create(CLAIMS, claim, "default")
        container = {"name": "train", "image": "x", "resources": {"claims": [{"name": "gpus"}]}}
        spec = {"nodeName": "node1", "containers": [container], "resourceClaims": [{"name": "gpus", "resourceClaimName": f"{name}-gpus"}]}
        pod = await self.client.create(PODS, {"metadata": {"name": name}, "spec": spec}, "default")
        results = [{"request": "gpu", "driver": driver, "pool": "node1", "device": device} for device in devices]
        consumer = {"resource": "pods", "name": name, "uid": pod.metadata.uid}
        status = {"status": {"allocation": {"devices": {"results": results}}, "reservedFor": [consumer]}}
        await self.client.patch(CLAIMS, f"{name}-gpus", status, "default", subresource="status", kind="merge")
        return pod

    async def end(self, name: str) -> None:
        """The pod ends, and with it its claim, as a kubelet and the claim controller would do it."""
        stop = {"name": "train", "state": {"terminated": {"exitCode": 1, "finishedAt": rfc3339(SYSTEM.wall())}}}
        status = {"status": {"phase": "Failed", "containerStatuses": [stop]}}
        await self.client.patch(PODS, name, status, "default", subresource="status")
        await self.client.delete(CLAIMS, f"{name}-gpus", "default")

    async def seen(self, resource: Resource[T], true: Callable[[dict[str, T]], bool], namespace: str = "default") -> dict[str, T]:
        """The objects by name, as soon as a watch shows that it is so."""
        objects: dict[str, T] = {}
        async with asyncio.timeout(15), aclosing(follow(self.client, resource, namespace)) as changes:
            async for change in changes:
                if isinstance(change.object, Pod | Event | Lease):
                    objects[change.object.metadata.name] = change.object
                if true(objects):
                    return objects
        raise AssertionError

    async def condition(self, name: str, status: str) -> Pod:
        """The pod once its condition is `status`."""
        return (await self.seen(PODS, lambda pods: name in pods and shown(pods[name]) == status))[name]

    async def annotated(self, name: str, *healths: Health) -> PodDevices:
        """What the annotation says, once it says these healths in this order."""

        def so(pods: dict[str, Pod]) -> bool:
            return name in pods and tuple(entry.health for entry in annotation(pods[name]).entries) == healths

        return annotation((await self.seen(PODS, so))[name])

    async def memory(self) -> list[Memo]:
        memory = Memory(self.settings.state_dir / "agent.sqlite")
        memos = await asyncio.to_thread(memory.load)
        await asyncio.to_thread(memory.close)
        return memos

    async def remember(self, changes: dict[str, Memo | None]) -> None:
        memory = Memory(self.settings.state_dir / "agent.sqlite")
        await asyncio.to_thread(memory.load)
        assert await asyncio.to_thread(memory.save, changes)
        await asyncio.to_thread(memory.close)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
        """Asks the agent on its socket."""

        async def ask(path: str) -> Any:
            answer = await session.get(f"http://agent{path}")
            return await answer.json()

        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.settings.socket))) as session:
            yield ask

    @asynccontextmanager
    async def agent(self, settings: AgentSettings | None = None, client: Client | None = None) -> AsyncIterator[Agent]:
        agent = Agent(settings or self.settings, client or self.client)
        task = asyncio.create_task(agent.run(), name="agent")
        try:
            yield agent
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def shown(pod: Pod) -> str:
    condition = pod.condition(CONDITION)
    return condition.status if condition else ""


def annotation(pod: Pod) -> PodDevices:
    text = pod.metadata.annotations.get(ANNOTATION)
    return decode(text) if text else PodDevices("")


def reports(health: Health, message: str = "", lease: float = 30.0, device: str = "gpu-0") -> list[DeviceReport]:
    return [DeviceReport("node1", device, health, 1000.0, lease, message, "reset-gpu" if message else "")]
