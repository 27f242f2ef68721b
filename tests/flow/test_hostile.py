"""Hostile drivers: each costs a bounded amount, is refused, counted and said, and the good driver beside it goes on being told.

The agent is whole, the sockets and the API server are real. That the good driver is told "soon" is asserted by order: change after change
of it is seen on its pod while the flood lasts.
"""

import asyncio
import logging
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer
from podvitals.testing import FakeDriver
from podvitals.wire.messages import DeviceReport
from tests.agent.cluster import Cluster
from tests.flow.hostile import BAD, GOOD, Flood, Stage, bound, devices, listening, oversized, report, rss, said
from tests.wire.peers import OK, RawServer

ROOM = 150.0
"""MB: far more than any of this may take, far less than what it would take unbounded."""


@pytest.fixture
async def stage(short: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Stage]:
    caplog.set_level(logging.INFO)
    async with ApiServer() as api, Client(ClusterConfig(api.url)) as client:
        async with Stage.open(Cluster(short, client)) as stage:
            yield stage
    faults = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not faults, "no fault of ours"


def registering(stage: Stage, name: str = BAD) -> FakeDriver:
    """Registers; what its endpoint does is another's to say."""
    driver = FakeDriver(stage.path, name)
    driver.endpoint = stage.path / f"{name}.sock"
    return driver


async def test_a_message_past_4_mib_ends_the_stream_and_is_never_kept(stage: Stage) -> None:
    before = rss()

    def script(h2: object, stream: int) -> None:
        h2.send_headers(stream, OK)  # type: ignore[attr-defined]
        h2.send_data(stream, oversized(1 << 31) + b"x" * 16000)  # type: ignore[attr-defined]

    driver = registering(stage)
    endpoint = RawServer(script)
    async with listening(driver.endpoint, endpoint.serve), _registration(driver):
        view = await stage.refused("stream", 2)
        await stage.good_is_told()
        assert endpoint.connections < 50
    assert view.reports == 0
    assert rss() - before < ROOM


async def test_of_a_million_devices_those_are_kept_that_may_be_and_the_others_counted(stage: Stage) -> None:
    before, each, times = rss(), 150_000, 7
    async with Flood(stage.path, lambda: (devices(first, each) for first in range(0, times * each, each))) as bad:
        told = asyncio.create_task(stage.good_is_told(20))
        view = await stage.view(lambda view: view.reports == times and sum(view.refusals.values()) > 100_000)
        await told
        assert bad.sent == times
    assert stage.devices() == 8192
    assert set(view.refusals) == {"invalid entry", "too many devices"}
    assert rss() - before < ROOM


async def test_a_driver_that_reports_ten_thousand_times_a_second_keeps_no_other_waiting(stage: Stage) -> None:
    """As fast as it is read, by a process of its own."""
    before = rss()
    words = [sys.executable, "-m", "tests.flow.flooding", str(stage.path), BAD]
    flood = await asyncio.create_subprocess_exec(*words, cwd=Path(__file__).parents[2])
    try:
        began = (await stage.view(lambda view: view.reports > 100)).reports
        await stage.good_is_told(20)
        heard = (await stage.view(lambda view: view.connected)).reports - began
    finally:
        flood.kill()
        await flood.wait()
    assert heard > 500, "the flood lasted"
    assert stage.devices() == 1
    assert rss() - before < ROOM


EVIL = {
    "a control character": b"a\x00b\x07c",
    "a terminal escape": b"\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "a right-to-left override": "abc\u202egnp.exe\u2066".encode(),
    "bad UTF-8": b"\xff\xfe\xc3\x28 broken",
    "line breaks": "one\ntwo\r\nthree\u2028".encode(),
    "a long text": "é".encode() * 100_000,
}


@pytest.mark.parametrize("what", EVIL)
async def test_a_message_with_evil_text_reaches_nobody_as_it_is(stage: Stage, what: str, caplog: pytest.LogCaptureFixture) -> None:
    async with FakeDriver(stage.path, BAD) as bad:
        await stage.cluster.pod("b", "d0", driver=BAD)
        bad.report_raw(report({"health": 2, "message": EVIL[what]}))
        pod = await stage.cluster.condition("b", "False")
        await stage.good_is_told(1)
    texts = [
        said(pod),
        *pod.metadata.annotations.values(),
        *(record.getMessage() + str(record.__dict__.get("reason")) for record in caplog.records),
    ]
    for text in texts:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]", text), repr(text[:200])
    assert len(said(pod).encode()) <= 1024


