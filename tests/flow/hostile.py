"""Drivers that mean harm, or act as if they did, on real sockets; and a good one beside them, which must go on being told right."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from podvitals.agent.compose import Agent
from podvitals.claim.pod import Pod
from podvitals.device.health import Health
from podvitals.kube.resources import PODS
from podvitals.node.watch import DriverView
from podvitals.pod.entry import CONDITION
from podvitals.testing import FakeDriver
from podvitals.wire.generated import health_pb2
from podvitals.wire.messages import DeviceReport
from tests.agent.cluster import Cluster

GOOD, BAD = "gpu.example.com", "bad.example.com"
MIB = 1024 * 1024


class Flood(FakeDriver):
    """Sends whatever `messages` gives, as fast as it is read; `sent` counts."""

    def __init__(self, directory: Path, messages: Callable[[], Iterator[bytes]], name: str = BAD) -> None:
        super().__init__(directory, name)
        self._flood = messages
        self.sent = 0

    async def watch(self) -> AsyncIterator[bytes]:
        self.watchers += 1
        try:
            for raw in self._flood():
                self.sent += 1
                yield raw
                await asyncio.sleep(0)
            await asyncio.get_running_loop().create_future()
        finally:
            self.watchers -= 1
            self._changes.tell()


class Stage:
    """An agent, a good driver whose gpu-0 pod "a" holds, and whoever else registers in `path`."""

    def __init__(self, cluster: Cluster, agent: Agent, good: FakeDriver) -> None:
        self.cluster, self.agent, self.good, self.path = cluster, agent, good, cluster.path
        self._changes = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, cluster: Cluster) -> AsyncIterator["Stage"]:
        async with FakeDriver(cluster.path, GOOD) as good, cluster.agent() as agent:
            good.report([DeviceReport("node1", "gpu-0", Health.HEALTHY, 1000.0, 300.0)])
            await cluster.pod("a", "gpu-0")
            await cluster.condition("a", "True")
            yield cls(cluster, agent, good)

    async def good_is_told(self, changes: int = 10) -> None:
        """One change after the other is seen on the pod."""
        for _ in range(changes):
            self._changes += 1
            text = f"change {self._changes} of the good driver"
            self.good.report([DeviceReport("node1", "gpu-0", Health.UNHEALTHY, 1000.0, 300.0, text)])
            await self.cluster.seen(PODS, lambda pods, text=text: "a" in pods and text in said(pods["a"]))  # type: ignore[misc]

    async def refused(self, reason: str, times: int = 1, driver: str = BAD) -> DriverView:
        """The driver's view once so much of it was refused for that reason."""
        return await self.view(lambda view: view.refusals.get(reason, 0) >= times, driver)

    async def view(self, true: Callable[[DriverView], bool], driver: str = BAD) -> DriverView:
        async with asyncio.timeout(30):
            while True:
                for view in self.agent.node.drivers():
                    if view.driver == driver and true(view):
                        return view
                await asyncio.sleep(0.005)

    def devices(self, driver: str = BAD) -> int:
        return sum(key.driver == driver for key in self.agent.node.states())


def said(pod: Pod) -> str:
    condition = pod.condition(CONDITION)
    return condition.message or "" if condition else ""


def report(*entries: Mapping[str, object]) -> bytes:
    """A report with these fields, whatever they are: pool, device, health, time, lease, message."""
    message = health_pb2.NodeWatchResourcesResponse()
    for entry in entries:
        device = message.devices.add()
        device.device.pool_name = _bytes(entry.get("pool", "node1"))
        device.device.device_name = _bytes(entry.get("device", "d0"))
        device.health = entry.get("health", 1)  # type: ignore[assignment]
        device.last_updated_time = entry.get("time", 0)  # type: ignore[assignment]
        device.health_check_timeout_seconds = entry.get("lease", 0)  # type: ignore[assignment]
        device.message = _bytes(entry.get("message", ""))
    return message.SerializeToString()


def _bytes(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


def devices(first: int, count: int) -> bytes:
    """Healthy d<first> … of pool node1, put together by hand: a million of them are soon made."""
    entries = []
    for number in range(first, first + count):
        name = b"d%d" % number
        identifier = b"\x0a\x05node1\x12" + bytes([len(name)]) + name
        entry = b"\x0a" + bytes([len(identifier)]) + identifier + b"\x10\x01"
        entries.append(b"\x0a" + bytes([len(entry)]) + entry)
    return b"".join(entries)


def oversized(length: int) -> bytes:
    """The beginning of a gRPC message that says it is so long."""
    return struct.pack(">BI", 0, length)


def rss() -> float:
    """MB this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


@asynccontextmanager
async def listening(
    path: Path, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None] | object"]
) -> AsyncIterator[None]:
    """A socket on which anything may happen."""
    connections: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await serve(reader, writer)  # type: ignore[misc]
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(one, path)
    try:
        yield
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


def bound(path: Path) -> socket.socket:
    """A socket that nobody listens on."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    return made
