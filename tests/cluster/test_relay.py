"""A driver behind the relay, under a real kubelet: what its pods' own field says, and when (CONTRACT §5)."""

import asyncio
import time
from signal import SIGCONT, SIGSTOP

from podvitals.device.health import Health
from podvitals.wire.messages import DRA_V1, HEALTH_V1, DeviceReport
from tests.cluster.relayed import TAKEN, Relayed
from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import field_of, healths


@needs(Shown.MESSAGE)
async def test_a_fault_reaches_the_field_and_leaves_it_again(relayed: Relayed) -> None:
    relayed.start()
    async with relayed.world.scripted("d0") as driver:
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
        driver.say("d0", Health.UNHEALTHY, "fell off the bus", lease=300)
        await relayed.world.pod("trainer", lambda pod: [*field_of(pod).values()] == [("Unhealthy", "fell off the bus")])
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


@needs(Shown.MESSAGE)
async def test_a_hung_drivers_lease_ends_in_the_field_in_time_and_what_returns_unchanged_is_shown_again(relayed: Relayed) -> None:
    """The kubelet alone: 73.5 s, and 86 s of fresh Healthy reports while the pod still says Unknown."""
    relayed.start()
    async with relayed.world.scripted("d0") as driver:
        await relayed.world.run_pod()
        driver.say("d0", Health.HEALTHY, lease=3)
        said = time.monotonic()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
        pod = await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unknown"])
        assert time.monotonic() - said > 2.5
        assert "last known: Healthy" in next(iter(field_of(pod).values()))[1]
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


@needs(Shown.MESSAGE)
async def test_a_drivers_crash_within_its_lease_is_not_seen_and_its_health_not_forgotten(relayed: Relayed) -> None:
    relayed.start()
    async with relayed.world.scripted("d0") as driver:
        driver.say("d0", Health.UNHEALTHY, "broken", lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        seen: list[list[str]] = []
        async with relayed.world.api.watching(relayed.world.pods) as events:
            await driver.crash()
            await driver.start()
            await driver.watched()
            driver.say("d0", Health.UNHEALTHY, "still broken", lease=300)
            async with asyncio.timeout(10):
                async for _, pod, _ in events:
                    seen.append(healths(pod))
                    if [*field_of(pod).values()] == [("Unhealthy", "still broken")]:
                        break
        assert all(one == ["Unhealthy"] for one in seen), seen


async def test_a_pod_that_starts_while_its_driver_is_away_waits_and_then_runs(relayed: Relayed) -> None:
    """The kubelet alone fails the prepare, and tries it again 60 to 90 s later."""
    relayed.start()
    async with relayed.world.scripted("d0") as driver:
        await driver.crash()
        await relayed.world.create_pod("trainer")
        await relayed.world.pod("trainer", lambda pod: pod["spec"].get("nodeName"))
        await relayed.holds_a_call()
        await driver.start()
        await relayed.world.pod("trainer", lambda pod: pod["status"].get("phase") == "Running", within=15)


async def test_a_killed_relay_comes_back_and_the_field_is_right_again(relayed: Relayed) -> None:
    relay = relayed.start()
    async with relayed.world.scripted("d0") as driver:
        driver.say("d0", Health.UNHEALTHY, "broken", lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        relay.kill()
        relayed.start()
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"], within=15)


async def test_other_versions_of_a_driver_take_over_without_a_gap(relayed: Relayed) -> None:
    relayed.start()
    async with relayed.world.scripted("d0", versions=(DRA_V1,)) as driver:
        await driver.stop()
        driver.versions = (DRA_V1, HEALTH_V1)
        driver.registered.clear()
        await driver.start()
        async with asyncio.timeout(10):
            await driver.registered.wait()
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


@needs(Shown.MESSAGE)
async def test_a_rolling_update_of_a_driver_loses_nothing(relayed: Relayed) -> None:
    """The kubelet alone: the streams of two endpoints overwrite and clear each other."""
    relay = relayed.start()
    relayed.world.device("d0", "Unhealthy: broken")
    old = relayed.world.run_upstream("d0", health="every", rolling_update="old-1")
    await relay.says(TAKEN)
    await relayed.world.slice_of_driver()
    await relayed.world.run_pod()
    await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
    async with relayed.world.api.watching(relayed.world.pods) as events:
        new = relayed.world.run_upstream("d0", health="every", rolling_update="new-2")
        await new.says("serving")
        old.end()
        relayed.world.device("d0", "Unhealthy: still broken")
        seen = []
        async with asyncio.timeout(15):
            async for _, pod, _ in events:
                seen.append(healths(pod))
                if [*field_of(pod).values()] == [("Unhealthy", "still broken")]:
                    break
    assert all(one == ["Unhealthy"] for one in seen), seen


async def test_a_restarted_kubelet_takes_the_stand_in_and_the_field_is_right_again(relayed: Relayed) -> None:
    relayed.start()
    async with relayed.world.scripted("d0") as driver:
        driver.say("d0", Health.UNHEALTHY, "broken", lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        await asyncio.to_thread(relayed.world.cluster.restart_kubelet)
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"], within=20)


@needs(Shown.MESSAGE)
async def test_a_bypassed_driver_goes_on_under_the_kubelet_itself(relayed: Relayed) -> None:
    relay = relayed.start()
    async with relayed.world.scripted("d0") as driver:
        driver.say("d0", Health.HEALTHY, lease=300)
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
        relay.signal(SIGSTOP)  # the relay is the trouble
        driver.registered.clear()
        await relayed.bypass()
        async with asyncio.timeout(10):
            await driver.registered.wait()
        driver.say("d0", Health.UNHEALTHY, "seen without the relay", lease=300)
        await relayed.world.pod("trainer", lambda pod: [*field_of(pod).values()] == [("Unhealthy", "seen without the relay")])
        relay.signal(SIGCONT)
        await relayed.bypass("--end")


async def test_a_relay_that_is_replaced_by_another_is_not_missed(relayed: Relayed) -> None:
    """As a DaemonSet with maxSurge does it: the new one stands in, then the old one goes."""
    old = relayed.start()
    async with relayed.world.scripted("d0", "d1") as driver:
        driver.say_all([DeviceReport(driver.pool, name, Health.UNHEALTHY, time.time(), 300.0) for name in ("d0", "d1")])
        await relayed.world.run_pod()
        await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
        new = relayed.start()
        await new.says(TAKEN)
        old.end()
        await relayed.world.run_pod("second")
        await relayed.world.pod("second", lambda pod: healths(pod) == ["Unhealthy"])
        async with asyncio.timeout(10):
            while not (await relayed.state())["drivers"][0]["calls"]["passed"]:
                await asyncio.sleep(0.1)
