"""The lab's kubelet with the real node side: leases, the checkpoint, and drivers on real sockets."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from podvitals.clock import SYSTEM, Clock
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer
from podvitals.node.watch import NodeSettings, NodeWatch
from podvitals.testing import FakeDriver, ManualClock
from podvitals.wire.messages import DeviceReport
from tests.lab.kubelet.place import Lab, furnish, gpu_pod, health, main, node, running

DRIVER = "gpu.example.com"
KEY = DeviceKey(DRIVER, "lab", "gpu-0")


def reports(word: Health, message: str = "", lease: float = 30.0) -> list[DeviceReport]:
    return [DeviceReport("lab", "gpu-0", word, 1000.0, lease, message)]


@asynccontextmanager
async def ledger(root: Path, checkpoint: Path, clock: Clock) -> AsyncIterator[NodeWatch]:
    watch = NodeWatch(NodeSettings(plugin_dir=root / "plugins_registry", checkpoint=checkpoint), clock, registrar=True)
    running = asyncio.create_task(watch.run(), name="node")
    try:
        await watch.ready.wait()
        yield watch
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with ApiServer() as server, Client(ClusterConfig(server.url)) as client:
        yield client


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[FakeDriver]:
    furnish(tmp_path)
    async with FakeDriver(tmp_path, DRIVER, pool="lab") as driver:
        yield driver


def place(client: Client, root: Path) -> Lab:
    """To make pods and look at them: its kubelet and its drivers are those of the test."""
    return Lab(client, None, None, root, None)  # type: ignore[arg-type]


async def test_a_lease_that_ends_turns_the_field_unknown_then_and_says_what_was_last_known(
    client: Client, driver: FakeDriver, tmp_path: Path
) -> None:
    """Upstream took 73.5 s for a lease of 3 s (kubernetes#140819)."""
    clock, lab = ManualClock(), place(client, tmp_path)
    driver.report(reports(Health.HEALTHY, lease=3.0))
    await gpu_pod(lab, "sleep 1000")  # with its claim there already: the kubelet's time stands still
    async with ledger(tmp_path, tmp_path / "c.sqlite", clock) as watch, node(client, watch, tmp_path, clock=clock):
        await lab.sees(lambda pod: running(pod) and health(pod) == [(str(KEY), "Healthy", None)])
        unknown = asyncio.create_task(lab.sees(lambda pod: health(pod)[0][1] == "Unknown"))
        await clock.advance(2.99)
        assert watch.state(KEY).health is Health.HEALTHY
        await clock.advance(0.01)
        assert health(await unknown) == [
            (str(KEY), "Unknown", "nothing heard from driver gpu.example.com for 3s (driver silent); last known: Healthy")
        ]
        healthy = asyncio.create_task(lab.sees(lambda pod: health(pod)[0][1] == "Healthy"))
        # Upstream does not announce a state that expired and came back unchanged.
        driver.report(reports(Health.HEALTHY, lease=3.0))
        await healthy


async def test_a_kubelet_killed_and_started_again_knows_health_and_faults_without_its_driver(
    client: Client, driver: FakeDriver, tmp_path: Path
) -> None:
    lab = place(client, tmp_path)
    async with ledger(tmp_path, tmp_path / "before.sqlite", SYSTEM) as watch, node(client, watch, tmp_path):
        for word, message in ((Health.UNHEALTHY, "Xid 31"), (Health.HEALTHY, ""), (Health.UNHEALTHY, "Xid 79")):
            driver.report(reports(word, message, lease=300.0))
            async with asyncio.timeout(5):
                while (watch.state(KEY).health, watch.state(KEY).message) != (word, message):
                    await asyncio.sleep(0)
        await gpu_pod(lab, "sleep 1000")
        await lab.sees(lambda pod: running(pod) and health(pod) == [(str(KEY), "Unhealthy", "Xid 79")])
        before = watch.state(KEY).faults
        async with asyncio.timeout(5):
            while not await asyncio.to_thread(_killed_now, tmp_path / "before.sqlite", tmp_path / "after.sqlite"):
                await asyncio.sleep(0.01)
        await driver.crash()
    async with ledger(tmp_path, tmp_path / "after.sqlite", SYSTEM) as watch, node(client, watch, tmp_path):
        state = watch.state(KEY)
        assert (state.health, state.message) == (Health.UNHEALTHY, "Xid 79")
        assert [(fault.health, fault.message) for fault in state.faults] == [(fault.health, fault.message) for fault in before]
        assert [fault.message for fault in state.faults if fault.health is Health.UNHEALTHY] == ["Xid 31", "Xid 79"]
        pod = await lab.sees(lambda pod: health(pod) and main(pod).state.waiting is not None)
        assert health(pod) == [(str(KEY), "Unhealthy", "Xid 79")]


def _killed_now(checkpoint: Path, found: Path) -> bool:
    """What kill -9 would leave on the disk at this moment; whether the last verdict is in it."""
    for tail in ("", "-wal"):
        if checkpoint.with_name(checkpoint.name + tail).exists():
            shutil.copy(checkpoint.with_name(checkpoint.name + tail), found.with_name(found.name + tail))
    return b"Xid 79" in found.read_bytes()
