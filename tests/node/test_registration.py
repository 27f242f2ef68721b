"""What is in the plugin directory, and who may register: sockets, rubbish, the dead, the late and the invalid, on real sockets."""

import asyncio
import os
import socket
import threading
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.node.discovery import scan
from podvitals.node.limits import Limits
from podvitals.testing import FakeDriver
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import ALL_VERSIONS, DRA_V1BETA1, HEALTH_SOURCE_TYPE, HEALTH_V1ALPHA1, PluginInfo
from tests.node.seen import watching


async def test_sub_directories_of_the_plugin_directory_are_looked_into(place: Path) -> None:
    async with watching(place) as seen, FakeDriver(place) as driver:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        other = FakeDriver(place, "nic.example.com")
        other.registration_path = place / "plugins_registry" / "sub" / "nic-reg.sock"
        async with other:
            other.report({"nic-0": Health.HEALTHY})
            await seen.device("nic-0", Health.HEALTHY, driver="nic.example.com")


async def test_a_socket_made_anew_at_the_same_path_is_a_new_registration(place: Path) -> None:
    async with watching(place) as seen:
        for health in (Health.HEALTHY, Health.UNHEALTHY):
            async with FakeDriver(place) as driver:
                driver.report({"gpu-0": health})
                await seen.device("gpu-0", health)
                await driver.called("GetInfo")


async def test_a_stale_socket_of_a_dead_driver_waits_without_harm(place: Path) -> None:
    def stale(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))

    await asyncio.to_thread(stale, place / "plugins_registry" / "dead-reg.sock")
    async with FakeDriver(place) as driver, watching(place) as seen:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        assert [view.driver for view in seen.watch.drivers()] == ["gpu.example.com"]


async def test_a_bound_socket_is_dialled_until_it_listens(place: Path) -> None:
    """bind() is seen before listen()."""
    async with watching(place) as seen:
        driver = FakeDriver(place)
        await driver.start()
        listening = socket.socket(socket.AF_UNIX)
        early = place / "plugins_registry" / "early-reg.sock"
        listening.bind(str(early))
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        asked = asyncio.Event()
        listening.setblocking(False)
        listening.listen()
        loop = asyncio.get_running_loop()
        loop.add_reader(listening, asked.set)
        async with asyncio.timeout(5):
            await asked.wait()
        loop.remove_reader(listening)
        listening.close()
        await driver.stop()


async def test_only_sockets_count(place: Path) -> None:
    registry = place / "plugins_registry"
    async with FakeDriver(place) as driver:
        os.symlink(driver.registration_path, registry / "link-reg.sock")
        os.mkfifo(registry / "fifo-reg.sock")
        (registry / "file-reg.sock").write_text("")
        driver.report({"gpu-0": Health.HEALTHY})
        async with watching(place) as seen:
            await seen.device("gpu-0", Health.HEALTHY)
            assert driver.calls["GetInfo"] == 1


async def test_a_plugin_directory_may_come_late_and_be_replaced(place: Path) -> None:
    registry = place / "plugins_registry"
    registry.rmdir()
    async with watching(place) as seen:
        async with FakeDriver(place) as driver:
            driver.report({"gpu-0": Health.HEALTHY})
            await seen.device("gpu-0", Health.HEALTHY)
            registry.rename(place / "away")
            await seen.driver(lambda views: not any(view.connected for view in views))
        async with FakeDriver(place) as driver:
            driver.report({"gpu-0": Health.UNHEALTHY})
            await seen.device("gpu-0", Health.UNHEALTHY)


async def test_without_inotify_the_directory_is_looked_into_each_second(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*args: object, **more: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("podvitals.node.discovery.INotify", none_left)
    async with watching(place) as seen, FakeDriver(place) as driver:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)


async def test_a_missing_plugin_directory_is_named(place: Path) -> None:
    (place / "plugins_registry").rmdir()
    async with watching(place) as seen:
        assert seen.watch.trouble == f"plugin directory {place}/plugins_registry: No such file or directory"


async def test_a_driver_the_operator_left_to_the_kubelet_is_not_watched(place: Path) -> None:
    async with FakeDriver(place) as driver, FakeDriver(place, "nic.example.com") as nic:
        driver.report({"gpu-0": Health.HEALTHY})
        async with watching(place, leave=frozenset({"gpu.example.com"})) as seen:
            await seen.driver(lambda views: [view.left for view in views] == [True, False])
            nic.report({"nic-0": Health.HEALTHY})
            await seen.device("nic-0", Health.HEALTHY, driver="nic.example.com")
            assert seen.said("gpu-0") == "driver gpu.example.com is left to the kubelet"
            assert driver.calls == {"GetInfo": 1}


async def test_a_registrar_tells_each_registration_once(place: Path) -> None:
    async with watching(place, registrar=True) as seen, FakeDriver(place) as driver:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        assert driver.notified == [(True, "")]


