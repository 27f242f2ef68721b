"""A process that was stopped, or whose machine slept, reads old news afterwards: their leases count from when it stood still."""

from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.standstill import NOTICED_AFTER, OLD_NEWS, Standstill
from podvitals.testing import FakeDriver, ManualClock
from podvitals.wire.messages import DeviceReport
from tests.node.seen import watching

GPU0 = DeviceKey("gpu.example.com", "node1", "gpu-0")


def began(now: float) -> Standstill:
    standstill = Standstill()
    standstill.look(now)
    return standstill


def test_while_it_runs_news_are_new() -> None:
    standstill = began(100.0)
    for second in range(1, 9):
        standstill.look(100.0 + second)
        assert standstill.arrived(100.5 + second, opened=0.0) == 100.5 + second


def test_after_a_standstill_news_are_as_old_as_it_for_a_moment() -> None:
    standstill = began(100.0)
    woken = 100.0 + NOTICED_AFTER + 30
    assert standstill.arrived(woken, opened=50.0) == 100.0
    standstill.look(woken + 0.1)
    assert standstill.arrived(woken + 0.2, opened=50.0) == 100.0
    assert standstill.arrived(woken + 0.2, opened=woken + 0.1) == woken + 0.2, "what was connected since has no old news"
    assert standstill.arrived(woken + OLD_NEWS, opened=50.0) == woken + OLD_NEWS


def test_what_was_connected_just_before_a_standstill_has_old_news_too() -> None:
    standstill = began(100.0)
    assert standstill.arrived(140.0, opened=100.7) == 100.7


def test_a_standstill_explains_what_ended_in_it_and_nothing_that_was_listened_for_since() -> None:
    standstill = began(100.0)
    assert not standstill.explains(90.0, 105.0), "it has not stood still"
    standstill.look(170.0)
    assert standstill.seconds == 70.0
    assert standstill.explains(95.0, 110.0)
    assert standstill.explains(95.0, 100.0)
    assert standstill.explains(100.0, 175.0), "what was heard last when it began, and the next report is not due yet"
    assert not standstill.explains(170.0, 185.0), "heard after it"
    assert not standstill.explains(165.0, 180.0), "ten of fifteen seconds it has listened"
    assert not standstill.explains(80.0, 95.0), "over before it"


class Sleeper(ManualClock):
    def sleep(self, seconds: float) -> None:
        """The machine sleeps: boottime goes on, nobody wakes."""
        self._now += seconds
        self._wall += seconds


async def test_a_healthy_that_was_sent_before_the_machine_slept_is_not_believed_after(place: Path) -> None:
    clock = Sleeper()
    async with FakeDriver(place) as driver, watching(place, clock) as seen:
        driver.report([DeviceReport("node1", "gpu-0", Health.HEALTHY, 1000.0, 5.0)])
        await seen.device("gpu-0", Health.HEALTHY)
        clock.sleep(3600)
        driver.report([DeviceReport("node1", "gpu-0", Health.HEALTHY, 1001.0, 5.0)])
        await seen.driver(lambda views: views[0].reports == 2)
        await clock.advance(0)
        assert seen.watch.state(GPU0).health is Health.UNKNOWN
        assert seen.watch.state(GPU0).since == clock.wall() - 3600 + 5
        await clock.advance(OLD_NEWS)
        driver.report([DeviceReport("node1", "gpu-0", Health.HEALTHY, 1002.0, 5.0)])
        await seen.device("gpu-0", Health.HEALTHY)


@pytest.mark.parametrize("end", ["silent", "unreachable"])
async def test_what_ended_while_the_agent_stood_still_is_not_blamed_on_the_driver(place: Path, end: str) -> None:
    clock = Sleeper()
    driver = FakeDriver(place)
    async with watching(place, clock) as seen:
        await driver.start()
        driver.report([DeviceReport("node1", "gpu-0", Health.UNHEALTHY, 1000.0, 15.0, "Xid 79")])
        await seen.device("gpu-0", Health.UNHEALTHY)
        if end == "unreachable":
            await driver.stop()
            await seen.driver(lambda views: not any(view.connected for view in views))
        clock.sleep(70)
        await clock.advance(0)
        stood = "nothing heard from driver gpu.example.com for 15s (podvitals itself stood still); last known: Unhealthy: Xid 79"
        assert seen.said("gpu-0") == stood
        assert seen.watch.state(GPU0).since == clock.wall() - 70 + 15
        await clock.advance(15)
        assert seen.said("gpu-0") == stood.replace("podvitals itself stood still", f"driver {end}"), "it had its chance"
        assert seen.watch.state(GPU0).since == clock.wall() - 85 + 15
        await driver.stop()


async def test_a_driver_that_is_silent_after_a_standstill_is_named_again(place: Path) -> None:
    clock = Sleeper()
    async with FakeDriver(place) as driver, watching(place, clock) as seen:
        driver.report([DeviceReport("node1", "gpu-0", Health.HEALTHY, 1000.0, 15.0)])
        await seen.device("gpu-0", Health.HEALTHY)
        clock.sleep(70)
        await clock.advance(OLD_NEWS)
        driver.report([DeviceReport("node1", "gpu-0", Health.HEALTHY, 1001.0, 15.0)])
        await seen.device("gpu-0", Health.HEALTHY)
        await clock.advance(15)
        assert seen.said("gpu-0") == "nothing heard from driver gpu.example.com for 15s (driver silent); last known: Healthy"


async def test_a_standstill_is_logged_once_with_its_length(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Sleeper()
    async with watching(place, clock):
        clock.sleep(70)
        await clock.advance(5)
    lines = [vars(record)["seconds"] for record in caplog.records if "stood still" in record.getMessage()]
    assert lines == ["70"]


@pytest.mark.parametrize(("step", "text"), [(-3600.0, "the wall clock was set back"), (3600.0, "the wall clock was set forward")])
async def test_a_step_of_the_wall_clock_is_logged_once_with_its_length(
    place: Path, caplog: pytest.LogCaptureFixture, step: float, text: str
) -> None:
    clock = Sleeper()
    async with watching(place, clock):
        await clock.advance(5)
        clock.set_wall(clock.wall() + step)
        await clock.advance(5)
    assert [vars(record)["seconds"] for record in caplog.records if text in record.getMessage()] == ["3600"]


async def test_a_clock_that_is_slewed_or_a_machine_that_slept_was_not_stepped(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Sleeper()
    async with watching(place, clock):
        for _ in range(10):
            await clock.advance(1)
            clock.set_wall(clock.wall() + 0.4)
        clock.sleep(3600)
        await clock.advance(5)
    assert not [record.getMessage() for record in caplog.records if "wall clock" in record.getMessage()]
