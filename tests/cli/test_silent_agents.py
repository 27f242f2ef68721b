"""Every reader says Unknown and why where an agent is silent or could not write a pod, and the truth again at once (rule 8)."""

import json
from collections.abc import Awaitable, Callable

import pytest

from podvitals.claim.times import rfc3339, rfc3339_micro
from podvitals.clock import SYSTEM
from podvitals.errors import NotFound
from podvitals.fleet.inventory import UNTOLD
from podvitals.kube.resources import LEASES, PODS
from tests.cli.cluster import NODE, Cluster, device

READERS = {
    "get pods": ("get", "pods"),
    "get devices": ("get", "devices"),
    "describe pod": ("describe", "pod", "trainer"),
    "describe device": ("describe", "device", "gpu-3"),
}


@pytest.fixture(autouse=True)
async def a_healthy_pod(cluster: Cluster) -> None:
    await cluster.agent_seen(3)
    await cluster.pod("trainer", device("gpu-3"))


async def old(cluster: Cluster) -> str:
    """SIGSTOP, a partition from the API, a machine that is off: nobody renews the Lease."""
    body = {"spec": {"renewTime": rfc3339_micro(SYSTEM.wall() - 41)}}
    await cluster.client.patch(LEASES, f"podvitals-{NODE}", body, "kube-system", kind="merge")
    return f"agent on {NODE} silent since"


async def deleted(cluster: Cluster) -> str:
    """The Lease, or the agent with all that was its."""
    await cluster.client.delete(LEASES, f"podvitals-{NODE}", "kube-system")
    return f"agent on {NODE} silent and has left no Lease"


async def untold(cluster: Cluster) -> str:
    """The agent lives, and says itself that it cannot write this pod."""
    pod = await cluster.client.get(PODS, "trainer", "default")
    named = {"metadata": {"annotations": {UNTOLD: json.dumps({pod.metadata.uid: rfc3339(SYSTEM.wall() - 60)})}}}
    await cluster.client.patch(LEASES, f"podvitals-{NODE}", named, "kube-system", kind="merge")
    return f"agent on {NODE} could not write this pod since"


async def back(cluster: Cluster) -> None:
    body = {"metadata": {"annotations": {UNTOLD: None}}, "spec": {"renewTime": rfc3339_micro(SYSTEM.wall())}}
    try:
        await cluster.client.patch(LEASES, f"podvitals-{NODE}", body, "kube-system", kind="merge")
    except NotFound:
        await cluster.agent_seen(0)


@pytest.mark.parametrize("silence", [old, deleted, untold])
@pytest.mark.parametrize("reader", READERS)
async def test_a_reader_says_unknown_and_why_and_the_truth_again_at_once(
    reader: str, silence: Callable[[Cluster], Awaitable[str]], cluster: Cluster
) -> None:
    why = await silence(cluster)
    _, out, _ = await cluster.run(*READERS[reader])
    told = " ".join(out.split())
    assert "Unknown" in told
    assert why in told
    assert "last known: Healthy" in told
    document = json.loads((await cluster.run(*READERS[reader], "-o", "json"))[1])
    said = document["items"][0] if "items" in document else document
    assert said["health"] == "Unknown"
    await back(cluster)
    assert "Unknown" not in (await cluster.run(*READERS[reader]))[1]


async def test_the_list_of_nodes_tells_since_when_an_agent_is_silent(cluster: Cluster) -> None:
    await old(cluster)
    _, out, _ = await cluster.run("get", "nodes")
    assert "silent for 4" in out
    (node,) = json.loads((await cluster.run("get", "nodes", "-o", "json"))[1])["items"]
    assert (node["agent"]["alive"], node["unknown"]) == (False, 1)
    await back(cluster)
    assert "alive" in (await cluster.run("get", "nodes"))[1]
