"""deploy/agent-policy.yaml: what an agent's token can do besides what an agent does. That agents work under it, the rest of the suite
shows: all of them run with it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from tests.cluster.api import Api, Object, Refused
from tests.cluster.cluster import NODE, Cluster

POD = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "none"}]}
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
READY = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
OURS = {**READY, "type": "podvitals.dev/DevicesHealthy"}
REFUSED: dict[str, Object] = {
    "a label": {"metadata": {"labels": {"team": "other"}}},
    "a finalizer": {"metadata": {"finalizers": ["example.com/kept"]}},
    "somebody's annotation": {"metadata": {"annotations": {"prometheus.io/scrape": "false"}}},
    "a new annotation": {"metadata": {"annotations": {"example.com/new": "1"}}},
    "the end of an annotation": {"metadata": {"annotations": {"prometheus.io/scrape": None}}},
    "readiness": {"status": {"conditions": [READY]}},
    "a condition of somebody": {"status": {"conditions": [{**READY, "type": "example.com/Ready"}]}},
    "its end": {"status": {"phase": "Failed"}},
    "an address": {"status": {"podIP": "10.1.2.3", "podIPs": [{"$patch": "replace"}, {"ip": "10.1.2.3"}]}},
    "containers": {"status": {"containerStatuses": None}},
    "its reason": {"status": {"reason": "Evicted", "message": "it was in the way"}},
}


@pytest.fixture
async def agent(cluster: Cluster) -> AsyncIterator[Api]:
    """With an agent's token."""
    async with Api(await asyncio.to_thread(cluster.kubeconfig_for_service_account, "kube-system", "podvitals-agent")) as api:
        yield api


@pytest.fixture
async def pods(api: Api) -> AsyncIterator[str]:
    """Of a namespace of the test's own: `ours` on this node, running, and `theirs` on another."""
    name = "policy"
    await api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    pods = f"/api/v1/namespaces/{name}/pods"
    meta = {"annotations": {"prometheus.io/scrape": "true"}, "labels": {"team": "ml"}}
    await api.create(pods, {"metadata": {"name": "ours", **meta}, "spec": {**POD, "nodeName": NODE}})
    await api.create(pods, {"metadata": {"name": "theirs", **meta}, "spec": {**POD, "nodeName": "another-node"}})
    await api.until(pods, lambda pod: pod["status"].get("phase") == "Running", fields="metadata.name=ours", within=30)
    yield pods
    for pod in ("ours", "theirs"):
        await api.delete(f"{pods}/{pod}")
    await api.delete(f"/api/v1/namespaces/{name}")


async def in_force(agent: Api, method: str, path: str, body: Object, kind: str) -> None:
    """An API server learns of a policy by a watch of its own, a moment after it was made: asks, without writing, until it refuses."""
    async with asyncio.timeout(20):
        while True:
            try:
                await agent.request(method, f"{path}?dryRun=All", body, kind=kind)
            except Refused:
                return
            await asyncio.sleep(0.05)


async def test_an_agents_token_writes_of_a_pod_of_its_node_the_condition_and_the_annotation_and_nothing_else(agent: Api, pods: str) -> None:
    told = {"metadata": {"annotations": {"podvitals.dev/devices": "{}"}}, "status": {"conditions": [OURS]}}
    await in_force(agent, "PATCH", f"{pods}/ours/status", REFUSED["a label"], "strategic-merge-patch+json")
    await agent.patch_status(f"{pods}/ours", told)
    await agent.patch_status(f"{pods}/ours", {"metadata": {"annotations": {"podvitals.dev/devices": None}}})
    for what, patch in REFUSED.items():
        with pytest.raises(Refused, match="the podvitals agent may write"):
            pytest.fail(f"it could write {what}: {await agent.patch_status(f'{pods}/ours', patch)}")
    with pytest.raises(Refused, match="its own node's pods alone"):
        await agent.patch_status(f"{pods}/theirs", told)


async def test_an_agents_token_keeps_its_nodes_lease_and_no_other(agent: Api, api: Api) -> None:
    spec = {"holderIdentity": "me", "leaseDurationSeconds": 40, "renewTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
    theirs = {"metadata": {"name": "podvitals-another-node"}, "spec": spec}
    await in_force(agent, "POST", LEASES, theirs, "json")
    with pytest.raises(Refused, match="its own node alone"):
        await agent.create(LEASES, theirs)
    await api.create(LEASES, theirs)
    with pytest.raises(Refused, match="its own node alone"):
        await agent.request("PATCH", f"{LEASES}/podvitals-another-node", {"spec": {"holderIdentity": "me"}}, kind="merge-patch+json")
    await api.delete(f"{LEASES}/podvitals-another-node")
