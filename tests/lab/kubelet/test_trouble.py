"""The field while the API server has trouble: nothing is dropped, the newest is written first, and nobody is stormed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer
from podvitals.lab.kubelet import publish
from podvitals.lab.kubelet.status import FORGOTTEN
from podvitals.lab.pods import RUNNABLE_PODS
from tests.agent.faulty import Faulty, hang, refusal, reset
from tests.lab.kubelet.fakes import FakeDrivers
from tests.lab.kubelet.place import GPU, Lab, furnish, gpu_pod, health, main, node, running, sh, use_gpu

FAULTS = {
    "409": refusal(409, "Conflict"),
    "410": refusal(410, "Expired"),
    "422": refusal(422, "Invalid"),
    "429": refusal(429, "TooManyRequests", Retry_After="1"),
    "500": refusal(500, "InternalError"),
    "503": refusal(503, "ServiceUnavailable"),
    "hangs": hang,
    "resets": reset,
}


async def _stays() -> None:
    """These kubelets are ended by their fixture."""


@pytest.fixture
async def troubled(tmp_path: Path) -> AsyncIterator[tuple[Lab, Faulty]]:
    """A kubelet that reaches its API server through one that fails as it is told; readers go straight to it."""
    furnish(tmp_path)
    drivers = FakeDrivers()
    async with ApiServer() as server, Faulty(server.url) as faulty:
        async with Client(ClusterConfig(server.url)) as client, Client(ClusterConfig(faulty.url)) as behind:
            async with node(behind, drivers, tmp_path) as kubelet:
                yield Lab(client, kubelet, drivers, tmp_path, _stays), faulty


@pytest.mark.parametrize("name", FAULTS)
async def test_what_changed_in_the_time_of_trouble_is_seen_as_it_is_now(
    troubled: tuple[Lab, Faulty], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "PATCH_TIMEOUT", 0.2)
    lab, api = troubled
    use_gpu(lab)
    lab.drivers.set(GPU, Health.HEALTHY)
    await gpu_pod(lab, "sleep 1000")
    await lab.sees(lambda pod: running(pod) and health(pod))
    written = asyncio.create_task(lab.sees(lambda pod: running(pod) and health(pod)[0][1] == "Unhealthy"))
    api.begin(FAULTS[name])
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    await api.meeting.wait()
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 31")
    api.end()
    first = health(await written)[0][2]
    # A request whose connection broke is repeated once by the client, as it was.
    assert first == "Xid 31" or name == "resets", "what is written first is the newest"
    await lab.sees(lambda pod: health(pod) and health(pod)[0][2] == "Xid 31")


async def test_while_the_api_is_gone_one_asks_for_all_and_afterwards_every_pod_tells_its_newest(troubled: tuple[Lab, Faulty]) -> None:
    lab, api = troubled
    use_gpu(lab)
    pods = [f"p{number}" for number in range(12)]
    keys = {pod: DeviceKey(GPU.driver, GPU.pool, f"gpu-{pod}") for pod in pods}
    lab.drivers.plugins[GPU.driver].devices = ()
    for pod in pods:
        lab.drivers.health[keys[pod]] = Health.HEALTHY, ""
        claims = [{"name": "gpus", "resourceClaimName": pod}]
        await lab.run(sh("sleep 1000", resources={"claims": [{"name": "gpus"}]}), name=pod, resourceClaims=claims)
        await lab.claim(pod, pods=(pod,), devices=(keys[pod].device,))
    for pod in pods:
        await lab.sees(lambda seen, pod=pod: seen.metadata.name == pod and running(seen) and health(seen))  # type: ignore[misc]
    api.begin(refusal(503, "ServiceUnavailable"))
    changes = 0
    # Each pod changes many times while nothing can be written.
    while api.met < 12:
        changes += 1
        for pod in pods:
            lab.drivers.set(keys[pod], Health.UNHEALTHY, f"n={changes}")
        await asyncio.sleep(0)
    assert lab.kubelet.statuses.waiting == len(pods)
    before = api.met
    for pod in pods:
        lab.drivers.set(keys[pod], Health.UNHEALTHY, "the last word")
    await asyncio.sleep(0)
    assert api.met - before <= 1, "a change does not ask a server in trouble again"
    api.end()
    for pod in pods:
        seen = await lab.sees(lambda seen, pod=pod: seen.metadata.name == pod and health(seen)[0][2] == "the last word")  # type: ignore[misc]
        assert main(seen).state.running is not None
    assert changes * len(pods) > api.met, "what was not written was not queued"


async def test_a_pod_is_removed_although_its_last_status_is_refused(troubled: tuple[Lab, Faulty]) -> None:
    lab, api = troubled
    await lab.run(sh("sleep 1000"))
    await lab.sees(running)
    api.begin(FAULTS["409"])
    gone = asyncio.create_task(lab.gone())
    await lab.client.delete(RUNNABLE_PODS, "p", "default", grace=1)
    await gone


async def test_a_kubelet_that_begins_anew_says_unknown_until_it_knows_the_claims(tmp_path: Path) -> None:
    furnish(tmp_path)
    drivers = FakeDrivers()
    async with ApiServer() as server, Faulty(server.url) as api:
        async with Client(ClusterConfig(server.url)) as client, Client(ClusterConfig(api.url)) as behind:
            async with node(client, drivers, tmp_path) as kubelet:
                lab = Lab(client, kubelet, drivers, tmp_path, _stays)
                use_gpu(lab)
                drivers.set(GPU, Health.HEALTHY)
                await gpu_pod(lab, "sleep 1000")
                named = health(await lab.sees(lambda pod: running(pod) and health(pod)))[0][0]
            api.on = lambda request: "resourceclaims" in request.path
            api.begin(hang)
            async with node(behind, drivers, tmp_path):
                assert health(await lab.sees(lambda pod: not running(pod))) == [(named, "Unknown", FORGOTTEN)]
