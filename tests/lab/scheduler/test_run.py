"""The scheduler as a client of the lab's API server: claims, allocation, binding, refusals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from podvitals.clock import SYSTEM
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.follow import follow
from podvitals.kube.resources import CLAIM_TEMPLATES, CLAIMS, DEVICE_CLASSES, EVENTS, NODES, SLICES, Resource
from podvitals.lab.api import ApiServer
from podvitals.lab.pods import RUNNABLE_PODS
from podvitals.lab.scheduler.run import Scheduler

DRIVER = "gpu.example.com"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with ApiServer() as server, Client(ClusterConfig(server.url)) as client:
        scheduler = asyncio.create_task(Scheduler(client, SYSTEM).run(), name="scheduler")
        await client.create(NODES, {"metadata": {"name": "lab"}})
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(NODES, "lab", ready, subresource="status")
        yield client
        scheduler.cancel()
        await asyncio.gather(scheduler, return_exceptions=True)


async def setup(client: Client, devices: int, expression: str = f'device.driver == "{DRIVER}"') -> None:
    pool = {"name": "lab", "generation": 1, "resourceSliceCount": 1}
    named = [{"name": f"gpu-{n}", "attributes": {"index": {"int": n}}} for n in range(devices)]
    await client.create(SLICES, {"metadata": {"name": "s"}, "spec": {"driver": DRIVER, "nodeName": "lab", "pool": pool, "devices": named}})
    await client.create(DEVICE_CLASSES, {"metadata": {"name": "gpu"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
    requests = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}
    await client.create(CLAIM_TEMPLATES, {"metadata": {"name": "one"}, "spec": {"spec": requests}}, "default")


def pod(name: str) -> dict[str, Any]:
    container = {"name": "main", "image": "none", "command": ["true"], "resources": {"claims": [{"name": "gpus"}]}}
    return {
        "metadata": {"name": name},
        "spec": {"containers": [container], "resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": "one"}]},
    }


async def seen(client: Client, resource: Resource[Any], holds: Any) -> Any:
    """The first object of the kind for which `holds`, waiting for it on the watch."""
    async with asyncio.timeout(10), aclosing(follow(client, resource)) as changes:
        async for change in changes:
            if change.object is not None and change.kind != "deleted" and holds(change.object):
                return change.object
    raise AssertionError("unreachable")


async def test_a_pod_is_bound_with_its_device_reserved(client: Client) -> None:
    await setup(client, 1)
    await client.create(RUNNABLE_PODS, pod("a"), "default")
    bound = await seen(client, RUNNABLE_PODS, lambda p: p.spec.node_name)
    claim = await client.get(CLAIMS, bound.status.resource_claim_statuses[0].resource_claim_name, "default")
    assert claim.metadata.name.startswith("a-gpus-")
    assert claim.status.allocation is not None
    assert claim.status.allocation.devices.results[0].device == "gpu-0"
    assert claim.status.reserved_for[0].uid == bound.metadata.uid
    assert bound.condition("PodScheduled").status == "True"
    event = await seen(client, EVENTS, lambda e: e.reason == "Scheduled")
    assert event.message == "Successfully assigned default/a to lab"


async def test_a_claim_nobody_can_satisfy_leaves_the_pod_pending_and_says_why_until_a_device_comes(client: Client) -> None:
    await setup(client, 0)
    await client.create(RUNNABLE_PODS, pod("a"), "default")
    event = await seen(client, EVENTS, lambda e: e.reason == "FailedScheduling")
    assert 'wants 1 device of class "gpu", and none can be had (0 devices on this node considered)' in event.message
    waiting = await client.get(RUNNABLE_PODS, "a", "default")
    assert waiting.status.phase == "Pending"
    condition = waiting.condition("PodScheduled")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "Unschedulable")
    pool = {"name": "lab", "generation": 2, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": "lab", "pool": pool, "devices": [{"name": "gpu-0"}]}
    await client.create(SLICES, {"metadata": {"name": "later"}, "spec": spec})
    await seen(client, RUNNABLE_PODS, lambda p: p.spec.node_name)


async def test_an_expression_the_lab_cannot_evaluate_is_named_in_the_event(client: Client) -> None:
    await setup(client, 2, "cel.bind(x, device.driver, x == 'gpu.example.com')")
    await client.create(RUNNABLE_PODS, pod("a"), "default")
    event = await seen(client, EVENTS, lambda e: e.reason == "FailedScheduling")
    assert 'device class "gpu": selector #0' in event.message
    assert "uses 'bind', which the lab's CEL does not have" in event.message


async def test_a_deleted_pod_gives_its_device_to_the_one_that_waits(client: Client) -> None:
    await setup(client, 1)
    await client.create(RUNNABLE_PODS, pod("a"), "default")
    await seen(client, RUNNABLE_PODS, lambda p: p.spec.node_name)
    await client.create(RUNNABLE_PODS, pod("b"), "default")
    await seen(client, EVENTS, lambda e: e.reason == "FailedScheduling")
    await client.delete(RUNNABLE_PODS, "a", "default", grace=0)
    bound = await seen(client, RUNNABLE_PODS, lambda p: p.metadata.name == "b" and p.spec.node_name)
    assert bound.metadata.name == "b"
    left = await client.list(CLAIMS, "default")
    assert [claim.metadata.name.rpartition("-")[0] for claim in left.items] == ["b-gpus"]


async def test_an_ended_pods_claim_is_deleted(client: Client) -> None:
    await setup(client, 1)
    await client.create(RUNNABLE_PODS, pod("a"), "default")
    bound = await seen(client, RUNNABLE_PODS, lambda p: p.spec.node_name)
    async with asyncio.timeout(10), aclosing(follow(client, CLAIMS)) as changes:
        async for change in changes:
            if change.kind == "synced":
                await client.patch(RUNNABLE_PODS, bound.metadata.name, {"status": {"phase": "Failed"}}, "default", subresource="status")
            if change.kind == "deleted":
                break
