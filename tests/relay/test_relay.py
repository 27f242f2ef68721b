"""The relay between real sockets: what the kubelet and the driver each see of it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from podvitals.agent.listen import Answers, Listener
from podvitals.cli.relaying import listen
from podvitals.device.health import Health
from podvitals.errors import PluginUnreachable
from podvitals.relay.bypass import Registered, registered
from podvitals.relay.calls import Calls
from podvitals.relay.front import LONGEST_CALL
from podvitals.relay.run import Relay, RelaySettings
from podvitals.testing.clock import ManualClock
from podvitals.testing.driver import FakeDriver
from podvitals.testing.kubelet import FakeKubelet
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1, ClaimRef, DeviceReport, PrepareResult
from podvitals.wire.passing import RawCall
from tests.relay.conftest import Node, becomes

NAME = "gpu.example.com"
CLAIM = ClaimRef("ml", "uid-1", "gpus")


async def test_a_driver_that_registers_with_the_relay_is_the_kubelets_under_its_own_name(node: Node) -> None:
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME, versions=(DRA_V1BETA1, DRA_V1)) as driver:
        info = await kubelet.registered(NAME)
        assert info.endpoint != str(driver.endpoint)
        assert info.supported_versions == (DRA_V1BETA1, DRA_V1, HEALTH_V1, HEALTH_V1ALPHA1)
        await driver.called("NotifyRegistrationStatus")
        assert driver.notified == [(True, "")]


async def test_calls_pass_and_so_do_a_drivers_own_errors(node: Node) -> None:
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        driver.answers["uid-1"] = PrepareResult(error="no such GPU")
        await kubelet.registered(NAME)
        assert await kubelet.prepare(NAME, CLAIM) == {"uid-1": PrepareResult(error="no such GPU")}
        assert await kubelet.unprepare(NAME, CLAIM) == {"uid-1": ""}
        assert (driver.calls["NodePrepareResources"], driver.calls["NodeUnprepareResources"]) == (1, 1)


async def test_health_is_served_in_the_relays_own_leases(node: Node) -> None:
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        driver.report([DeviceReport("n", "g0", Health.UNHEALTHY, 1000.0, 3600.0, "broken", "reset-gpu")])
        seen = await kubelet.sees("g0", Health.UNHEALTHY)
        assert (seen.lease, seen.message, seen.action) == (15.0, "broken", "reset-gpu")


async def test_a_change_reaches_every_watcher(node: Node) -> None:
    async with (
        node.relay(),
        node.kubelet() as kubelet,
        node.kubelet(health_version=HEALTH_V1ALPHA1) as older,
        FakeDriver(node.place, NAME) as driver,
    ):
        for health in (Health.HEALTHY, Health.UNHEALTHY, Health.HEALTHY):
            driver.report({"g0": health})
            await kubelet.sees("g0", health)
            await older.sees("g0", health)


async def test_a_drivers_restart_is_invisible_to_the_kubelet(node: Node) -> None:
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        driver.report({"g0": Health.UNHEALTHY})
        await kubelet.sees("g0", Health.UNHEALTHY)
        (before,) = kubelet.registrations
        await driver.stop()
        await driver.start()
        await driver.called("NotifyRegistrationStatus", 2)
        driver.report({"g0": Health.HEALTHY})
        await kubelet.sees("g0", Health.HEALTHY)
        assert kubelet.registrations == (before,)
        assert {report.health for reports in before.reports for report in reports} == {Health.UNHEALTHY, Health.HEALTHY}


async def test_a_call_that_finds_the_driver_away_is_held_until_it_is_back(node: Node) -> None:
    async with node.relay() as relay, node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        await kubelet.registered(NAME)
        await kubelet.prepare(NAME)
        await driver.crash()
        call = asyncio.create_task(kubelet.prepare(NAME, CLAIM))
        async with asyncio.timeout(5):
            while not relay.fronts[NAME].calls.held:
                await asyncio.sleep(0)
        await driver.start()
        assert await call == {"uid-1": PrepareResult()}


async def test_a_call_that_was_under_way_when_the_driver_died_is_made_again(node: Node) -> None:
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        await kubelet.registered(NAME)
        driver.hang()
        call = asyncio.create_task(kubelet.prepare(NAME, CLAIM))
        await driver.called("NodePrepareResources")
        await driver.crash()
        await driver.start()
        assert await call == {"uid-1": PrepareResult()}


async def test_a_held_call_is_answered_before_its_callers_deadline_and_says_why() -> None:
    clock = ManualClock()
    calls = Calls(NAME, lambda: None, clock)
    call = asyncio.create_task(calls.pass_on(RawCall("/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources", b"", timeout=10.0)))
    await clock.slept_on(1)
    await clock.advance(8.9)
    assert not call.done()
    await clock.advance(0.2)
    with pytest.raises(PluginUnreachable, match=f"driver {NAME} did not come back"):
        await call
    assert (calls.held, calls.failed) == (0, 1)


async def test_other_versions_are_registered_before_the_old_are_taken_back(node: Node) -> None:
    clock = ManualClock()
    async with node.relay(clock), node.kubelet() as kubelet:
        async with FakeDriver(node.place, NAME, versions=(DRA_V1BETA1,)):
            old = await kubelet.registered(NAME)
        async with FakeDriver(node.place, NAME, versions=(DRA_V1,)) as driver:
            await driver.called("NotifyRegistrationStatus")
            await becomes(lambda: len(kubelet.registrations) == 1 and kubelet.registrations[0].info != old, clock)
            assert await kubelet.prepare(NAME, CLAIM) == {"uid-1": PrepareResult()}


async def test_a_driver_gone_for_long_is_withdrawn(node: Node) -> None:
    clock = ManualClock()
    async with node.relay(clock) as relay, node.kubelet() as kubelet:
        async with FakeDriver(node.place, NAME):
            await kubelet.registered(NAME)
        async with asyncio.timeout(5):
            while relay.fronts[NAME].standing.next_deadline() is None:
                await asyncio.sleep(0)
        await clock.advance(49.0)
        assert len(kubelet.registrations) == 1
        await clock.advance(2.0)
        await kubelet.gone(NAME)


async def test_unknown_methods_pass_with_status_text_and_details_as_the_driver_gave_them(node: Node) -> None:
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        info = await kubelet.registered(NAME)
        call = RawCall("/v9.DRAPlugin/NodeDance", b"\x00\xff", timeout=5.0)
        async with PluginClient(driver.endpoint) as direct, PluginClient(info.endpoint) as relayed:
            answer = await relayed.pass_on(call)
            assert answer == await direct.pass_on(call)
            assert dict(answer.trailers)["grpc-status"] == "12"


async def test_a_dead_relays_sockets_are_taken_away_by_the_next(node: Node) -> None:
    async with FakeDriver(node.place, NAME):
        async with node.relay() as relay, node.kubelet() as kubelet:
            await kubelet.registered(NAME)
            front = relay.fronts[NAME]
            for servers in list(front._servers.values()):
                await servers.registration.abandon()
                await servers.endpoint.abandon()
            front._servers.clear()
        left = list((node.kubelet_place / "plugins_registry").iterdir())
        assert len(left) == 1
        async with node.relay(), node.kubelet() as kubelet:
            info = await kubelet.registered(NAME)
            assert await kubelet.prepare(NAME, CLAIM) == {"uid-1": PrepareResult()}
            assert info.endpoint
            assert [one.path for one in kubelet.registrations] != left


async def test_when_the_relay_ends_nothing_of_it_is_left(node: Node) -> None:
    async with FakeDriver(node.place, NAME):
        async with node.relay(), node.kubelet() as kubelet:
            await kubelet.registered(NAME)
        assert [*(node.kubelet_place / "plugins_registry").iterdir(), *node.run_dir.iterdir()] == []


def endpoints(kubelet: FakeKubelet) -> set[str]:
    return {one.info.endpoint for one in kubelet.registrations if one.info}


async def test_a_bypassed_driver_is_the_kubelets_directly_and_comes_back_when_that_ends(node: Node) -> None:
    clock = ManualClock()
    async with FakeDriver(node.place, NAME) as driver, node.relay(clock), node.kubelet() as kubelet:
        stand_in = await kubelet.registered(NAME)
        (found,) = await registered(node.place / "plugins_registry")
        assert found == Registered(NAME, driver.registration_path)
        await asyncio.to_thread(node.bypass.mark, [NAME])
        await becomes(lambda: endpoints(kubelet) == {str(driver.endpoint)}, clock)
        await kubelet.prepare(NAME, CLAIM)
        await asyncio.to_thread(node.bypass.unmark, [NAME])
        await becomes(lambda: len(endpoints(kubelet)) == 1 and not endpoints(kubelet) & {str(driver.endpoint), stand_in.endpoint}, clock)


async def test_a_bypass_works_without_a_relay_and_keeps_the_next_one_away(node: Node) -> None:
    async with FakeDriver(node.place, NAME) as driver, node.kubelet() as kubelet:
        await asyncio.to_thread(node.bypass.mark, [NAME])
        (found,) = await registered(node.place / "plugins_registry")
        assert await asyncio.to_thread(node.bypass.link, found) is not None
        assert await asyncio.to_thread(node.bypass.link, found) is None
        assert (await kubelet.registered(NAME)).endpoint == str(driver.endpoint)
        async with node.relay() as relay:
            await relay.node.ready.wait()
            assert relay.fronts == {}


async def test_a_running_relay_shows_a_bypassed_driver_again_after_its_restart(node: Node) -> None:
    await asyncio.to_thread(node.bypass.mark, [NAME])
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        await kubelet.registered(NAME)
        await driver.stop()
        await driver.start()
        await driver.called("NotifyRegistrationStatus", 2)
        assert len(await asyncio.to_thread(node.bypass.links, NAME)) == 1


async def test_one_relay_takes_over_from_another_without_a_gap(node: Node) -> None:
    clock = ManualClock()
    async with FakeDriver(node.place, NAME) as driver, node.kubelet() as kubelet, AsyncExitStack() as first:
        driver.report({"g0": Health.UNHEALTHY})
        await first.enter_async_context(node.relay(clock))
        old = await kubelet.registered(NAME)
        async with node.relay(clock) as new:
            await becomes(lambda: len(endpoints(kubelet)) == 2 and new.fronts[NAME].standing.registered is not None, clock)
            await first.aclose()
            await becomes(lambda: old.endpoint not in endpoints(kubelet), clock)
            assert len(endpoints(kubelet)) == 1
            assert await kubelet.prepare(NAME, CLAIM) == {"uid-1": PrepareResult()}
            driver.report({"g0": Health.HEALTHY})
            await kubelet.sees("g0", Health.HEALTHY)


async def test_a_relay_that_took_over_tells_all_again_when_the_one_before_ends_since_the_kubelet_then_forgets(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """It clears what it knows of a driver when any of its streams ends; the next heartbeat is up to 5 s away."""
    caplog.set_level("INFO")

    def listener() -> Listener:
        return Listener(Answers(lambda: b"", _nothing, lambda: ()), node.run_dir / "relay.sock", None)

    async with node.relay(ManualClock()) as relay, node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        before = listener()
        await before.start()
        driver.report({"g0": Health.UNHEALTHY})
        await kubelet.sees("g0", Health.UNHEALTHY)
        (registration,) = kubelet.registrations
        reports = len(registration.reports)
        taking = asyncio.create_task(listen(after := listener(), relay.retell))
        async with asyncio.timeout(5):
            while "another relay runs here" not in caplog.text:
                await asyncio.sleep(0)
        await before.stop()
        (report,) = await kubelet.reported(NAME, more_than=reports)
        assert report.health is Health.UNHEALTHY
        await taking
        await after.stop()


class Slow(FakeDriver):
    """Its prepares take until they may end."""

    def __init__(self, *where: Any, **how: Any) -> None:
        super().__init__(*where, **how)
        self.may = asyncio.Event()

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        await self.may.wait()
        return await super().prepare(claims)


async def test_a_stand_in_that_is_replaced_stays_for_a_kubelet_that_found_it_and_until_its_calls_have_ended(node: Node) -> None:
    """A kubelet that prepares a pod calls one driver after the other, by what was registered when it began, and drops the calls of a
    registration that goes; a prepare that fails costs its pod a minute."""
    clock = ManualClock()
    async with node.relay(clock), node.kubelet() as kubelet, AsyncExitStack() as former:
        await former.enter_async_context(FakeDriver(node.place, NAME, versions=(DRA_V1BETA1, DRA_V1)))
        old = await kubelet.registered(NAME)
        await former.aclose()
        async with Slow(node.place, NAME, versions=(DRA_V1, DRA_V1BETA1)) as driver:
            await becomes(lambda: len(endpoints(kubelet)) == 2, clock)
            async with PluginClient(old.endpoint) as client:
                call = asyncio.create_task(client.prepare(DRA_V1, [CLAIM]))
                later = clock.now() + LONGEST_CALL + 5
                await becomes(lambda: clock.now() > later, clock)
                assert not call.done()
                driver.may.set()
                assert await call == {"uid-1": PrepareResult()}
                await becomes(lambda: old.endpoint not in endpoints(kubelet), clock)


async def test_a_relay_that_ends_lets_its_calls_end_first(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with AsyncExitStack() as relaying, node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        await relaying.enter_async_context(node.relay())
        await kubelet.registered(NAME)
        await kubelet.prepare(NAME)
        driver.hang()
        call = asyncio.create_task(kubelet.prepare(NAME, CLAIM))
        await driver.called("NodePrepareResources", 2)
        ending = asyncio.create_task(relaying.aclose())
        async with asyncio.timeout(5):
            while "ends when its calls have" not in caplog.text and not ending.done():
                await asyncio.sleep(0)
        driver.resume()
        assert await call == {"uid-1": PrepareResult()}
        await ending
        await kubelet.gone(NAME)


async def test_a_relay_that_is_told_twice_to_end_waits_for_no_call(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    relay = Relay(RelaySettings(node.place / "plugins_registry", node.kubelet_place / "plugins_registry", node.run_dir))
    await relay.prepare()
    running = asyncio.create_task(relay.run())
    async with node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        await kubelet.registered(NAME)
        await kubelet.prepare(NAME)
        driver.hang()
        call = asyncio.create_task(kubelet.prepare(NAME, CLAIM))
        await driver.called("NodePrepareResources", 2)
        running.cancel()
        async with asyncio.timeout(5):
            while "ends when its calls have" not in caplog.text:
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        with pytest.raises(PluginUnreachable):
            await call


async def _nothing() -> bytes:
    return b""
