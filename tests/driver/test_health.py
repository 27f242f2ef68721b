"""Driver and kubelet on real sockets: what watchers are told."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from podvitals.detect.detector import Reading
from podvitals.detect.schedule import Schedule
from podvitals.device.health import Health
from podvitals.driver.health import Health as HealthService
from podvitals.driver.plugin import Driver
from podvitals.driver.serve import Serving
from podvitals.testing import FakeKubelet, ManualClock
from podvitals.wire.client import PluginClient
from podvitals.wire.convert import decode_report
from podvitals.wire.messages import HEALTH_V1, HEALTH_V1ALPHA1, REPORT_LIMIT
from tests.detect.kit import running
from tests.driver.make import DRIVER, Toys


@asynccontextmanager
async def served(directory: Path, toys: Toys) -> AsyncIterator[tuple[FakeKubelet, Serving]]:
    async with FakeKubelet(directory) as kubelet, Driver(DRIVER, toys).serving(kubelet) as serving:
        yield kubelet, serving


@pytest.mark.parametrize("version", [HEALTH_V1, HEALTH_V1ALPHA1])
async def test_a_kubelet_of_either_health_version_sees_healthy_unhealthy_healthy(tmp_path: Path, version: str) -> None:
    toys = Toys("t1", "t2")
    async with FakeKubelet(tmp_path, health_version=version) as kubelet, Driver(DRIVER, toys).serving(kubelet):
        await kubelet.sees("t1", Health.HEALTHY)
        toys.readings["t1"] = lambda: Reading.unhealthy("device node is gone", action="power-cycle")
        report = await kubelet.sees("t1", Health.UNHEALTHY)
        assert (report.message, report.action, report.pool, report.lease) == ("device node is gone", "power-cycle", "node-1", 1.0)
        toys.readings.clear()
        await kubelet.sees("t1", Health.HEALTHY)
        await kubelet.sees("t2", Health.HEALTHY)


async def test_a_hung_detector_is_reported_unknown_by_the_driver_itself(tmp_path: Path) -> None:
    toys, gate = Toys("t1"), threading.Event()
    toys.timeout = 30
    try:
        async with served(tmp_path, toys) as (kubelet, _):
            await kubelet.sees("t1", Health.HEALTHY)
            toys.readings["t1"] = lambda: gate.wait(30) and Reading.healthy()
            report = await kubelet.sees("t1", Health.UNKNOWN)
            assert report.message == "Toys has not read this device again within its lease of 1 s (last known: Healthy)"
            toys.readings.clear()
            gate.set()
            await kubelet.sees("t1", Health.HEALTHY)
    finally:
        gate.set()


async def test_any_number_of_watchers_each_get_the_whole_state_first(tmp_path: Path) -> None:
    toys = Toys("t1", "t2")
    async with served(tmp_path, toys) as (kubelet, serving):
        await kubelet.sees("t2", Health.HEALTHY)
        endpoint = (await kubelet.registered(DRIVER)).endpoint
        for _ in range(3):
            async with PluginClient(endpoint) as client, aclosing(client.watch_health(HEALTH_V1)) as reports:
                first = decode_report(await anext(reports))
                assert [device.device for device in first.devices] == ["t1", "t2"]
                assert serving.health.watchers >= 2
        await kubelet.sees("t1", Health.HEALTHY)


async def test_a_slow_watcher_gets_the_newest_state_and_no_backlog() -> None:
    toys = Toys("t1")
    async with running(toys) as frame:
        await frame.says("t1", Health.HEALTHY)
        async with aclosing(HealthService(frame.schedule).watch()) as reports:
            await anext(reports)
            for number in range(5):
                toys.readings["t1"] = partial(Reading.unhealthy, f"fault {number}")
                await frame.says("t1", Health.UNHEALTHY, f"fault {number}")
            (device,) = decode_report(await anext(reports)).devices
            assert device.message == "fault 4"


async def test_a_watcher_that_came_first_hears_as_soon_as_there_is_something_to_say() -> None:
    toys, gate = Toys("t1"), threading.Event()
    toys.readings["t1"] = lambda: gate.wait(30) and Reading.healthy()
    toys.timeout = 30
    async with running(toys) as frame, aclosing(HealthService(frame.schedule).watch()) as reports:
        first = asyncio.ensure_future(anext(reports))
        await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(5):
            assert [device.device for device in decode_report(await first).devices] == ["t1"]


async def test_a_driver_that_stood_still_passes_on_no_reading_whose_lease_is_over() -> None:
    clock = ManualClock()
    schedule = Schedule(DRIVER, "node-1", [Toys("t1")], clock)
    await schedule.start()
    task = asyncio.create_task(schedule.run(), name="schedule")
    async with aclosing(HealthService(schedule).watch()) as reports:
        async with asyncio.timeout(5):
            assert decode_report(await anext(reports)).devices[0].health is Health.HEALTHY
        task.cancel()  # what SIGSTOP does to the task that ends leases, until it gets its turn
        await asyncio.gather(task, return_exceptions=True)
        following = asyncio.ensure_future(anext(reports))
        await clock.advance(60)
        async with asyncio.timeout(5):
            (report,) = decode_report(await following).devices
    assert report.health is Health.UNKNOWN


async def test_a_state_too_large_for_one_message_comes_in_several(tmp_path: Path) -> None:
    toys = Toys(*(f"t{number:04}" for number in range(1200)))
    toys.interval = 600
    for device in toys.inventory:
        toys.readings[device.name] = partial(Reading.unhealthy, "x" * 1024)
    async with running(toys) as frame:
        await frame.says("t1199", Health.UNHEALTHY, seconds=20)
        async with aclosing(HealthService(frame.schedule).watch()) as reports:
            raws = [await anext(reports), await anext(reports)]
    assert all(len(raw) <= REPORT_LIMIT for raw in raws)
    assert sum(len(decode_report(raw).devices) for raw in raws) == 1200
