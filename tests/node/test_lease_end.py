"""Leases from the socket to the words a reader finds: when they end, what is said then, and what does not end them."""

from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.ledger import Ledger, SourceKey
from podvitals.testing import FakeDriver, ManualClock
from podvitals.wire.messages import HEALTH_SOURCE_TYPE, DeviceReport
from tests.node.seen import watching

GPU = SourceKey("gpu.example.com")
DAY = 24 * 3600.0


def said(device: str = "gpu-0", health: Health = Health.HEALTHY, lease: float = 3600.0, message: str = "") -> DeviceReport:
    return DeviceReport("node1", device, health, 1000.0, lease, message)


@pytest.mark.parametrize("end", ["silent", "unreachable", "gone"])
async def test_a_lease_s_end_says_what_was_last_known_and_why_nothing_newer_came(place: Path, end: str) -> None:
    clock = ManualClock()
    driver = FakeDriver(place)
    async with watching(place, clock) as seen:
        await driver.start()
        driver.report([said(health=Health.UNHEALTHY, message="Xid 79", lease=20)])
        await seen.device("gpu-0", Health.UNHEALTHY)
        if end != "silent":
            await (driver.crash() if end == "unreachable" else driver.stop())
            there = end == "unreachable"
            await seen.driver(lambda views: [(view.connected, bool(view.endpoint)) for view in views] == [(False, there)])
        await clock.advance(20)
        expected = f"nothing heard from driver gpu.example.com for 20s (driver {end}); last known: Unhealthy: Xid 79"
        assert seen.said("gpu-0") == expected
        await driver.stop()


async def test_an_auxiliary_source_that_is_silent_is_named(place: Path) -> None:
    clock = ManualClock()
    driver, aux = FakeDriver(place), FakeDriver(place, "gpu.example.com", pod_uid="xid")
    aux.type, aux.name = HEALTH_SOURCE_TYPE, "gpu.example.com/xid"
    async with driver, aux, watching(place, clock) as seen:
        driver.report([said()])
        aux.report([said(lease=5, message="no Xid")])
        await seen.device("gpu-0", Health.HEALTHY, text="no Xid")
        await clock.advance(5)
        text = 'nothing heard from health source "xid" of driver gpu.example.com for 5s (source silent); last known: Healthy: no Xid'
        assert seen.said("gpu-0") == text


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_wall_clock_that_steps_an_hour_changes_no_lease(place: Path, step: float) -> None:
    clock = ManualClock()
    async with FakeDriver(place) as driver, watching(place, clock) as seen:
        driver.report([said(lease=15)])
        await seen.device("gpu-0", Health.HEALTHY)
        clock.set_wall(clock.wall() + step)
        await clock.advance(14.9)
        assert seen.watch.state(DeviceKey("gpu.example.com", "node1", "gpu-0")).health is Health.HEALTHY
        await clock.advance(0.1)
        assert seen.watch.state(DeviceKey("gpu.example.com", "node1", "gpu-0")).health is Health.UNKNOWN


@pytest.mark.parametrize(
    ("asked", "given"), [(0.5, 1.0), (1.0, 1.0), (7.0, 7.0), (DAY, DAY), (DAY + 1, DAY), (2.0**63, DAY), (0.0, 30.0), (-(2.0**63), 30.0)]
)
def test_a_lease_is_what_was_asked_between_a_second_and_a_day(asked: float, given: float) -> None:
    ledger = Ledger()
    ledger.report(GPU, 1, [said(lease=asked)], 100.0, 1e9)
    assert ledger.next_deadline() == 100.0 + given
    assert ledger.expire(100.0 + given - 0.001, 1e9) == frozenset()
    assert len(ledger.expire(100.0 + given, 1e9)) == 1


def test_each_device_has_its_own_lease_and_the_latest_report_s_counts() -> None:
    ledger, leases = Ledger(), {"gpu-0": [60.0, 2.0, 30.0], "gpu-1": [2.0, 60.0, 1.0], "gpu-2": [5.0, 5.0, 5.0]}
    for turn in range(3):
        ledger.report(GPU, 1, [said(device, lease=lease[turn]) for device, lease in leases.items()], float(turn), 1e9)
    ends = {}
    while (at := ledger.next_deadline()) is not None and at < 100:
        ends.update({key.device: at for key in ledger.expire(at, 1e9)})
    assert ends == {"gpu-0": 32.0, "gpu-1": 3.0, "gpu-2": 7.0}


class Sleeper(ManualClock):
    def sleep(self, seconds: float) -> None:
        self._now += seconds
        self._wall += seconds


async def test_a_lease_that_ends_while_the_machine_sleeps_has_ended_when_it_wakes(place: Path) -> None:
    clock = Sleeper()
    async with FakeDriver(place) as driver, watching(place, clock) as seen:
        driver.report([said(lease=15), said("gpu-1", lease=DAY)])
        await seen.device("gpu-1", Health.HEALTHY)
        wall = clock.wall()
        clock.sleep(3600)
        await clock.advance(0)
        state = seen.watch.state(DeviceKey("gpu.example.com", "node1", "gpu-0"))
        assert (state.health, state.since) == (Health.UNKNOWN, wall + 15), "since its deadline, not since somebody looked"
        assert seen.watch.state(DeviceKey("gpu.example.com", "node1", "gpu-1")).health is Health.HEALTHY
