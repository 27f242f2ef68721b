"""The whole agent between a driver on a real socket and the lab's API server: what a reader of the API sees."""

import asyncio
import logging
import math
from dataclasses import replace
from pathlib import Path

import aiohttp
import msgspec
import pytest

from podvitals.agent.compose import AgentSettings
from podvitals.agent.log import Json, KeyValue
from podvitals.clock import SYSTEM
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.verdict import ACTIONS
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import EVENTS, LEASES, PODS
from podvitals.lab.api import ApiServer
from podvitals.pod.entry import ANNOTATION, CONDITION
from podvitals.testing import FakeDriver
from podvitals.wire.messages import DeviceReport
from tests.agent.cluster import DRIVER, Cluster, annotation, reports, shown
from tests.agent.proxy import Proxy

METRICS = (
    "reports_total",
    "device_changes_total",
    "leases_ended_total",
    "build_info",
    "patch_seconds_bucket",
    "devices",
    "device_actions",
    "driver_connected",
    "pods",
    "pods_dirty",
    "pods_untold",
    "lease_age_seconds",
    "checkpoint_seconds",
    "checkpoint_failing",
    "ready",
)


async def test_a_device_breaks_and_its_pod_says_so(cluster: Cluster, driver: FakeDriver) -> None:
    async with cluster.agent():
        made = await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
        driver.report(reports(Health.UNHEALTHY, "Xid 79"))
        pod = await cluster.condition("a", "False")
        condition = pod.condition(CONDITION)
        assert condition is not None
        assert condition.message == f"1 of 1 device unhealthy; {DRIVER}/node1/gpu-0: Xid 79"
        (entry,) = (await cluster.annotated("a", Health.UNHEALTHY)).entries
        assert (entry.container, entry.claim, entry.claim_name, entry.request) == ("train", "gpus", "a-gpus", "gpu")
        assert (entry.message, entry.action, entry.since) == ("Xid 79", "reset-gpu", entry.faults[0].start)
        driver.report(reports(Health.HEALTHY))
        (entry,) = (await cluster.annotated("a", Health.HEALTHY)).entries
        assert [fault.until is not None for fault in entry.faults] == [True]
        events = await cluster.seen(EVENTS, lambda events: len(events) == 2)
        assert sorted(event.reason for event in events.values()) == ["DeviceRecovered", "DeviceUnhealthy"]
        assert {event.involved_object.uid for event in events.values()} == {made.metadata.uid}
        assert not any(status.allocated_resources_status for status in pod.status.container_statuses)


async def test_at_a_leases_end_condition_and_annotation_change_together(cluster: Cluster, driver: FakeDriver) -> None:
    driver.report(reports(Health.HEALTHY, lease=1.0))
    async with cluster.agent():
        await cluster.pod("a", "gpu-0")
        await cluster.annotated("a", Health.HEALTHY)
        driver.hang()
        pod = await cluster.condition("a", "Unknown")
        assert [entry.health for entry in annotation(pod).entries] == [Health.UNKNOWN]
        driver.resume()
        driver.report(reports(Health.HEALTHY, lease=30.0))
        pod = await cluster.condition("a", "True")
        assert [entry.health for entry in annotation(pod).entries] == [Health.HEALTHY]


async def test_a_fault_during_an_outage_of_the_api_is_told_after_it(tmp_path: Path, driver: FakeDriver) -> None:
    async with ApiServer() as api, Proxy(api.url) as proxy:
        async with Client(ClusterConfig(api.url)) as client, Client(ClusterConfig(proxy.url)) as behind:
            cluster = Cluster(tmp_path, client)
            async with cluster.agent(client=behind) as agent:
                await cluster.pod("a", "gpu-0")
                await cluster.condition("a", "True")
                await proxy.cut()
                driver.report(reports(Health.UNHEALTHY, "Xid 79"))
                async with asyncio.timeout(5):
                    while not agent.desk.outbox.untold(math.inf):
                        await asyncio.sleep(0)
                driver.report(reports(Health.UNHEALTHY, "Xid 31"))
                await proxy.mend()
                await cluster.condition("a", "False")
                await cluster.seen(PODS, lambda pods: [entry.message for entry in annotation(pods["a"]).entries] == ["Xid 31"])


