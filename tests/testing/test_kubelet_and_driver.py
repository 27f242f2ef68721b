"""The two fakes are each other's first users."""

from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.errors import PluginUnreachable
from podvitals.testing import FakeDriver, FakeKubelet
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1, ClaimRef, PreparedDevice, PrepareResult

CLAIM = ClaimRef("ml", "uid-1", "gpus")


async def test_a_driver_is_found_registered_and_heard(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, FakeDriver(short) as driver:
        driver.report({"gpu-3": Health.HEALTHY})
        await kubelet.sees("gpu-3", Health.HEALTHY)
        assert (await kubelet.registered("gpu.example.com")).endpoint == str(driver.endpoint)
        assert driver.notified == [(True, "")]
        assert driver.calls == {"GetInfo": 1, "NotifyRegistrationStatus": 1, "NodeWatchResources": 1}
        driver.report({"gpu-3": Health.UNHEALTHY})
        report = await kubelet.sees("node1/gpu-3", Health.UNHEALTHY, message="")
        assert kubelet.last("gpu.example.com/node1/gpu-3") is report


async def test_a_driver_that_was_there_first_is_found_too(short: Path) -> None:
    async with FakeDriver(short) as driver:
        driver.report({"gpu-3": Health.UNKNOWN})
        async with FakeKubelet(short) as kubelet:
            await kubelet.sees("gpu-3", Health.UNKNOWN)


async def test_what_is_not_seen_is_told_with_what_was(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, FakeDriver(short) as driver:
        driver.report({"gpu-3": Health.HEALTHY})
        await kubelet.sees("gpu-3", Health.HEALTHY)
        with pytest.raises(AssertionError, match=r"gpu-3 Unhealthy; seen: gpu\.example\.com: node1/gpu-3 Healthy"):
            await kubelet.sees("gpu-3", Health.UNHEALTHY, timeout=0.05)


async def test_claims_go_to_the_first_dra_version_listed(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, FakeDriver(short, versions=[DRA_V1BETA1, DRA_V1]) as driver:
        answer = PrepareResult((PreparedDevice(("gpu",), "node1", "gpu-3", ("example.com/gpu=3",)),))
        driver.answers["uid-1"] = answer
        assert await kubelet.prepare(driver.name, CLAIM) == {"uid-1": answer}
        assert driver.prepared == {"uid-1": CLAIM}
        assert await kubelet.prepare(driver.name) == {}
        assert await kubelet.unprepare(driver.name, CLAIM) == {"uid-1": ""}
        assert driver.prepared == {}
        assert driver.calls["NodePrepareResources"] == 2


@pytest.mark.parametrize(
    ("served", "known", "watched"),
    [
        ((HEALTH_V1, HEALTH_V1ALPHA1), None, HEALTH_V1),
        ((HEALTH_V1ALPHA1,), None, HEALTH_V1ALPHA1),
        ((HEALTH_V1, HEALTH_V1ALPHA1), HEALTH_V1ALPHA1, HEALTH_V1ALPHA1),
    ],
)
async def test_the_newest_health_version_both_know_is_watched(
    short: Path, served: tuple[str, ...], known: str | None, watched: str
) -> None:
    async with FakeKubelet(short, health_version=known) as kubelet, FakeDriver(short, versions=(DRA_V1, *served)) as driver:
        driver.report({"gpu-3": Health.HEALTHY})
        await kubelet.sees("gpu-3", Health.HEALTHY)
        assert kubelet.registrations[0].health_version == watched


async def test_a_driver_without_health_is_left_alone_and_called(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, FakeDriver(short, unimplemented=True) as driver:
        assert await kubelet.prepare(driver.name, CLAIM) == {"uid-1": PrepareResult()}
        with pytest.raises(AssertionError, match="NodeWatchResources is not served"):
            await kubelet.sees("gpu-3", Health.HEALTHY, timeout=0.2)


async def test_a_hung_driver_says_nothing_until_it_resumes(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, FakeDriver(short) as driver:
        driver.report({"gpu-3": Health.HEALTHY})
        await kubelet.sees("gpu-3", Health.HEALTHY)
        driver.hang()
        driver.report({"gpu-3": Health.UNHEALTHY})
        await driver.gate.reached()
        with pytest.raises(AssertionError):
            await kubelet.sees("gpu-3", Health.UNHEALTHY, timeout=0.05)
        driver.resume()
        await kubelet.sees("gpu-3", Health.UNHEALTHY)


async def test_a_crash_leaves_sockets_that_the_next_start_takes_over(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, FakeDriver(short) as driver:
        driver.report({"gpu-3": Health.HEALTHY})
        await kubelet.sees("gpu-3", Health.HEALTHY)
        await driver.crash()
        assert driver.endpoint.is_socket()
        assert driver.registration_path.is_socket()
        with pytest.raises(PluginUnreachable):
            await kubelet.prepare(driver.name, CLAIM)
        driver.report({"gpu-3": Health.UNHEALTHY})
        await driver.start()
        await kubelet.sees("gpu-3", Health.UNHEALTHY)
        assert driver.calls["GetInfo"] == 2


async def test_a_driver_that_stops_is_deregistered(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, FakeDriver(short) as driver:
        await kubelet.registered(driver.name)
        await driver.stop()
        await kubelet.gone(driver.name)
        assert not driver.endpoint.exists()


async def test_a_restarted_kubelet_finds_every_driver_again(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, FakeDriver(short) as driver, FakeDriver(short, pod_uid="pod-2") as newer:
        driver.report({"gpu-3": Health.HEALTHY})
        newer.report({"gpu-4": Health.HEALTHY})
        await kubelet.sees("gpu-3", Health.HEALTHY)
        await kubelet.sees("gpu-4", Health.HEALTHY)
        await kubelet.restart()
        await kubelet.sees("gpu-3", Health.HEALTHY)
        await kubelet.sees("gpu-4", Health.HEALTHY)
        assert (driver.calls["GetInfo"], newer.calls["GetInfo"]) == (2, 2)
        await driver.watched(1)