async def test_names_that_no_device_can_have_are_refused_without_their_neighbours(stage: Stage) -> None:
    names: list[object] = ["", "a/b", "../../etc", "UPPER", "x" * 4000, b"\xff\xfe", "\x1b[2J", "\u202e", "-a", "a b"]
    async with FakeDriver(stage.path, BAD) as bad:
        bad.report_raw(report(*({"device": name} for name in names), *({"pool": name} for name in names[2:8]), {"device": "d7"}))
        view = await stage.refused("invalid entry", 10)
        await stage.good_is_told(3)
        known = [key for key in stage.agent.node.states() if key.driver == BAD]
    assert known == [DeviceKey(BAD, "node1", "d7")]
    assert view.connected


TIMES = [(-(2**63), -(2**63)), (-1, -1), (0, 0), (1, 1), (2**31, 86_400), (16_725_225_600, 2**31), (2**63 - 1, 2**63 - 1)]


async def test_times_from_1970_and_2500_and_leases_of_any_size_are_clamped(stage: Stage) -> None:
    async with FakeDriver(stage.path, BAD) as bad:
        bad.report_raw(report(*({"device": f"d{at}", "time": time, "lease": lease} for at, (time, lease) in enumerate(TIMES))))
        await stage.view(lambda view: view.devices == len(TIMES))
        now, wall = stage.agent._clock.now(), stage.agent._clock.wall()
        for at in range(len(TIMES)):
            state = stage.agent.node.state(DeviceKey(BAD, "node1", f"d{at}"))
            assert state.deadline is not None
            assert -10 <= state.deadline - now - 1 <= 86_400
            assert 0 <= state.checked_at <= wall
        async with stage.cluster.asking() as ask:
            assert (await ask("/state"))["node"] == "node1", "and can be told"
        await stage.good_is_told(3)


async def test_sockets_that_take_a_connection_and_say_nothing_hold_up_nobody(stage: Stage) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async with AsyncExitStack() as stack:
        for number in range(50):
            await stack.enter_async_context(listening(stage.path / "plugins_registry" / f"half-open-{number}-reg.sock", silent))
        await stage.good_is_told(5)
        # A driver that comes after them is taken in all the same.
        async with FakeDriver(stage.path, BAD) as late:
            late.report({"d0": Health.UNHEALTHY})
            await stage.view(lambda view: view.devices == 1)
            await stage.good_is_told(5)


async def test_a_stream_that_comes_byte_by_byte_costs_its_bytes_and_nobody_elses_time(stage: Stage) -> None:
    raw = report({"device": "d0", "health": 2, "message": "at last"})
    driver, dripped = registering(stage), asyncio.Event()

    async def drip(writer: asyncio.StreamWriter, h2: object, stream: int) -> None:
        for byte in oversized(len(raw)) + raw:
            h2.send_data(stream, bytes([byte]))  # type: ignore[attr-defined]
            writer.write(h2.data_to_send())  # type: ignore[attr-defined]
            await stage.good_is_told(1)
        dripped.set()

    tasks: set[asyncio.Task[None]] = set()
    seen: list[tuple[object, int]] = []

    def script(h2: object, stream: int) -> None:
        h2.send_headers(stream, OK)  # type: ignore[attr-defined]
        seen.append((h2, stream))

    def after(writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(drip(writer, *seen[-1])))

    async with listening(driver.endpoint, RawServer(script, after).serve), _registration(driver):
        async with asyncio.timeout(15):
            await dripped.wait()
        await stage.view(lambda view: view.reports == 1)
        assert stage.agent.node.state(DeviceKey(BAD, "node1", "d0")).message == "at last"
    await asyncio.gather(*tasks)


async def test_whoever_breaks_each_connection_is_asked_ever_more_slowly(stage: Stage) -> None:
    connections = count()
    made = 0

    async def broken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal made
        made = next(connections)
        writer.transport.abort()

    async with listening(stage.path / "plugins_registry" / "broken-reg.sock", broken):
        driver = registering(stage)
        async with listening(driver.endpoint, broken), _registration(driver):
            await stage.view(lambda view: bool(view.trouble))
            await stage.good_is_told(30)
            assert made < 100


