"""How a NodeWatch starts: what it does while the checkpoint is read, and that nobody is believed before it was."""

import asyncio
from pathlib import Path

import pytest

from podvitals.clock import SYSTEM
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.checkpoint import Checkpoint
from podvitals.node.rows import Rows
from podvitals.node.watch import NodeSettings, NodeWatch
from podvitals.testing import FakeDriver
from podvitals.wire.client import PluginClient
from tests.node.seen import watching

GPU0 = DeviceKey("gpu.example.com", "node1", "gpu-0")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Reading the checkpoint lasts until this is set."""
    gate, load = asyncio.Event(), Checkpoint.load

    async def slow(checkpoint: Checkpoint, now: float, wall: float) -> Rows:
        await gate.wait()
        return await load(checkpoint, now, wall)

    monkeypatch.setattr(Checkpoint, "load", slow)
    return gate


async def test_a_driver_is_asked_who_it_is_while_what_is_remembered_is_read_and_heard_after_that(place: Path, gate: asyncio.Event) -> None:
    watch = NodeWatch(NodeSettings(plugin_dir=place / "plugins_registry", checkpoint=place / "state.db"), SYSTEM)
    async with FakeDriver(place) as driver:
        driver.report({"gpu-0": Health.HEALTHY})
        running = asyncio.create_task(watch.run(), name="node watch")
        await driver.called("GetInfo")
        async with PluginClient(driver.registration_path) as another:
            await another.get_info()  # whoever asked before has his answer
        assert not driver.calls["NodeWatchResources"]
        assert watch.drivers() == ()
        gate.set()
        async with asyncio.timeout(5):
            await watch.ready.wait()
        assert watch.state(GPU0).health is Health.HEALTHY
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_who_ends_while_what_is_remembered_is_read_leaves_it_as_it_was(place: Path, gate: asyncio.Event) -> None:
    gate.set()
    async with FakeDriver(place) as driver:
        driver.report({"gpu-0": Health.UNHEALTHY})
        async with watching(place, checkpoint=place / "state.db") as seen:
            await seen.device("gpu-0", Health.UNHEALTHY)
        gate.clear()
        watch = NodeWatch(NodeSettings(plugin_dir=place / "plugins_registry", checkpoint=place / "state.db"), SYSTEM)
        running = asyncio.create_task(watch.run(), name="node watch")
        await driver.called("GetInfo", 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    gate.set()
    async with watching(place, checkpoint=place / "state.db") as seen:
        assert seen.watch.state(GPU0).health is Health.UNHEALTHY
