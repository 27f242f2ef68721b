"""Publishing slices to a server over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from podvitals.claim.resource import ResourceSlice
from podvitals.detect.detector import Device
from podvitals.device.health import Health
from podvitals.driver.plugin import Driver
from podvitals.driver.serve import Serving
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import NODES, SLICES
from podvitals.lab.api.server import ApiServer, ApiSettings
from podvitals.testing import FakeKubelet
from tests.driver.make import DRIVER, NODE, Toys


@pytest_asyncio.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def client(api: ApiServer) -> AsyncIterator[Client]:
    async with Client(ClusterConfig(api.url)) as client:
        await client.create(NODES, {"metadata": {"name": NODE}})
        yield client


@asynccontextmanager
async def published(client: Client, directory: Path, toys: Toys) -> AsyncIterator[Serving]:
    async with FakeKubelet(directory) as kubelet, Driver(DRIVER, toys).serving(kubelet, client=client) as serving:
        assert serving.publish is not None
        async with asyncio.timeout(5):
            await serving.publish.published.wait()
        yield serving


async def slices(client: Client, so: Callable[[list[ResourceSlice]], bool]) -> list[ResourceSlice]:
    """The slices, as soon as they are `so`; seen by a watch."""
    found: dict[str, ResourceSlice] = {}
    async with asyncio.timeout(5):
        while True:
            listing = await client.list(SLICES)
            found = {one.metadata.name: one for one in listing.items}
            if so(list(found.values())):
                return list(found.values())
            async for _ in client.watch(SLICES, resource_version=listing.resource_version):
                break


async def test_slices_say_what_the_inventory_does_and_are_owned_by_the_node(client: Client, tmp_path: Path) -> None:
    async with published(client, tmp_path, Toys("t1", "t2")):
        (one,) = await slices(client, bool)
        assert [device.name for device in one.spec.devices] == ["t1", "t2"]
        assert (one.spec.driver, one.spec.node_name, one.spec.pool.name) == (DRIVER, NODE, NODE)
        assert one.metadata.owner_references[0].uid == (await client.get(NODES, NODE)).metadata.uid


async def test_slices_are_put_back_when_somebody_deletes_them(client: Client, tmp_path: Path) -> None:
    async with published(client, tmp_path, Toys("t1")):
        (before,) = await slices(client, bool)
        await client.delete(SLICES, before.metadata.name)
        (after,) = await slices(client, lambda all_: bool(all_) and all_[0].metadata.uid != before.metadata.uid)
        assert after.spec == before.spec


async def test_a_device_that_comes_is_added_and_one_that_goes_missing_stays(client: Client, tmp_path: Path) -> None:
    toys = Toys("t1", "t2")
    async with published(client, tmp_path, toys):
        toys.inventory = [Device("t1", {"model": "T1"}), Device("t3", {"model": "T3"})]
        (one,) = await slices(client, lambda all_: len(all_) == 1 and len(all_[0].spec.devices) == 3)
        assert ([device.name for device in one.spec.devices], one.spec.pool.generation) == (["t1", "t2", "t3"], 2)


async def test_slices_stay_when_the_driver_ends(client: Client, tmp_path: Path) -> None:
    async with published(client, tmp_path, Toys("t1")):
        pass
    assert len((await client.list(SLICES)).items) == 1


async def test_a_foreign_change_is_undone(client: Client, tmp_path: Path) -> None:
    async with published(client, tmp_path, Toys("t1")):
        (one,) = await slices(client, bool)
        await client.patch(SLICES, one.metadata.name, {"spec": {"devices": [{"name": "evil"}]}}, kind="merge")
        (back,) = await slices(client, lambda all_: all_[0].spec.devices == one.spec.devices and all_[0].spec.pool.generation > 1)
        assert back.spec.pool.generation == 2


async def test_without_an_api_health_is_served_and_slices_follow_when_it_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = ApiServer()
    await server.start()
    url = server.url
    port, prefix = int(url.split(":")[2].split("/")[0]), url.rpartition("/")[2]
    await server.stop()
    async with Client(ClusterConfig(url)) as client, FakeKubelet(tmp_path) as kubelet:
        async with Driver(DRIVER, Toys("t1")).serving(kubelet, client=client) as serving:
            await kubelet.sees("t1", Health.HEALTHY)
            assert serving.publish is not None
            assert not serving.publish.published.is_set()
            server = ApiServer(ApiSettings(port=port, prefix=prefix))
            await server.start()
            try:
                async with asyncio.timeout(10):
                    while "ResourceSlices are not published yet" not in caplog.text:
                        await asyncio.sleep(0.01)
                    await client.create(NODES, {"metadata": {"name": NODE}})
                    await serving.publish.published.wait()
                assert len((await client.list(SLICES)).items) == 1
                assert caplog.text.count("not published yet") == 1
            finally:
                await server.stop()