class Claimant(FakeDriver):
    """Says that it is served at another driver's endpoint."""

    claims = ""

    async def get_info(self) -> PluginInfo:
        return replace(await super().get_info(), endpoint=self.claims)


async def test_a_second_registration_with_the_same_endpoint_is_refused_while_the_first_lives(place: Path) -> None:
    second = Claimant(place, pod_uid="2")
    async with watching(place, registrar=True) as seen:
        async with FakeDriver(place) as first:
            first.report({"gpu-0": Health.HEALTHY})
            await seen.device("gpu-0", Health.HEALTHY)
            second.claims = str(first.endpoint)
            await second.start()
            await second.called("NotifyRegistrationStatus")
            assert [registered for registered, _ in second.notified] == [False]
            assert "is already registered with endpoint" in second.notified[0][1]
        await second.called("NotifyRegistrationStatus", 2)
        assert second.notified[1:] == [(True, "")]
        await second.stop()


async def test_a_place_held_by_a_dead_process_is_free(place: Path) -> None:
    first, second = FakeDriver(place), Claimant(place, pod_uid="2")
    async with watching(place, registrar=True) as seen:
        await first.start()
        await first.called("NotifyRegistrationStatus")
        await first.crash()
        second.claims = str(first.endpoint)
        async with second:
            await second.called("NotifyRegistrationStatus")
            assert second.notified == [(True, "")]
        assert len(seen.watch.drivers()) <= 1


async def test_an_invalid_registration_is_refused_and_counted(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(place, registrar=True) as seen, FakeDriver(place) as good:
        bad = FakeDriver(place, pod_uid="bad")
        bad.name = "Not A Name"
        async with bad:
            await bad.called("NotifyRegistrationStatus")
            good.report({"gpu-0": Health.HEALTHY})
            await seen.device("gpu-0", Health.HEALTHY)
        assert bad.notified[0][0] is False
        assert "is not a DNS subdomain" in bad.notified[0][1]
        assert caplog.text.count("is not a DNS subdomain") == 1


async def test_a_rival_that_goes_while_it_is_probed_costs_the_newcomer_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probing, gone = threading.Event(), threading.Event()

    def slow_probe(_: Path | str) -> bool:
        probing.set()
        gone.wait(5)
        return False

    monkeypatch.setattr("podvitals.node.endpoint.is_live", slow_probe)
    first, second = FakeDriver(place), Claimant(place, pod_uid="2")
    async with watching(place, registrar=True) as seen:
        await first.start()
        await first.called("NotifyRegistrationStatus")
        second.claims = str(first.endpoint)
        await second.start()
        await asyncio.to_thread(probing.wait, 5)
        await first.stop()
        await seen.driver(lambda views: not views)
        gone.set()
        await second.called("NotifyRegistrationStatus", timeout=2)
        await second.stop()


async def test_more_sockets_than_are_followed_do_not_push_out_a_driver_nor_keep_a_new_one_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("podvitals.node.choice.TRIAL", 0.05)
    dead: list[socket.socket] = []

    def flood(first: int) -> None:
        for number in range(first, first + 20):
            dead.append(one := socket.socket(socket.AF_UNIX))
            one.bind(str(place / "plugins_registry" / f"dead-{number}.sock"))

    async with FakeDriver(place) as driver, watching(place, limits=Limits(sockets=8)) as seen:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        await asyncio.to_thread(flood, 0)
        async with FakeDriver(place, "nic.example.com") as late:
            late.report({"nic-0": Health.HEALTHY})
            await seen.device("nic-0", Health.HEALTHY, driver="nic.example.com")
            await asyncio.to_thread(flood, 20)
            driver.report({"gpu-0": Health.UNHEALTHY})
            await seen.device("gpu-0", Health.UNHEALTHY)
            late.report({"nic-0": Health.UNHEALTHY})
            await seen.device("nic-0", Health.UNHEALTHY, driver="nic.example.com")
            assert driver.calls["GetInfo"] == late.calls["GetInfo"] == 1, "neither was lost and found again"
    for one in dead:
        one.close()
    assert caplog.text.count("more sockets than are followed") == 1


def _rubbish(registry: Path) -> None:
    outside = registry.parent / "outside"
    outside.mkdir()
    (registry / "loop").symlink_to(registry)
    (registry / "out").symlink_to(outside)
    os.mkfifo(registry / "fifo-reg.sock")
    (registry / "a-file.sock").write_text("x")
    for number in range(40):
        (registry / f"directory-{number:02}").mkdir()
    (registry / "not\udcffutf8\x1b[31m").mkdir()
    deep = registry / "deep" / "1" / "2" / "3" / "4" / "5"
    deep.mkdir(parents=True)


async def test_links_fifos_files_and_directories_in_the_plugin_directory_harm_nobody(place: Path) -> None:
    registry = place / "plugins_registry"
    await asyncio.to_thread(_rubbish, registry)
    async with FakeDriver(place) as driver, watching(place, limits=Limits(directories=8)) as seen:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        await asyncio.to_thread((registry / "zz").mkdir)
        async with FakeDriver(place, "nic.example.com") as nic:
            nic.report({"nic-0": Health.HEALTHY})
            await seen.device("nic-0", Health.HEALTHY, driver="nic.example.com")
        assert driver.calls["GetInfo"] == 1


def test_known_sockets_are_found_however_much_lies_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podvitals.node.discovery.MOST_ENTRIES", 50)
    (tmp_path / "sub").mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "sub" / "reg.sock"))
        known = scan(tmp_path).sockets
        assert len(known) == 1
        for number in range(200):
            (tmp_path / f"{number}").touch()
        found = scan(tmp_path, known)
        assert found.sockets == known
        assert found.cut