async def test_after_a_sleep_nothing_is_vouched_for_before_the_leases_that_ended_in_it_have_ended_here(
    cluster: Cluster, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster.agent() as agent:
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
        assert not agent.vouch(False).withheld
        (state,) = agent.node.states().values()
        monkeypatch.setattr(agent.node, "states", lambda: {state.key: replace(state, deadline=SYSTEM.now() - 1)})
        assert agent.vouch(False).withheld
        assert not agent.vouch(True).withheld


async def test_hostile_words_of_a_driver_reach_no_reader_as_they_are(
    cluster: Cluster, driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with cluster.agent():
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
        driver.report(reports(Health.UNHEALTHY, "\x1b[2J\u202egnp.exe \x00\r\n\t\u2028\x9b31m"))
        pod = await cluster.condition("a", "False")
        said = await cluster.annotated("a", Health.UNHEALTHY)
        events = await cluster.seen(EVENTS, lambda events: len(events) == 1)
    condition = pod.condition(CONDITION)
    assert condition is not None
    texts = [said.entries[0].message, said.entries[0].faults[0].message, condition.message or ""]
    texts += [event.message for event in events.values()]
    texts += [form.format(record) for record in caplog.records for form in (KeyValue(), Json())]
    assert all("gnp.exe" in text for text in texts[:4])
    assert all(text.isprintable() for text in texts)


async def test_a_restarted_agent_goes_on_where_the_last_one_stopped(cluster: Cluster, driver: FakeDriver) -> None:
    driver.report(reports(Health.UNHEALTHY, "Xid 79"))
    async with cluster.agent():
        await cluster.pod("a", "gpu-0")
        before = annotation(await cluster.condition("a", "False"))
    version = (await cluster.client.get(PODS, "a", "default")).metadata.resource_version
    async with cluster.agent() as agent:
        await agent.synced.wait()
        await cluster.pod("b", "gpu-0")
        await cluster.condition("b", "False")
        pod = await cluster.client.get(PODS, "a", "default")
        assert (annotation(pod), pod.metadata.resource_version) == (before, version)
        # Also that of "a", although its agent may have ended before it was written; and never twice.
        events = await cluster.seen(EVENTS, lambda events: len(events) == 2)
        assert [event.count for event in events.values()] == [1, 1]


async def test_a_pod_that_ended_keeps_its_health_over_a_restart_and_without_its_claim(cluster: Cluster, driver: FakeDriver) -> None:
    driver.report(reports(Health.UNHEALTHY, "Xid 79"))
    async with cluster.agent():
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "False")
        await cluster.end("a")
        await cluster.seen(PODS, lambda pods: "a" in pods and annotation(pods["a"]).ended is not None)
    driver.report(reports(Health.HEALTHY))
    async with cluster.agent() as agent:
        await agent.synced.wait()
        await cluster.pod("b", "gpu-0")
        await cluster.condition("b", "True")
        assert shown(await cluster.client.get(PODS, "a", "default")) == "False"
        removal = {"metadata": {"annotations": {ANNOTATION: None}}}
        await cluster.client.patch(PODS, "a", removal, "default", subresource="status")
        await cluster.annotated("a", Health.UNHEALTHY)
        async with cluster.asking() as ask:
            (device,) = (await ask("/state"))["devices"]
            assert [holder["pod"] for holder in device["holders"]] == ["b"]


async def test_a_pod_that_ended_while_nobody_watched_has_the_health_it_ended_with(cluster: Cluster, tmp_path: Path) -> None:
    # So many that the checkpoint is read for longer than the API server takes to list pods.
    names = [f"gpu-{number}" for number in range(1500)]
    async with FakeDriver(tmp_path, DRIVER) as driver, cluster.agent():
        driver.report([DeviceReport("node1", name, Health.UNHEALTHY, 1000.0, 300.0, "Xid 79", "") for name in names])
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "False")
    await cluster.end("a")
    async with cluster.agent():
        await cluster.seen(PODS, lambda pods: "a" in pods and annotation(pods["a"]).ended is not None)
        (entry,) = (await cluster.annotated("a", Health.UNHEALTHY)).entries
        assert [fault.message for fault in entry.faults] == ["Xid 79"]


async def test_what_is_remembered_of_a_living_pod_is_checked_against_its_claims(cluster: Cluster, driver: FakeDriver) -> None:
    pod = await cluster.pod("a", "gpu-0")
    async with cluster.agent():
        await cluster.annotated("a", Health.HEALTHY)
    (memo,) = await cluster.memory()
    wrong = tuple(replace(holding, key=DeviceKey(DRIVER, "node1", "gpu-9")) for holding in memo.holdings)
    await cluster.remember({pod.metadata.uid: msgspec.structs.replace(memo, holdings=wrong)})
    driver.report([*reports(Health.HEALTHY), *reports(Health.HEALTHY, device="gpu-9")])
    async with cluster.agent() as agent:
        await agent.synced.wait()
        driver.report(reports(Health.UNHEALTHY, "Xid 79"))
        await cluster.condition("a", "False")


async def test_a_pod_that_went_while_nobody_watched_is_forgotten(cluster: Cluster, driver: FakeDriver) -> None:
    async with cluster.agent():
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
    assert [memo.name for memo in await cluster.memory()] == ["a"]
    await cluster.client.delete(PODS, "a", "default", grace=0)
    async with cluster.agent() as agent:
        await agent.synced.wait()
    assert await cluster.memory() == []


async def test_a_pod_that_was_deleted_is_forgotten(cluster: Cluster, driver: FakeDriver) -> None:
    async with cluster.agent() as agent, cluster.asking() as ask:
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
        assert len((await ask("/state"))["pods"]) == 1
        await cluster.client.delete(PODS, "a", "default", grace=0)
        async with asyncio.timeout(5):
            while len(agent.desk.book):
                await asyncio.sleep(0)
        assert (await ask("/state"))["pods"] == []


