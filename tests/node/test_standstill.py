"""A process that was stopped, or whose machine slept, reads old news afterwards: their leases count from when it stood still."""

from pathlib import Path

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.standstill import NOTICED_AFTER, OLD_NEWS, Standstill
from podvitals.testing import FakeDriver, ManualClock
from podvitals.wire.messages import DeviceReport
from tests.node.seen import watching

GPU0 = DeviceKey("gpu.example.com", "node1", "gpu-0")


def test_while_it_runs_news_are_new() -> None:
    standstill = Standstill(100.0)
    for second in range(1, 9):
        standstill.look(100.0 + second)
        assert standstill.arrived(100.5 + second, opened=0.0) == 100.5 + second


def test_after_a_standstill_news_are_as_old_as_it_for_a_moment() -> None:
    standstill = Standstill(100.0)
    woken = 100.0 + NOTICED_AFTER + 30
    assert standstill.arrived(woken, opened=50.0) == 100.0
    standstill.look(woken + 0.1)
    assert standstill.arrived(woken + 0.2, opened=50.0) == 100.0
    assert standstill.arrived(woken + 0.2, opened=woken + 0.1) == woken + 0.2, "what was connected since has no old news"
    assert standstill.arrived(woken + OLD_NEWS, opened=50.0) == woken + OLD_NEWS


def test_what_was_connected_just_before_a_standstill_has_old_news_too() -> None:
    standstill = Standstill(100.0)
    assert standstill.arrived(140.0, opened=100.7) == 100.7


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
