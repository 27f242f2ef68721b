"""A driver behind the relay, under a real kubelet: what its pods' own field says, and when (CONTRACT §5)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.wire.messages import ALL_VERSIONS, DRA_V1, HEALTH_V1
from tests.cluster.api import Object
from tests.cluster.scripted import ScriptedDriver
from tests.cluster.subjects import Process, World, field_of, healths


class Relayed:
    """A relay of this test's own, and drivers that register with it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.place = world.cluster.root / f"r-{world.namespace}"
        (self.place / "plugins_registry").mkdir(parents=True)

    def start(self) -> Process:
        flags = ["--plugin-dir", str(self.place / "plugins_registry"), "--kubelet-dir", str(self.world.cluster.plugin_dir)]
        return self.world.processes.python("relay", "-m", "podvitals", "relay", *flags, "--run-dir", str(self.run_dir))

    @property
    def run_dir(self) -> Path:
        return self.place / "run"

    async def holds_a_call(self) -> None:
        """Returns once a call waits in the relay for its driver. There is no event for that: looks again, not for ever."""
        async with asyncio.timeout(10):
            while not any(driver["calls"]["held"] for driver in (await self.state())["drivers"]):
                await asyncio.sleep(0.05)

    async def state(self) -> Object:
        reader, writer = await asyncio.open_unix_connection(self.run_dir / "relay.sock")
        writer.write(b"GET /state HTTP/1.1\r\n\r\n")
        answer: Object = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
        writer.close()
        return answer

    @asynccontextmanager
    async def driver(
        self, *devices: str, versions: Sequence[str] = ALL_VERSIONS, unimplemented: bool = False
    ) -> AsyncIterator[ScriptedDriver]:
        """Registered with the kubelet through the relay, its devices published. Its pods end before it does."""
        driver = ScriptedDriver(self.world.driver, self.place, self.world.allocation, versions=versions, unimplemented=unimplemented)
        async with driver:
            async with asyncio.timeout(10):
                await driver.registered.wait()
            await self.world.publish(*devices)
            try:
                yield driver
            finally:
                await self.world.end_pods()


@pytest.fixture
async def relayed(world: World) -> AsyncIterator[Relayed]:
    yield Relayed(world)
    await world.end_pods()


async def test_a_fault_reaches_the_field_and_leaves_it_again(relayed: Relayed) -> None:
    relayed.start()
    async with relayed.driver("d0") as driver:
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
        driver.say("d0", Health.UNHEALTHY, "fell off the bus", lease=300)
        await relayed.world.pod("trainer", lambda pod: [*field_of(pod).values()] == [("Unhealthy", "fell off the bus")])
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


async def test_a_hung_drivers_lease_ends_in_the_field_in_time_and_what_returns_unchanged_is_shown_again(relayed: Relayed) -> None:
    """The kubelet alone: 73.5 s, and 86 s of fresh Healthy reports while the pod still says Unknown."""
    relayed.start()
    async with relayed.driver("d0") as driver:
        await relayed.world.run_pod()
        driver.say("d0", Health.HEALTHY, lease=3)
        said = time.monotonic()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
        pod = await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unknown"])
        assert time.monotonic() - said > 2.5
        assert "last known: Healthy" in next(iter(field_of(pod).values()))[1]
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


async def test_a_drivers_crash_within_its_lease_is_not_seen_and_its_health_not_forgotten(relayed: Relayed) -> None:
    relayed.start()
    async with relayed.driver("d0") as driver:
        driver.say("d0", Health.UNHEALTHY, "broken", lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        seen: list[list[str]] = []
        async with relayed.world.api.watching(relayed.world.pods) as events:
            await driver.crash()
            await driver.start()
            await driver.watched()
            driver.say("d0", Health.UNHEALTHY, "still broken", lease=300)
            async with asyncio.timeout(10):
                async for _, pod, _ in events:
                    seen.append(healths(pod))
                    if [*field_of(pod).values()] == [("Unhealthy", "still broken")]:
                        break
        assert all(one == ["Unhealthy"] for one in seen), seen


async def test_a_pod_that_starts_while_its_driver_is_away_waits_and_then_runs(relayed: Relayed) -> None:
    """The kubelet alone fails the prepare, and tries it again 60 to 90 s later."""
    relayed.start()
    async with relayed.driver("d0") as driver:
        await driver.crash()
        await relayed.world.create_pod("trainer")
        await relayed.world.pod("trainer", lambda pod: pod["spec"].get("nodeName"))
        await relayed.holds_a_call()
        await driver.start()
        await relayed.world.pod("trainer", lambda pod: pod["status"].get("phase") == "Running", within=15)


async def test_a_killed_relay_comes_back_and_the_field_is_right_again(relayed: Relayed) -> None:
    relay = relayed.start()
    async with relayed.driver("d0") as driver:
        driver.say("d0", Health.UNHEALTHY, "broken", lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        relay.kill()
        relayed.start()
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"], within=15)


async def test_other_versions_of_a_driver_take_over_without_a_gap(relayed: Relayed) -> None:
    relayed.start()
    async with relayed.driver("d0", versions=(DRA_V1,)) as driver:
        await driver.stop()
        driver.versions = (DRA_V1, HEALTH_V1)
        driver.registered.clear()
        await driver.start()
        async with asyncio.timeout(10):
            await driver.registered.wait()
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