async def test_what_another_writer_changes_is_put_right(cluster: Cluster, driver: FakeDriver) -> None:
    async with cluster.agent():
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
        removal = {
            "metadata": {"annotations": {ANNOTATION: "nonsense"}},
            "status": {"conditions": [{"type": CONDITION, "status": "False"}]},
        }
        await cluster.client.patch(PODS, "a", removal, "default", subresource="status")
        await cluster.seen(PODS, lambda pods: shown(pods["a"]) == "True" and pods["a"].metadata.annotations[ANNOTATION] != "nonsense")


async def test_the_agent_tells_what_it_knows(cluster: Cluster, driver: FakeDriver) -> None:
    async with cluster.agent(), aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(cluster.settings.socket))) as session:
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
        state = await (await session.get("http://agent/state")).json()
        assert (state["node"], state["ready"]) == ("node1", True)
        assert [(one["driver"], one["connected"], one["devices"]) for one in state["drivers"]] == [(DRIVER, True, 1)]
        (endpoint,), (first,) = state["drivers"], state["devices"]
        assert [name for name in (*endpoint, *first) if "_" in name] == []
        assert all(time.endswith("Z") for time in (endpoint["since"], endpoint["speaksSince"], endpoint["lastReport"], first["since"]))
        assert endpoint["smallestLeaseSeconds"] > 0
        assert [(one["device"], one["health"], one["holders"][0]["pod"]) for one in state["devices"]] == [("gpu-0", "Healthy", "a")]
        assert [(one["pod"], one["health"]) for one in state["pods"]] == [("a", "Healthy")]
        metrics = await (await session.get("http://agent/metrics")).text()
        assert 'podvitals_devices{health="Healthy"} 1.0' in metrics
        assert f'podvitals_reports_total{{driver="{DRIVER}",source=""}} 1.0' in metrics
        counted = {line.partition("{")[0].partition(" ")[0] for line in metrics.splitlines() if line.startswith("podvitals_")}
        assert counted >= {f"podvitals_{name}" for name in METRICS}
        assert 'podvitals_patch_seconds_count{outcome="sent"}' in metrics
        assert (await session.get("http://agent/readyz")).status == 200
        leases = await cluster.seen(LEASES, lambda leases: "podvitals-node1" in leases, "kube-system")
        assert leases["podvitals-node1"].spec.holder_identity == "node1"


async def test_what_somebody_has_to_do_is_told_to_machines_apart_from_the_reason(cluster: Cluster, driver: FakeDriver) -> None:
    async with cluster.agent(), aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(cluster.settings.socket))) as session:
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
        for asked, counted in (("power-cycle", "power-cycle"), ("shout at it", "other"), ("", "")):
            driver.report([DeviceReport("node1", "gpu-0", Health.UNHEALTHY, 1000.0, 30.0, f"broken: {asked}", asked)])
            await cluster.seen(PODS, lambda pods, asked=asked: [e.message for e in annotation(pods["a"]).entries] == [f"broken: {asked}"])  # type: ignore[misc]
            (entry,) = annotation(await cluster.client.get(PODS, "a", "default")).entries
            assert (entry.message, entry.action) == (f"broken: {asked}", asked)
            (device,) = (await (await session.get("http://agent/state")).json())["devices"]
            assert device["action"] == asked
            metrics = await (await session.get("http://agent/metrics")).text()
            waiting = {action: f'podvitals_device_actions{{action="{action}"}} 1.0' in metrics for action in (*ACTIONS, "other")}
            assert {action for action, is_so in waiting.items() if is_so} == ({counted} - {""})


async def test_a_driver_that_is_left_is_believed_as_the_kubelet_does(cluster: Cluster, driver: FakeDriver) -> None:
    settings = AgentSettings("node1", cluster.settings.plugin_dir, cluster.settings.state_dir, leave=frozenset({DRIVER}))
    async with cluster.agent(settings) as agent:
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "Unknown")
        said = {"name": "claim:gpus", "resources": [{"resourceID": "v/gpu=0", "health": "Unhealthy", "message": "Xid 79"}]}
        status = {"status": {"containerStatuses": [{"name": "train", "allocatedResourcesStatus": [said]}]}}
        await cluster.client.patch(PODS, "a", status, "default", subresource="status")
        await cluster.condition("a", "False")
        await cluster.pod("b", "gpu-1", "gpu-2")
        said["resources"] = [{"resourceID": "v/gpu=all", "health": "Healthy"}]
        await cluster.client.patch(PODS, "b", status, "default", subresource="status")
        await cluster.seen(PODS, lambda pods: "b" in pods and "does not say which" in str(pods["b"].condition(CONDITION)))
        assert shown(await cluster.client.get(PODS, "b", "default")) == "Unknown"
        # Nor is it an alert that nobody speaks for it.
        assert "podvitals_driver_connected{" not in (await agent.metrics.text()).decode()
    assert driver.calls["NodeWatchResources"] == 0
