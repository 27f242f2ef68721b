"""What of registration and of the service versions a real kubelet accepts (CONTRACT §1, §3)."""

import asyncio

import pytest
from tests.cluster.scripted import ScriptedDriver
from tests.cluster.subjects import World, field_of, healths

from podvitals.device.health import Health
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1


@pytest.mark.parametrize("dra", [DRA_V1, DRA_V1BETA1])
@pytest.mark.parametrize("health", [HEALTH_V1, HEALTH_V1ALPHA1])
async def test_a_driver_that_serves_one_version_of_each_is_heard(world: World, dra: str, health: str) -> None:
    async with ScriptedDriver(world.driver, world.cluster.plugin_dir, world.allocation, versions=(dra, health)) as driver:
        async with asyncio.timeout(10):
            await driver.registered.wait()
        await world.publish("d0")
        driver.say("d0", Health.HEALTHY)
        await world.run_pod()
        await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
        driver.say("d0", Health.UNHEALTHY, "it smokes", action="power-cycle")
        pod = await world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        assert list(field_of(pod).values()) == [("Unhealthy", "it smokes")]


async def test_a_driver_without_health_is_left_alone(world: World) -> None:
    """UNIMPLEMENTED is answered so that a grpc-go client understands it: it says so once and does not come back, and calls on the same
    connection work."""
    log, versions = world.cluster.log("kubelet"), (DRA_V1, HEALTH_V1)
    before = log.stat().st_size
    async with ScriptedDriver(world.driver, world.cluster.plugin_dir, world.allocation, versions=versions, health=False) as driver:
        async with asyncio.timeout(10):
            await driver.registered.wait()
        await world.publish("d0")
        await world.run_pod()
        assert [claim.namespace for claim in driver.prepared] == [world.namespace]
        said = log.read_text()[before:]
        assert said.count("code = Unimplemented desc = method /v1.DRAResourceHealth/NodeWatchResources is not served here") == 1
        assert "Driver does not support WatchResources health stream" in said
