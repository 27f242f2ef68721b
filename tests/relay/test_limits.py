"""What a driver, or whoever calls himself one, can do to the relay."""

import asyncio
import os

import pytest

from podvitals.device.health import Health
from podvitals.errors import LocalError
from podvitals.testing.clock import ManualClock
from podvitals.testing.driver import FakeDriver
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import REPORT_LIMIT, DeviceReport
from tests.relay.conftest import Node, becomes
from tests.roots import requires_root

NAME = "gpu.example.com"


async def test_as_many_devices_as_a_kubelet_keeps_each_with_the_longest_message_pass(node: Node) -> None:
    devices = [DeviceReport("n", f"gpu-{number}", Health.UNHEALTHY, 1000.0, 600.0, "x" * 1024) for number in range(16_384)]
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        driver.report_raw(*encode_report(devices))
        await kubelet.sees("gpu-16383", Health.UNHEALTHY, timeout=20)
        (registration,) = kubelet.registrations
        assert len(registration.devices) == len(devices)
        assert max(sum(len(one.message) for one in report) for report in registration.reports) < REPORT_LIMIT


async def test_one_driver_more_than_are_stood_in_for_is_left_until_another_goes(node: Node) -> None:
    clock = ManualClock()
    async with node.relay(clock, most_drivers=1) as relay, node.kubelet() as kubelet:
        async with FakeDriver(node.place, NAME):
            await kubelet.registered(NAME)
            async with FakeDriver(node.place, "other.example.com") as other:
                await becomes(lambda: relay.node.serving(other.name) is not None, clock)
                assert list(relay.fronts) == [NAME]
        await becomes(lambda: not relay.fronts, clock)
        async with FakeDriver(node.place, "other.example.com"):
            await kubelet.registered("other.example.com")


@requires_root
async def test_a_socket_that_is_not_roots_is_refused_and_its_driver_told_why(node: Node) -> None:
    async with FakeDriver(node.place, NAME) as driver:
        await asyncio.to_thread(os.chown, driver.registration_path, 65534, 65534)
        async with node.relay() as relay:
            await driver.called("NotifyRegistrationStatus")
            assert [registered for registered, _ in driver.notified] == [False]
            assert "belongs to user 65534" in driver.notified[0][1]
            assert relay.fronts == {}


async def test_directories_that_everybody_may_write_are_refused(node: Node) -> None:
    registry = node.kubelet_place / "plugins_registry"
    await asyncio.to_thread(registry.chmod, 0o777)
    with pytest.raises(LocalError, match=f"{registry} is writable by everybody"):
        async with node.relay():
            pass


async def test_a_driver_that_says_only_what_changes_is_believed_while_it_answers(node: Node) -> None:
    clock = ManualClock()
    async with node.relay(clock, on_change=frozenset((NAME,))) as relay, node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        driver.report([DeviceReport("n", "g0", Health.HEALTHY, 1000.0, 3.0)])
        await kubelet.sees("g0", Health.HEALTHY)
        asked = driver.calls["NodePrepareResources"]
        await becomes(lambda: driver.calls["NodePrepareResources"] >= asked + 10, clock)
        assert {state.health for state in relay.node.states().values()} == {Health.HEALTHY}
        driver.hang()
        await becomes(lambda: {state.health for state in relay.node.states().values()} == {Health.UNKNOWN}, clock)


async def test_without_that_it_decays(node: Node) -> None:
    clock = ManualClock()
    async with node.relay(clock) as relay, FakeDriver(node.place, NAME) as driver:
        driver.report([DeviceReport("n", "g0", Health.HEALTHY, 1000.0, 3.0)])
        await becomes(lambda: bool(relay.node.states()), clock)
        await becomes(lambda: {state.health for state in relay.node.states().values()} == {Health.UNKNOWN}, clock)