async def test_a_driver_that_crashes_again_and_again_is_not_kept_out_by_what_it_left(place: Path) -> None:
    """Each time with other sockets, as in pods; they stay."""
    async with watching(place, limits=Limits(endpoints_per_source=3)) as seen:
        for turn in range(6):
            driver = FakeDriver(place, pod_uid=str(turn))
            await driver.start()
            driver.report({"gpu-0": [Health.HEALTHY, Health.UNHEALTHY][turn % 2]})
            await seen.device("gpu-0", [Health.HEALTHY, Health.UNHEALTHY][turn % 2])
            assert len(seen.watch.drivers()) <= 3
            await driver.crash()


async def test_more_auxiliary_sources_than_may_be_are_refused_counted_and_harm_nobody(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with FakeDriver(place) as driver, watching(place, registrar=True, limits=Limits(sources_per_driver=2)) as seen:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        async with AsyncExitStack() as stack:
            sources = [FakeDriver(place, "gpu.example.com", pod_uid=f"aux{number}") for number in range(4)]
            for number, one in enumerate(sources):
                one.type, one.name = HEALTH_SOURCE_TYPE, f"gpu.example.com/aux{number}"
                await stack.enter_async_context(one)
                await one.called("NotifyRegistrationStatus")
            assert [one.notified[0][0] for one in sources] == [True, True, False, False]
            assert "has 2 other health sources" in sources[3].notified[0][1]
            driver.report({"gpu-0": Health.UNHEALTHY})
            await seen.device("gpu-0", Health.UNHEALTHY)


async def test_what_a_gone_endpoint_was_refused_is_not_forgotten(place: Path) -> None:
    async with watching(place) as seen:
        for turn in range(2):
            async with FakeDriver(place, pod_uid=str(turn)) as driver:
                driver.report_raw(b"\xff\xff\xff")
                await seen.driver(lambda views, turn=turn: [view.refusals.get("undecodable report") for view in views] == [turn + 1])  # type: ignore[misc]
            await seen.driver(lambda views: not views)


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that follow each other at a path cannot be told apart, as where a driver restarts within a tick of the kernel's clock."""
    monkeypatch.setattr("podvitals.node.discovery._identity", lambda _facts: (0, 0, 0))


@pytest.mark.usefixtures("alike")
async def test_a_driver_that_came_back_behind_a_socket_that_looks_the_same_is_taken_for_what_it_says_it_is_now(place: Path) -> None:
    driver = FakeDriver(place, versions=[DRA_V1BETA1, HEALTH_V1ALPHA1])
    await driver.start()
    driver.report({"gpu-0": Health.HEALTHY})
    async with watching(place) as seen:
        await seen.device("gpu-0", Health.HEALTHY)
        await driver.crash()
        driver.endpoint, driver.versions = driver.endpoint.with_name("dra-2.sock"), ALL_VERSIONS
        driver.report({"gpu-0": Health.UNHEALTHY})
        async with driver:
            await seen.device("gpu-0", Health.UNHEALTHY)
            (view,) = seen.watch.drivers()
            assert (view.endpoint, view.versions) == (str(driver.endpoint), ALL_VERSIONS)


@pytest.mark.usefixtures("alike")
async def test_a_driver_that_came_back_and_says_the_same_of_itself_keeps_its_registration(place: Path) -> None:
    driver = FakeDriver(place)
    await driver.start()
    driver.report({"gpu-0": Health.HEALTHY})
    async with watching(place) as seen:
        await seen.device("gpu-0", Health.HEALTHY)
        await driver.crash()
        async with driver:
            await driver.called("GetInfo", 2)
            async with PluginClient(driver.registration_path) as another:
                await another.get_info()  # whoever asked before has his answer
            driver.report({"gpu-0": Health.UNHEALTHY})
            await seen.device("gpu-0", Health.UNHEALTHY)
            assert driver.calls["GetInfo"] == 3