async def test_a_driver_that_registers_anew_a_thousand_times_leaves_one_and_the_good_one_its_place(stage: Stage) -> None:
    told = asyncio.create_task(stage.good_is_told(20))
    path = stage.path / "plugins_registry" / f"{BAD}-reg.sock"
    for _ in range(1000):
        made = bound(path)
        made.close()
        path.unlink()
        await asyncio.sleep(0)
    await told
    async with FakeDriver(stage.path, BAD) as bad:
        bad.report({"d0": Health.UNHEALTHY})
        await stage.view(lambda view: view.devices == 1)
        assert len([view for view in stage.agent.node.drivers() if view.driver == BAD]) == 1
        await stage.good_is_told(1)


async def test_links_fifos_files_and_deep_directories_in_the_plugin_directory_are_passed_by(stage: Stage) -> None:
    registry = stage.path / "plugins_registry"
    for number in range(50):
        os.mkfifo(registry / f"fifo-{number}-reg.sock")
        (registry / f"link-{number}-reg.sock").symlink_to(stage.good.registration_path)
        (registry / f"file-{number}-reg.sock").write_text("no socket")
    (registry / "loop").symlink_to(registry)
    (registry / "away").symlink_to("/proc")
    deep = registry
    for _ in range(30):
        deep /= "d"
        deep.mkdir()
    async with FakeDriver(stage.path, BAD) as bad:  # seen by a scan after all of that
        bad.report({"d0": Health.UNHEALTHY})
        await stage.view(lambda view: view.devices == 1)
    await stage.good_is_told(5)
    assert stage.good.calls["GetInfo"] == 1
    assert {view.driver for view in stage.agent.node.drivers()} == {GOOD, BAD}


async def test_a_directory_full_of_sockets_costs_the_good_driver_neither_its_place_nor_its_voice(stage: Stage) -> None:
    registry = stage.path / "plugins_registry"
    held = [bound(registry / f"rubbish-{number}-reg.sock") for number in range(700)]
    try:
        await stage.good_is_told(10)
        endpoints = stage.agent.node._endpoints
        assert len(endpoints) <= 512
        assert any(endpoint.source is not None and endpoint.source.driver == GOOD for endpoint in endpoints.values())
    finally:
        for one in held:
            one.close()


@pytest.mark.parametrize("what", ["rubbish", "too many"])
async def test_what_is_refused_again_and_again_is_said_once(stage: Stage, what: str, caplog: pytest.LogCaptureFixture) -> None:
    raw = b"\xff\xff\xff rubbish"
    reason = "undecodable report" if what == "rubbish" else "too many devices"
    async with FakeDriver(stage.path, BAD) as bad:
        for times in range(1, 6):
            bad.report_raw(raw if what == "rubbish" else devices(times * 10, 9000))
            await stage.refused(reason, times)
        await stage.good_is_told(1)
    said = [record for record in caplog.records if record.getMessage().startswith("refused") and record.__dict__.get("reason") == reason]
    assert len(said) == 1


async def test_two_thousand_good_reports_are_all_taken_in_their_order_beside_a_flood(stage: Stage) -> None:
    """The last word is what stands, whatever came between."""
    async with Flood(stage.path, lambda: (devices(n % 7, 4000) for n in count())) as bad:
        await stage.view(lambda view: view.reports > 2)
        for number in range(2000):
            text = "the last word" if number == 1999 else f"n={number}"
            stage.good.report([DeviceReport("node1", "gpu-0", Health.UNHEALTHY, 1000.0, 300.0, text)])
        async with asyncio.timeout(10):
            while stage.agent.node.state(DeviceKey(GOOD, "node1", "gpu-0")).message != "the last word":
                await asyncio.sleep(0)
        assert bad.sent > 2


def _registration(driver: FakeDriver) -> "_Registration":
    return _Registration(driver)


class _Registration:
    """Serves the registration socket of a driver, and nothing else of it."""

    def __init__(self, driver: FakeDriver) -> None:
        from podvitals.wire.server import PluginServer

        self._driver = driver
        self._server = PluginServer(driver.registration_path, registration=driver)

    async def __aenter__(self) -> None:
        await self._server.start()

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()
