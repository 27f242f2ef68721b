"""Upstream's behaviour is kept: the same pods and the same driver, with and without the relay between it and the kubelet, come to the same.

Each driver, in Go by upstream's helper and by the SDK, is played in both ways by the same test."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM, Signals

import pytest

from tests.cluster.api import Api, Object
from tests.cluster.cluster import Cluster
from tests.cluster.relayed import Relayed
from tests.cluster.scripted import ScriptedDriver
from tests.cluster.subjects import Process, Processes, World

STAYS = ("sh", "-c", "env; sleep infinity")
UPSTREAM, SDK = "upstream's", "the SDK's"
ALONE, BEHIND = "kubelet alone", "behind the relay"


@dataclass
class Side:
    """A driver and the way it reaches the kubelet."""

    world: World
    driver: str = UPSTREAM

    def start(self, uid: str = "") -> Process:
        """`uid`: of its pod, in a rolling update."""
        if self.driver == SDK:
            return self.world.run_driver(*(["--rolling-update", "--pod-uid", uid] if uid else []))
        return self.world.run_upstream("d0", "d1", "d2", cdi="own", **({"rolling_update": uid} if uid else {}))

    async def serving(self, uid: str = "") -> Process:
        """Registered with the kubelet, its devices published."""
        driver = self.start(uid)
        await driver.says("registered")
        await self.world.slice_of_driver()
        return driver

    async def run(self, name: str) -> str:
        """A pod that runs with a device of the driver; its container's id."""
        pod = await self.world.run_pod(name, command=STAYS)
        assert await self._device_in(pod), "the container was not given what the driver's CDI file says"
        return container(pod)

    async def still_runs(self, name: str, since: str) -> bool:
        pod = await self.world.api.get(f"{self.world.pods}/{name}")
        return bool(pod["status"]["phase"] == "Running" and container(pod) == since)

    async def end(self, name: str) -> None:
        """Returns once the pod is gone: its claim was unprepared before."""
        async with self.world.api.watching(self.world.pods) as events, asyncio.timeout(30):
            await self.world.api.delete(f"{self.world.pods}/{name}", grace=1)
            async for kind, pod, _ in events:
                if kind == "DELETED" and pod["metadata"]["name"] == name:
                    return

    async def _device_in(self, pod: Object) -> bool:
        wanted = "PODVITALS_DEVICE_" if self.driver == SDK else "DEVICE_"
        async with asyncio.timeout(5):
            while wanted not in await asyncio.to_thread(self.world.output, pod):
                await asyncio.sleep(0.05)
        return True


def container(pod: Object) -> str:
    (status,) = pod["status"]["containerStatuses"]
    return f"{status['containerID']} restarted {status['restartCount']} times"


@pytest.fixture(params=[ALONE, BEHIND])
async def way(world: World, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == BEHIND:
        Relayed(world).start()
    for number in range(3):
        world.device(f"d{number}")
    yield world
    await world.end_pods()


@pytest.fixture(params=[UPSTREAM, SDK])
def side(way: World, request: pytest.FixtureRequest) -> Side:
    return Side(way, request.param)


async def test_a_claim_is_prepared_once_and_unprepared_once(side: Side) -> None:
    driver = await side.serving()
    await side.run("one")
    await side.run("two")
    assert (driver.said("prepared"), driver.said("unprepared")) == (2, 0)
    await side.end("one")
    assert (driver.said("prepared"), driver.said("unprepared")) == (2, 1)


@pytest.mark.parametrize("number", [SIGTERM, SIGKILL], ids=["stopped", "killed"])
async def test_a_driver_that_restarts_finds_its_pods_running_and_ends_them(side: Side, number: Signals) -> None:
    driver = await side.serving()
    before = await side.run("one")
    driver.end(number)
    driver.start()
    await driver.says("registered", times=2)
    await side.world.slice_of_driver()
    await side.run("two")
    assert await side.still_runs("one", before)
    await side.end("one")
    await side.end("two")
    assert (driver.said("prepared"), driver.said("unprepared")) == (2, 2)


async def test_a_rolling_update_hands_pods_on_from_the_old_driver_to_the_new(side: Side) -> None:
    old = await side.serving("1111-old")
    before = await side.run("one")
    new = await side.serving("2222-new")
    await side.run("two")
    old.end()
    await side.run("three")
    assert await side.still_runs("one", before)
    for name in ("one", "two", "three"):
        await side.end(name)
    assert [(each.said("prepared"), each.said("unprepared")) for each in (old, new)] == [(1, 0), (2, 3)]


async def test_a_kubelet_that_restarts_leaves_pods_running_and_the_driver_at_work(side: Side) -> None:
    driver = await side.serving()
    before = await side.run("one")
    first = await side.world.slice_of_driver()
    await asyncio.to_thread(side.world.cluster.restart_kubelet)
    await side.world.slice_of_driver(lambda published: published["metadata"]["uid"] != first["metadata"]["uid"], within=60)
    await side.run("two")
    assert await side.still_runs("one", before)
    await side.end("one")
    await side.end("two")
    assert driver.said("unprepared") == 2


async def test_a_driver_that_the_kubelet_refuses_is_told_why(way: World) -> None:
    where = way.drivers_dir or way.cluster.kubelet_dir
    async with ScriptedDriver(way.driver, where, way.allocation, versions=("v9.DRAPlugin",)) as driver:
        await driver.called("NotifyRegistrationStatus", timeout=15)
        ((taken, refused),) = driver.notified
    assert not taken
    assert f"invalid supported gRPC versions of DRA driver plugin {way.driver}" in refused
    assert "v9.DRAPlugin" in refused


async def test_what_failed_in_the_driver_is_told_and_tried_again(cluster: Cluster, api: Api, processes: Processes) -> None:
    """Prepare and unprepare. The kubelet takes a minute and more to try again, so both ways are played at once."""

    async def played(world: World) -> None:
        side = Side(world)
        driver = await side.serving()
        world.device("refuse-prepare", "out of order")
        await world.create_pod("trainer", command=STAYS)
        await told(world, "FailedPrepareDynamicResources", "out of order")
        assert driver.said("did not prepare")
        world.devices.joinpath("refuse-prepare").unlink()
        await world.pod("trainer", lambda pod: pod["status"]["phase"] == "Running", within=120)
        world.device("refuse-unprepare", "out of order")
        await world.api.delete(f"{world.pods}/trainer", grace=1)
        await driver.says("did not unprepare", within=30)
        world.devices.joinpath("refuse-unprepare").unlink()
        await driver.says("unprepared", within=120)
        await side.end("trainer")
        assert (driver.said("prepared"), driver.said("unprepared")) == (1, 1)

    async with World.open(cluster, api, processes) as alone, World.open(cluster, api, processes) as behind:
        Relayed(behind).start()
        async with asyncio.TaskGroup() as tasks:
            for world in (alone, behind):
                tasks.create_task(played(world))


async def told(world: World, reason: str, text: str) -> None:
    events = f"/api/v1/namespaces/{world.namespace}/events"
    await world.api.until(events, lambda event: event["reason"] == reason and text in event["message"], fields="type=Warning", within=15)
