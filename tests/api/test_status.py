"""The status subresource: what the agent, the lab's kubelet and drivers write, and how it merges with what others wrote."""

from typing import Any

import pytest

from podvitals.kube.resources import CLAIM_TEMPLATES, CLAIMS, NODES, PODS
from tests.api.subject import Json, Subject, refused

MINE = {"type": "podvitals.dev/DevicesHealthy", "status": "False", "reason": "DeviceUnhealthy", "message": "gpu-3: Xid 79"}
READY = {"type": "Ready", "status": "True"}


def conditions(body: Json) -> dict[str, Json]:
    return {condition["type"]: condition for condition in body["status"]["conditions"]}


async def test_a_condition_is_merged_by_its_type_and_leaves_the_others_alone(subject: Subject) -> None:
    await subject.create_pod()
    await subject.patch_status({"status": {"conditions": [READY]}})
    await subject.patch_status({"status": {"conditions": [MINE]}})
    both = await subject.patch_status({"status": {"conditions": [MINE | {"status": "True", "message": ""}]}})
    got = conditions(both)
    assert got.keys() == {"Ready", MINE["type"]}
    assert (got["Ready"]["status"], got[MINE["type"]]["status"]) == ("True", "True")
    assert len(both["status"]["conditions"]) == 2
    gone = await subject.patch_status({"status": {"conditions": [{"$patch": "delete", "type": "Ready"}]}})
    assert conditions(gone).keys() == {MINE["type"]}


async def test_the_agent_s_one_patch_writes_condition_and_annotation_together(subject: Subject) -> None:
    made = await subject.create_pod(annotations={"theirs": "kept"})
    patch: Json = {
        "metadata": {"uid": made["metadata"]["uid"], "annotations": {"podvitals.dev/devices": "[]"}},
        "status": {"conditions": [MINE]},
    }
    got = await subject.patch_status(patch)
    assert got["metadata"]["annotations"] == {"theirs": "kept", "podvitals.dev/devices": "[]"}
    assert conditions(got)[MINE["type"]]["message"] == "gpu-3: Xid 79"
    again = await subject.patch_status(patch)
    assert again["metadata"]["resourceVersion"] == got["metadata"]["resourceVersion"], "an unchanged status is no change"
    gone = await subject.patch_status({"metadata": {"annotations": {"podvitals.dev/devices": None}}})
    assert gone["metadata"]["annotations"] == {"theirs": "kept"}


async def test_a_patch_of_an_earlier_pod_of_that_name_is_refused(subject: Subject) -> None:
    await subject.create_pod()
    patch = {"metadata": {"uid": "2f1c0000-0000-4000-8000-000000000000"}, "status": {"conditions": [MINE]}}
    await refused(subject.patch_status(patch), 422, "Invalid", 'Pod "a" is invalid: metadata.uid: Invalid value')
    assert "conditions" not in (await subject.get_pod())["status"]


