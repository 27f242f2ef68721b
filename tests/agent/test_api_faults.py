"""Whatever the API server answers, or does not: no change is lost, the newest is told, and the Lease says no more than is so."""

import asyncio
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from podvitals.claim.times import rfc3339_micro
from podvitals.device.health import Health
from podvitals.fleet.inventory import agent_view, pod_view
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import EVENTS, LEASES, PODS
from podvitals.lab.api import ApiServer
from podvitals.pod import publish
from podvitals.pod.entry import CONDITION
from podvitals.testing import FakeDriver
from tests.agent.cluster import Cluster, annotation, reports, shown
from tests.agent.faulty import Fault, Faulty, hang, refusal, reset


async def later_by_date(request: web.Request) -> web.StreamResponse:
    now = 1_800_000_000.0
    return await refusal(429, "TooManyRequests", Date=formatdate(now, usegmt=True), Retry_After=formatdate(now + 1, usegmt=True))(request)


FAULTS = {
    "409": refusal(409, "Conflict"),
    "410": refusal(410, "Expired"),
    "422": refusal(422, "Invalid"),
    "429 for a second": refusal(429, "TooManyRequests", Retry_After="1"),
    "429 until a date": later_by_date,
    "500": refusal(500, "InternalError"),
    "503": refusal(503, "ServiceUnavailable"),
    "hangs": hang,
    "resets": reset,
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Faulty]:
    async with ApiServer() as server, Faulty(server.url) as api:
        yield api


@pytest.fixture
async def client(api: Faulty) -> AsyncIterator[Client]:
    async with Client(ClusterConfig(api.url)) as client:
        yield client


@pytest.fixture
def place(tmp_path: Path, client: Client) -> Cluster:
    return Cluster(tmp_path, client)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_change_meets_a_fault_and_the_newest_truth_arrives_after_it(
    name: str, api: Faulty, place: Cluster, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "PATCH_TIMEOUT", 1.0)  # what is left hanging is given up
    async with place.agent() as agent:
        await place.pod("a", "gpu-0")
        await place.condition("a", "True")
        api.begin(FAULTS[name])
        driver.report(reports(Health.UNHEALTHY, "Xid 79"))
        await asyncio.wait_for(api.meeting.wait(), 10)
        driver.report(reports(Health.UNHEALTHY, "Xid 31"))
        async with asyncio.timeout(10):
            while not any(state.message == "Xid 31" for state in agent.node.states().values()):
                await asyncio.sleep(0)
        api.end()
        pods = await place.seen(PODS, lambda pods: "Xid 31" in str(pods["a"].condition(CONDITION)))
        assert shown(pods["a"]) == "False"
        await place.seen(PODS, lambda pods: [entry.message for entry in annotation(pods["a"]).entries] == ["Xid 31"])


async def test_one_pod_that_is_refused_costs_its_neighbours_nothing(api: Faulty, place: Cluster, driver: FakeDriver) -> None:
    driver.report([*reports(Health.HEALTHY), *reports(Health.HEALTHY, device="gpu-1")])
    async with place.agent():
        await place.pod("a", "gpu-0")
        await place.pod("b", "gpu-1")
        await place.condition("a", "True")
        await place.condition("b", "True")
        api.on = lambda request: request.path.endswith("/pods/a/status")
        api.begin(refusal(403, "Forbidden"))
        driver.report([*reports(Health.UNHEALTHY, "Xid 79"), *reports(Health.UNHEALTHY, "Xid 79", device="gpu-1")])
        await place.condition("b", "False")
        assert shown(await place.client.get(PODS, "a", "default")) == "True"
        api.end()
        await place.condition("a", "False")


async def test_an_agent_that_comes_back_vouches_for_nothing_it_has_not_told(
    api: Faulty, place: Cluster, driver: FakeDriver, client: Client
) -> None:
    """An hour-old Healthy must not become news again because its agent is back before its first patch arrives."""
    async with place.agent():
        pod = await place.pod("a", "gpu-0")
        await place.condition("a", "True")
        await place.seen(LEASES, lambda leases: "podvitals-node1" in leases, "kube-system")
    old = {"spec": {"renewTime": rfc3339_micro(client.wall() - 3600)}}
    await client.patch(LEASES, "podvitals-node1", old, "kube-system", kind="merge")
    driver.report(reports(Health.UNHEALTHY, "Xid 79"))
    api.begin(refusal(403, "Forbidden"))
    async with place.agent():
        leases = await place.seen(LEASES, lambda leases: agent_view("node1", leases["podvitals-node1"]).alive(client.wall()), "kube-system")
        agent = agent_view("node1", leases["podvitals-node1"])
        assert set(agent.untold) == {pod.metadata.uid}
        assert pod_view(await client.get(PODS, "a", "default"), agent, client.wall()).health is Health.UNKNOWN
        api.end()
        leases = await place.seen(LEASES, lambda leases: not agent_view("node1", leases["podvitals-node1"]).untold, "kube-system")
        agent = agent_view("node1", leases["podvitals-node1"])
        assert pod_view(await client.get(PODS, "a", "default"), agent, client.wall()).health is Health.UNHEALTHY


@pytest.mark.parametrize("fault", [refusal(403, "Forbidden"), refusal(500), hang], ids=["403", "500", "hangs"])
async def test_before_its_pods_were_seen_an_agent_does_not_vouch_for_them(
    fault: Fault, api: Faulty, place: Cluster, driver: FakeDriver, client: Client
) -> None:
    async with place.agent():
        await place.pod("a", "gpu-0")
        await place.condition("a", "True")
        await place.seen(LEASES, lambda leases: "podvitals-node1" in leases, "kube-system")
    old = {"spec": {"renewTime": rfc3339_micro(client.wall() - 3600)}}
    before = await client.patch(LEASES, "podvitals-node1", old, "kube-system", kind="merge")
    api.on = lambda request: request.method == "GET" and request.path.endswith("/api/v1/pods")
    api.begin(fault)
    async with place.agent():
        await asyncio.wait_for(api.meeting.wait(), 10)
        assert (await client.get(LEASES, "podvitals-node1", "kube-system")).spec == before.spec
        api.end()
        if fault is not hang:
            await place.seen(LEASES, lambda leases: agent_view("node1", leases["podvitals-node1"]).alive(client.wall()), "kube-system")


async def test_events_are_written_after_the_fault_that_kept_them(api: Faulty, place: Cluster, driver: FakeDriver) -> None:
    async with place.agent():
        await place.pod("a", "gpu-0")
        await place.condition("a", "True")
        api.on = lambda request: request.path.endswith("/events")
        api.begin(refusal(409, "Conflict"))
        driver.report(reports(Health.UNHEALTHY, "Xid 79"))
        await place.condition("a", "False")
        api.end()
        driver.report(reports(Health.HEALTHY))
        await place.seen(EVENTS, lambda events: "DeviceRecovered" in {event.reason for event in events.values()})
