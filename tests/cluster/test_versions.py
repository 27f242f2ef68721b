"""What of registration and of the service versions a real kubelet accepts (CONTRACT §1, §3)."""

import pytest

from podvitals.device.health import Health
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1
from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import World, field_of, healths


@needs(Shown.MESSAGE)
@pytest.mark.parametrize("dra", [DRA_V1, DRA_V1BETA1])
@pytest.mark.parametrize("health", [pytest.param(HEALTH_V1, marks=needs(Shown.HEALTH_V1)), HEALTH_V1ALPHA1])
async def test_a_driver_that_serves_one_version_of_each_is_heard(world: World, dra: str, health: str) -> None:
    async with world.scripted("d0", versions=(dra, health)) as driver:
        driver.say("d0", Health.HEALTHY)
        await world.run_pod()
        await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
        driver.say("d0", Health.UNHEALTHY, "it smokes", action="power-cycle")
        pod = await world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        assert list(field_of(pod).values()) == [("Unhealthy", "it smokes")]


@needs(Shown.HEALTH_LEFT_ALONE)
async def test_a_driver_without_health_is_left_alone(world: World) -> None:
    """UNIMPLEMENTED is answered so that a grpc-go client understands it: it says so once and does not come back, and calls on the same
    connection work."""
    log = world.cluster.log("kubelet")
    before = log.stat().st_size
    async with world.scripted("d0", versions=(DRA_V1, HEALTH_V1), unimplemented=True) as driver:
        await world.run_pod()
        assert [claim.namespace for claim in driver.prepared.values()] == [world.namespace]
        said = log.read_bytes()[before:].decode(errors="replace")  # other tests make a kubelet log all kinds of text
        assert said.count("code = Unimplemented desc = method /v1.DRAResourceHealth/NodeWatchResources is not served here") == 1
        assert "Driver does not support WatchResources health stream" in said
