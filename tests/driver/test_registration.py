"""Sockets and registration: names, takeovers, starts and ends."""

import os
import socket
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.driver.plugin import Driver
from podvitals.driver.settings import Settings, sockets
from podvitals.errors import InvalidInput, LocalError, SocketTaken
from podvitals.testing import FakeKubelet
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1, PLUGIN_TYPE
from tests.driver.make import DRIVER, Toys


def sockets_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_socket()]


async def test_both_versions_of_both_services_are_listed_and_the_endpoint_is_the_kubelets_sibling(tmp_path: Path) -> None:
    async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1")).serving(kubelet) as serving:
        info = await kubelet.registered(DRIVER)
        assert (info.type, info.name, info.endpoint) == (PLUGIN_TYPE, DRIVER, f"{tmp_path}/plugins/{DRIVER}/dra.sock")
        assert info.supported_versions == (DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1)
        await serving.registration.registered.wait()


async def test_an_end_leaves_no_socket_behind_and_a_start_finds_its_place(tmp_path: Path) -> None:
    async with FakeKubelet(tmp_path) as kubelet:
        for _ in range(2):
            async with Driver(DRIVER, Toys("t1")).serving(kubelet):
                await kubelet.sees("t1", Health.HEALTHY)
            await kubelet.gone(DRIVER)
            assert sockets_in(tmp_path) == []


@pytest.fixture
def left_behind(tmp_path: Path) -> None:
    """The sockets of a driver that was killed."""
    where = sockets(DRIVER, Settings("node-1", tmp_path / "plugins_registry"))
    for path in (where.registration, where.endpoint):
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(os.fspath(path))


@pytest.mark.usefixtures("left_behind")
async def test_a_dead_drivers_sockets_are_taken_over(tmp_path: Path) -> None:
    async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1")).serving(kubelet):
        await kubelet.sees("t1", Health.HEALTHY)


async def test_a_live_drivers_sockets_are_refused_and_it_lives_on(tmp_path: Path) -> None:
    async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1")).serving(kubelet):
        with pytest.raises(SocketTaken, match=r"another process listens on .*/dra\.sock"):
            async with Driver(DRIVER, Toys("t2")).serving(kubelet):
                pass
        await kubelet.sees("t1", Health.HEALTHY)
        async with PluginClient(tmp_path / "plugins_registry" / f"{DRIVER}-reg.sock") as client:
            assert (await client.get_info()).name == DRIVER


async def test_two_versions_run_side_by_side_in_a_rolling_update(tmp_path: Path) -> None:
    async with FakeKubelet(tmp_path) as kubelet, Driver(DRIVER, Toys("t1")).serving(kubelet, pod_uid="old"):
        await kubelet.sees("t1", Health.HEALTHY)
        async with Driver(DRIVER, Toys("t1")).serving(kubelet, pod_uid="new") as new:
            await new.registration.registered.wait()
            names = sorted(registration.path.name for registration in kubelet.registrations)
            assert names == [f"{DRIVER}-new-reg.sock", f"{DRIVER}-old-reg.sock"]
        await kubelet.sees("t1", Health.HEALTHY)


def test_a_path_too_long_for_a_socket_is_hashed_and_differs_by_pod() -> None:
    registry = Path("/" + "r" * 40) / "plugins_registry"
    name, uid = "a" * 59 + ".com", "3d6e1d0a-0000-4000-8000-000000000001"
    one, other = sockets(name, Settings("n", registry, pod_uid=uid)), sockets(name, Settings("n", registry, pod_uid="x" + uid))
    paths = {one.registration, one.endpoint, other.registration, other.endpoint}
    assert len(paths) == 4
    assert all(len(os.fsencode(path)) <= 107 for path in paths)
    assert one.registration.parent == registry
    assert one.registration.name.endswith("-reg.sock")
    with pytest.raises(InvalidInput, match="choose a shorter directory"):
        sockets(name, Settings("n", Path("/" + "r" * 90)))


async def test_a_missing_plugin_directory_says_what_it_ought_to_be(tmp_path: Path) -> None:
    class NoKubelet:
        directory = tmp_path / "none"

    with pytest.raises(LocalError, match=r"plugin directory .*/plugins_registry does not exist: on a node it is the kubelet's"):
        async with Driver(DRIVER, Toys("t1")).serving(NoKubelet()):
            pass


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "plugins_registry").mkdir()
    (tmp_path / "cdi").touch()

    class Odd:
        directory = tmp_path

    with pytest.raises(LocalError, match=r"cannot make directory .*/cdi: .*give another --cdi-dir"):
        async with Driver(DRIVER, Toys("t1")).serving(Odd()):
            pass


@pytest.mark.parametrize("name", ["Toy", "1toy.example.com", "toy_", "a" * 64, ""])
async def test_a_driver_name_kubernetes_or_cdi_would_refuse_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="driver name"):
        async with FakeKubelet(tmp_path) as kubelet, Driver(name, Toys("t1")).serving(kubelet):
            pass


def test_a_node_name_that_cannot_be_a_pool_is_refused() -> None:
    with pytest.raises(InvalidInput, match="node name 'Node_1' is no name of a node: --node-name"):
        Settings("Node_1")


async def test_what_a_test_raises_while_a_driver_serves_comes_out_as_it_is(tmp_path: Path) -> None:
    async with FakeKubelet(tmp_path) as kubelet:
        with pytest.raises(ZeroDivisionError):
            async with Driver(DRIVER, Toys("t1")).serving(kubelet):
                raise ZeroDivisionError
        await kubelet.gone(DRIVER)
