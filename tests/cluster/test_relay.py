"""A driver behind the relay, under a real kubelet: what its pods' own field says, and when (CONTRACT §5)."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from podvitals.device.health import Health
from podvitals.wire.messages import ALL_VERSIONS, DRA_V1, HEALTH_V1, DeviceReport
from tests.cluster.api import Object
from tests.cluster.cluster import NODE
from tests.cluster.scripted import ScriptedDriver
from tests.cluster.subjects import Process, World, field_of, healths
from tests.detect import veth

TAKEN = "the kubelet has registered it"
"""What a relay says then. A slice that is published before gets its pod placed too early: its prepare fails, with and without a relay."""


class Relayed:
    """A relay of this test's own, and drivers that register with it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.place = world.cluster.root / f"r-{world.namespace}"
        (self.place / "plugins_registry").mkdir(parents=True)

    def start(self) -> Process:
        flags = ["--plugin-dir", str(self.place / "plugins_registry"), "--kubelet-dir", str(self.world.cluster.plugin_dir)]
        return self.world.processes.python("relay", "-m", "podvitals", "relay", *flags, "--run-dir", str(self.run_dir))

    def upstream(self, *devices: str, health: str = "none", **flags: str) -> Process:
        """A driver by the upstream helper of this release (kubernetes/driver.go), registered with the relay; its health is in files."""
        world, place = self.world, self.place
        given = {
            "name": world.driver,
            "node": NODE,
            "registry": str(place / "plugins_registry"),
            "data": str(place / "go"),
            "cdi-dir": str(world.cluster.cdi_dir),
            "devices": ",".join(devices),
            "health": health,
            "state": str(world.devices),
            **{name.replace("_", "-"): value for name, value in flags.items()},
        }
        arguments = [f"--{name}={value}" for name, value in given.items()]
        return world.processes.start("driver", [str(world.cluster.root / "bin" / "driver"), *arguments])

    async def bypass(self, *arguments: str) -> None:
        flags = ["--plugin-dir", str(self.place / "plugins_registry"), "--kubelet-dir", str(self.world.cluster.plugin_dir)]
        command = [sys.executable, "-m", "podvitals", "relay", "bypass", self.world.driver, *flags, "--run-dir", str(self.run_dir)]
        await asyncio.to_thread(subprocess.run, [*command, *arguments], check=True, capture_output=True, timeout=20)

    def speak_for(self, *detectors: str) -> Process:
        """`podvitals driver --health-for`, registered with the relay."""
        rights = self.world.cluster.kubeconfig_for_service_account("kube-system", "podvitals-driver")
        where = ["--node-name", NODE, "--kubeconfig", str(rights), "--plugin-dir", str(self.place / "plugins_registry")]
        given = [flag for detector in detectors for flag in ("--detector", detector)]
        return self.world.processes.python("source", "-m", "podvitals", "driver", "--health-for", self.world.driver, *given, *where)

    @property
    def run_dir(self) -> Path:
        return self.place / "run"

    async def holds_a_call(self) -> None:
        """Returns once a call waits in the relay for its driver. There is no event for that: looks again, not for ever."""
        async with asyncio.timeout(10):
            while not any(driver["calls"]["held"] for driver in (await self.state())["drivers"]):
                await asyncio.sleep(0.05)

    async def state(self) -> Object:
        async with asyncio.timeout(5):
            while not (self.run_dir / "relay.sock").exists():
                await asyncio.sleep(0.05)
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


@pytest.fixture
def interface() -> Iterator[str]:
    with veth.pair("pvr") as (name, _):
        yield name


async def test_a_driver_without_health_gets_it_from_detectors(relayed: Relayed, interface: str) -> None:
    """The kubelet alone shows Unknown for ever."""
    relay = relayed.start()
    relayed.upstream(interface, attribute="ifName")
    relayed.speak_for(f"net:{interface},interval=1")
    await relay.says(TAKEN)
    await relayed.world.slice_of_driver()
    await relayed.world.run_pod()
    await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
    veth.down(interface)
    pod = await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
    assert f"interface {interface} is down" in next(iter(field_of(pod).values()))[1]
    veth.up(interface)
    await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
    await relayed.world.end_pods()


async def test_a_rolling_update_of_a_driver_loses_nothing(relayed: Relayed) -> None:
    """The kubelet alone: the streams of two endpoints overwrite and clear each other."""
    relay = relayed.start()
    relayed.world.device("d0", "Unhealthy: broken")
    old = relayed.upstream("d0", health="every", rolling_update="old-1")
    await relay.says(TAKEN)
    await relayed.world.slice_of_driver()
    await relayed.world.run_pod()
    await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
    async with relayed.world.api.watching(relayed.world.pods) as events:
        new = relayed.upstream("d0", health="every", rolling_update="new-2")
        await new.says("serving")
        old.end()
        relayed.world.device("d0", "Unhealthy: still broken")
        seen = []
        async with asyncio.timeout(15):
            async for _, pod, _ in events:
                seen.append(healths(pod))
                if [*field_of(pod).values()] == [("Unhealthy", "still broken")]:
                    break
    assert all(one == ["Unhealthy"] for one in seen), seen
    await relayed.world.end_pods()


async def test_a_driver_that_floods_harms_neither_its_pods_nor_another_driver(relayed: Relayed) -> None:
    relay = relayed.start()
    relayed.world.device("d0", "Healthy")
    relayed.upstream("d0", health="flood")
    await relay.says(TAKEN)
    await relayed.world.slice_of_driver()
    await relayed.world.run_pod()
    for health in ("Unhealthy", "Healthy", "Unhealthy"):
        relayed.world.device("d0", health)
        await relayed.world.pod("trainer", partial(lambda health, pod: healths(pod) == [health], health))
    await relayed.world.end_pods()


async def test_a_restarted_kubelet_takes_the_stand_in_and_the_field_is_right_again(relayed: Relayed) -> None:
    relayed.start()
    async with relayed.driver("d0") as driver:
        driver.say("d0", Health.UNHEALTHY, "broken", lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        await asyncio.to_thread(relayed.world.cluster.restart_kubelet)
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"], within=20)


async def test_a_bypassed_driver_goes_on_under_the_kubelet_itself(relayed: Relayed) -> None:
    relay = relayed.start()
    async with relayed.driver("d0") as driver:
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
        relay.signal(SIGSTOP)  # the relay is the trouble
        driver.registered.clear()
        await relayed.bypass()
        async with asyncio.timeout(10):
            await driver.registered.wait()
        driver.say("d0", Health.UNHEALTHY, "seen without the relay", lease=300)
        await relayed.world.pod("trainer", lambda pod: [*field_of(pod).values()] == [("Unhealthy", "seen without the relay")])
        relay.signal(SIGCONT)
        await relayed.bypass("--end")


async def test_a_relay_that_is_replaced_by_another_is_not_missed(relayed: Relayed) -> None:
    """As a DaemonSet with maxSurge does it: the new one stands in, then the old one goes."""
    old = relayed.start()
    async with relayed.driver("d0", "d1") as driver:
        driver.say_all([DeviceReport(driver.pool, name, Health.UNHEALTHY, time.time(), 300.0) for name in ("d0", "d1")])
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        new = relayed.start()
        await new.says(TAKEN)
        old.end()
        await relayed.world.run_pod("second")
        await relayed.world.pod("second", lambda pod: healths(pod) == ["Unhealthy"])
        async with asyncio.timeout(10):
            while not (await relayed.state())["drivers"][0]["calls"]["passed"]:
                await asyncio.sleep(0.1)