async def test_status_and_the_rest_do_not_mix(subject: Subject) -> None:
    made = await subject.client.create(PODS.untyped(), subject.pod() | {"status": {"phase": "Running", "message": "x"}})
    assert (made["status"]["phase"], "message" in made["status"]) == ("Pending", False), "a new object brings no status"
    patched = await subject.client.patch(PODS.untyped(), "a", {"status": {"message": "x"}}, subject.namespace)
    assert "message" not in patched["status"], "the main resource ignores status"
    assert patched["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    status = await subject.patch_status({"spec": {"activeDeadlineSeconds": 5}, "status": {"message": "y"}})
    assert "activeDeadlineSeconds" not in status["spec"], "the status subresource ignores spec"
    assert (status["status"]["message"], status["metadata"]["generation"]) == ("y", 1)
    status["spec"]["activeDeadlineSeconds"] = 5
    status["status"]["message"] = "z"
    put = await subject.client.replace(PODS.untyped(), "a", status, subject.namespace, subresource="status")
    assert (put["status"]["message"], "activeDeadlineSeconds" in put["spec"]) == ("z", False)
    await refused(subject.client.replace(PODS, "a", status, subject.namespace, subresource="status"), 409, "Conflict", "has been modified")


async def test_a_status_patch_is_seen_by_a_watch_once(subject: Subject) -> None:
    await subject.create_pod()
    async with subject.watching(PODS) as seen:
        for _ in range(3):
            await subject.patch_status({"status": {"conditions": [MINE]}})
        await subject.patch_status({"status": {"message": "after"}})
        first, second = [await seen.next() for _ in range(2)]
    assert conditions(first[1])[MINE["type"]]["status"] == "False"
    assert second[1]["status"]["message"] == "after"


def container(name: str, **more: Any) -> Json:
    return {"name": name, "image": "x", "imageID": "", "ready": True, "restartCount": 0} | more


def health(name: str, *devices: tuple[str, str, str]) -> Json:
    resources = [{"resourceID": device, "health": state} | ({"message": why} if why else {}) for device, state, why in devices]
    return {"name": name, "resources": resources}


async def test_a_kubelet_s_field_is_kept_with_its_messages(subject: Subject) -> None:
    body = subject.pod()
    body["spec"]["resourceClaims"] = [{"name": "gpus", "resourceClaimName": "gpus"}]
    body["spec"]["containers"][0]["resources"] = {"claims": [{"name": "gpus"}]}
    await subject.client.create(PODS, body)
    one = container("main", allocatedResourcesStatus=[health("claim:gpus", ("d/p/g1", "Unhealthy", "Xid 79"))])
    got = await subject.patch_status({"status": {"containerStatuses": [one]}})
    assert got["status"]["containerStatuses"][0]["allocatedResourcesStatus"] == one["allocatedResourcesStatus"]
    two = {"name": "main", "allocatedResourcesStatus": [health("claim:gpus", ("d/p/g1", "Healthy", ""))]}
    got = await subject.patch_status({"status": {"containerStatuses": [two]}})
    assert got["status"]["containerStatuses"][0]["allocatedResourcesStatus"] == two["allocatedResourcesStatus"]
    assert got["status"]["containerStatuses"][0]["ready"] is False, "container statuses are replaced, not merged"
    typed = await subject.client.get(PODS, "a", subject.namespace)
    assert typed.status.container_statuses[0].allocated_resources_status[0].resources[0].health == "Healthy"


@pytest.mark.parametrize("size", [262_144 - len("podvitals.dev/devices"), 262_145])
async def test_annotations_have_a_limit_and_beyond_it_the_condition_is_lost_too(subject: Subject, size: int) -> None:
    await subject.create_pod()
    patch: Json = {"metadata": {"annotations": {"podvitals.dev/devices": "x" * size}}, "status": {"conditions": [MINE]}}
    if size <= 262_144:
        assert len((await subject.patch_status(patch))["metadata"]["annotations"]["podvitals.dev/devices"]) == size
    else:
        await refused(subject.patch_status(patch), 422, "Invalid", "metadata.annotations: Too long: may not be more than 262144 bytes")
        assert "conditions" not in (await subject.get_pod())["status"]


async def test_a_pod_s_claims_are_told_in_its_status(subject: Subject) -> None:
    body = subject.pod()
    body["spec"]["resourceClaims"] = [{"name": "gpus", "resourceClaimTemplateName": "t"}]
    await subject.client.create(PODS, body)
    got = await subject.patch_status({"status": {"resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": "a-gpus-x"}]}})
    assert got["status"]["resourceClaimStatuses"] == [{"name": "gpus", "resourceClaimName": "a-gpus-x"}]
    again = await subject.patch_status({"status": {"resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": "a-gpus-x"}]}})
    assert again["status"]["resourceClaimStatuses"] == [{"name": "gpus", "resourceClaimName": "a-gpus-x"}], "merged by name"


def claim(name: str = "c") -> Json:
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}
    return {"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}


def allocated(device: str = "g1", request: str = "gpu") -> Json:
    result = {"request": request, "driver": "gpu.example.com", "pool": "n1", "device": device}
    return {"devices": {"results": [result]}}


async def consumer(subject: Subject, name: str) -> Json:
    """A pod that exists: the real control plane takes reservations for others away."""
    made = await subject.create_pod(name)
    return {"resource": "pods", "name": name, "uid": made["metadata"]["uid"]}


async def test_a_claim_gets_its_defaults_and_its_spec_never_changes(subject: Subject) -> None:
    made = await subject.client.create(CLAIMS.untyped(), claim() | {"status": {"allocation": allocated()}}, subject.namespace)
    assert made["spec"]["devices"]["requests"][0]["exactly"] == {
        "deviceClassName": "gpu.example.com",
        "allocationMode": "ExactCount",
        "count": 1,
    }
    assert made.get("status", {}) == {}
    patch: Json = {"spec": {"devices": {"requests": []}}}
    await refused(subject.client.patch(CLAIMS, "c", patch, subject.namespace, kind="merge"), 422, "Invalid", "field is immutable")


async def test_an_allocation_is_status_and_is_reserved_for_pods(subject: Subject) -> None:
    made = await subject.client.create(CLAIMS.untyped(), claim(), subject.namespace)
    reserved = [await consumer(subject, "a")]
    made["status"] = {"allocation": allocated(), "reservedFor": reserved}
    got = await subject.client.replace(CLAIMS.untyped(), "c", made, subject.namespace, subresource="status")
    assert got["status"]["reservedFor"] == reserved
    assert got["status"]["allocation"]["devices"]["results"][0]["device"] == "g1"
    other: Json = {"status": {"allocation": allocated("g2")}}
    call = subject.client.patch(CLAIMS, "c", other, subject.namespace, subresource="status", kind="merge")
    await refused(call, 422, "Invalid", "status.allocation")
    freed = await subject.client.patch(
        CLAIMS.untyped(), "c", {"status": {"reservedFor": None, "allocation": None}}, subject.namespace, subresource="status", kind="merge"
    )
    assert freed.get("status", {}) == {}


async def test_a_claim_must_be_allocated_before_it_is_reserved(subject: Subject) -> None:
    made = await subject.client.create(CLAIMS.untyped(), claim(), subject.namespace)
    made["status"] = {"reservedFor": [{"resource": "pods", "name": "a", "uid": "2f1c0000-0000-4000-8000-000000000000"}]}
    call = subject.client.replace(CLAIMS, "c", made, subject.namespace, subresource="status")
    await refused(call, 422, "Invalid", "may not be specified when `allocated` is not set")


async def test_the_consumers_of_a_claim_are_merged_by_uid(subject: Subject) -> None:
    made = await subject.client.create(CLAIMS.untyped(), claim(), subject.namespace)
    one, two = await consumer(subject, "a"), await consumer(subject, "b")
    made["status"] = {"allocation": allocated(), "reservedFor": [one]}
    await subject.client.replace(CLAIMS, "c", made, subject.namespace, subresource="status")
    patch: Json = {"status": {"reservedFor": [two]}}
    got = await subject.client.patch(CLAIMS, "c", patch, subject.namespace, subresource="status")
    assert {each.uid for each in got.status.reserved_for} == {one["uid"], two["uid"]}
    patch = {"status": {"reservedFor": [{"$patch": "delete", "uid": one["uid"]}]}}
    got = await subject.client.patch(CLAIMS, "c", patch, subject.namespace, subresource="status")
    assert {each.uid for each in got.status.reserved_for} == {two["uid"]}


async def test_a_claim_template_never_changes(subject: Subject) -> None:
    body: Json = {"metadata": {"name": "t"}, "spec": {"spec": claim()["spec"]}}
    await subject.client.create(CLAIM_TEMPLATES, body, subject.namespace)
    patch: Json = {"spec": {"spec": {"devices": {"requests": []}}}}
    await refused(subject.client.patch(CLAIM_TEMPLATES, "t", patch, subject.namespace, kind="merge"), 422, "Invalid", "field is immutable")


async def test_a_node_is_made_and_reports_its_conditions(subject: Subject) -> None:
    name = f"{subject.namespace}-node"
    await subject.client.create(NODES, {"metadata": {"name": name, "labels": {"a": "b"}}})
    try:
        ready: Json = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}
        await subject.client.patch(NODES, name, ready, subresource="status")
        await subject.client.patch(
            NODES,
            name,
            {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}, {"type": "X", "status": "True"}]}},
            subresource="status",
        )
        got = await subject.client.get(NODES.untyped(), name)
        assert {kind: condition["status"] for kind, condition in conditions(got).items()} == {"Ready": "Unknown", "X": "True"}
        assert conditions(got)["Ready"]["reason"] == "KubeletReady"
    finally:
        await subject.client.delete(NODES, name)
