"""Creating, replacing, patching, deleting: what the server fills in, what it refuses, and in which words."""

import json
from typing import Any

import pytest

from podvitals.errors import NotFound
from podvitals.kube.resources import LEASES, NAMESPACES, PODS
from tests.api.subject import Json, Subject, refused


async def test_a_new_object_gets_what_the_server_gives(subject: Subject) -> None:
    made = await subject.create_pod(labels={"app": "x"})
    meta = made["metadata"]
    assert len(meta["uid"]) == 36
    assert meta["creationTimestamp"].endswith("Z")
    assert (meta["generation"], meta["labels"]) == (1, {"app": "x"})
    assert (made["kind"], made["apiVersion"], made["status"]["phase"]) == ("Pod", "v1", "Pending")
    assert (made["spec"]["restartPolicy"], made["spec"]["terminationGracePeriodSeconds"]) == ("Always", 30)
    assert await subject.get_pod() == made


async def test_creating_it_twice_is_a_conflict(subject: Subject) -> None:
    await subject.create_pod()
    await refused(subject.create_pod(), 409, "AlreadyExists", 'pods "a" already exists')


async def test_a_generated_name_begins_as_asked_and_is_new_each_time(subject: Subject) -> None:
    body = subject.pod()
    body["metadata"] = {"generateName": "made-"}
    names = {(await subject.client.create(PODS, body, subject.namespace)).metadata.name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("made-") and len(name) == len("made-") + 5 for name in names)


async def test_nothing_can_be_created_in_a_namespace_that_does_not_exist(subject: Subject) -> None:
    body = subject.pod()
    del body["metadata"]["namespace"]
    await refused(subject.client.create(PODS, body, "no-such-namespace"), 404, "NotFound", 'namespaces "no-such-namespace" not found')


async def test_the_body_must_agree_with_the_path(subject: Subject) -> None:
    told = "the namespace of the provided object does not match the namespace sent on the request"
    await refused(subject.client.create(PODS, subject.pod(), "default"), 400, "BadRequest", told)
    made = await subject.create_pod()
    told = "the name of the object (a) does not match the name on the URL (b)"
    await refused(subject.client.replace(PODS, "b", made, subject.namespace), 400, "BadRequest", told)
    other = subject.pod("b") | {"kind": "Node"}
    await refused(subject.client.create(PODS, other), 400, "BadRequest", "Node")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"metadata": {"name": "Not_a_name"}}, 'metadata.name: Invalid value: "Not_a_name"'),
        ({"metadata": {}}, "name or generateName is required"),
        ({"spec": {"containers": []}}, "spec.containers: Required value"),
        ({"spec": {"containers": [{"name": "c"}]}}, "spec.containers[0].image: Required value"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers[0].name: Required value"),
        (
            {"spec": {"containers": [{"name": "c", "image": "x"}, {"name": "c", "image": "x"}]}},
            'spec.containers[1].name: Duplicate value: "c"',
        ),
        ({"spec": {"containers": [{"name": "c", "image": "x"}], "restartPolicy": "Sometimes"}}, "spec.restartPolicy: Unsupported value"),
    ],
)
async def test_a_pod_that_makes_no_sense_is_refused_with_the_field(subject: Subject, change: Json, told: str) -> None:
    await refused(subject.client.create(PODS, subject.pod() | change, subject.namespace), 422, "Invalid", told)


async def test_a_container_cannot_use_a_claim_the_pod_does_not_name(subject: Subject) -> None:
    body = subject.pod()
    body["spec"]["containers"][0]["resources"] = {"claims": [{"name": "gpus"}]}
    await refused(subject.client.create(PODS, body), 422, "Invalid", 'spec.containers[0].resources.claims[0]: Not found: "gpus"')


async def test_an_unknown_field_is_refused_when_asked_and_dropped_otherwise(subject: Subject) -> None:
    body = subject.pod()
    body["spec"]["containers"][0]["imagee"] = "x"
    told = 'strict decoding error: unknown field "spec.containers[0].imagee"'
    await refused(subject.client.create(PODS, body, strict=True), 400, "BadRequest", told)
    made = await subject.client.create(PODS.untyped(), body)
    assert "imagee" not in made["spec"]["containers"][0]
    patch = {"spec": {"activeDeadlineSecond": 1}}
    call = subject.client.patch(PODS, "a", patch, subject.namespace, strict=True)
    await refused(call, 422, "Invalid", 'strict decoding error: unknown field "spec.activeDeadlineSecond"')


@pytest.mark.parametrize(("body", "told"), [(b"{", ""), (b"[]", ""), (b'{"apiVersion": "v1", "kind": "Pod", "spec": 7}', "spec")])
async def test_a_body_that_is_no_pod_is_refused(subject: Subject, body: bytes, told: str) -> None:
    await refused(subject.client.raw("POST", PODS.path(subject.namespace), body=body), 400, "BadRequest", told)


async def test_a_body_in_another_language_is_refused(subject: Subject) -> None:
    call = subject.client.raw("POST", PODS.path(subject.namespace), body=b"x", content_type="text/plain")
    await refused(call, 415, "UnsupportedMediaType")
    await subject.create_pod()
    call = subject.client.raw("PATCH", PODS.path(subject.namespace, "a"), body=b"{}", content_type="application/json")
    await refused(call, 415, "UnsupportedMediaType")


async def test_replacing_needs_the_version_that_was_read(subject: Subject) -> None:
    old = await subject.create_pod()
    new = await subject.client.patch(PODS.untyped(), "a", {"metadata": {"labels": {"app": "x"}}}, subject.namespace)
    told = "the object has been modified; please apply your changes to the latest version and try again"
    await refused(subject.client.replace(PODS, "a", old, subject.namespace), 409, "Conflict", told)
    assert (await subject.client.replace(PODS.untyped(), "a", new, subject.namespace))["metadata"] == new["metadata"], "nothing changed"
    new["metadata"]["labels"]["app"] = "y"
    replaced = await subject.client.replace(PODS.untyped(), "a", new, subject.namespace)
    assert int(replaced["metadata"]["resourceVersion"]) > int(new["metadata"]["resourceVersion"])
    assert replaced["metadata"]["labels"] == {"app": "y"}


async def test_a_patch_with_an_old_version_or_another_uid_is_refused(subject: Subject) -> None:
    old = await subject.create_pod()
    await subject.client.patch(PODS, "a", {"metadata": {"labels": {"app": "x"}}}, subject.namespace)
    stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"], "labels": {"app": "y"}}}
    await refused(subject.client.patch(PODS, "a", stale, subject.namespace), 409, "Conflict", "the object has been modified")
    other = {"metadata": {"uid": "2f1c0000-0000-4000-8000-000000000000", "labels": {"app": "y"}}}
    await refused(subject.client.patch(PODS, "a", other, subject.namespace), 422, "Invalid", "metadata.uid: Invalid value")
    assert (await subject.get_pod())["metadata"]["labels"] == {"app": "x"}


async def test_what_is_missing_cannot_be_replaced_patched_or_deleted(subject: Subject) -> None:
    body: Any = subject.pod()
    for call in (
        subject.client.replace(PODS, "a", body, subject.namespace),
        subject.client.patch(PODS, "a", {}, subject.namespace),
        subject.client.patch(PODS, "a", {}, subject.namespace, subresource="status"),
        subject.client.delete(PODS, "a", subject.namespace),
    ):
        await refused(call, 404, "NotFound", 'pods "a" not found')


@pytest.mark.parametrize("kind", ["strategic", "merge"])
async def test_a_null_in_a_patch_takes_a_key_away(subject: Subject, kind: Any) -> None:
    await subject.create_pod(labels={"a": "1", "b": "2"})
    patch = {"metadata": {"labels": {"a": None, "c": "3"}}}
    got = await subject.client.patch(PODS, "a", patch, subject.namespace, kind=kind)
    assert got.metadata.labels == {"b": "2", "c": "3"}


async def test_a_merge_patch_replaces_lists_and_a_json_patch_tests_and_removes(subject: Subject) -> None:
    await subject.create_pod(finalizers=["example.com/a", "example.com/b"])
    patch: Json = {"metadata": {"finalizers": ["example.com/a"]}}
    got = await subject.client.patch(PODS, "a", patch, subject.namespace, kind="merge")
    assert got.metadata.finalizers == ("example.com/a",)
    wrong = [{"op": "test", "path": "/metadata/name", "value": "b"}, {"op": "remove", "path": "/metadata/finalizers"}]
    await refused(subject.client.patch(PODS, "a", wrong, subject.namespace, kind="json"), 422, "Invalid")
    right = [{"op": "test", "path": "/metadata/name", "value": "a"}, {"op": "remove", "path": "/metadata/finalizers"}]
    assert (await subject.client.patch(PODS, "a", right, subject.namespace, kind="json")).metadata.finalizers == ()


async def test_the_spec_of_a_running_pod_cannot_be_changed_but_for_a_few_fields(subject: Subject) -> None:
    await subject.create_pod()
    patch: Json = {"spec": {"terminationGracePeriodSeconds": 7}}
    await refused(subject.client.patch(PODS, "a", patch, subject.namespace), 422, "Invalid", "pod updates may not change fields other than")
    changed = await subject.client.patch(PODS, "a", {"spec": {"activeDeadlineSeconds": 99}}, subject.namespace)
    assert changed.metadata.generation == 2, "a spec that changed is a new generation"
    labelled = await subject.client.patch(PODS, "a", {"metadata": {"labels": {"x": "y"}}}, subject.namespace)
    assert labelled.metadata.generation == 2, "labels are not spec"


async def test_a_pod_on_no_node_is_deleted_at_once(subject: Subject) -> None:
    await subject.create_pod()
    await subject.client.delete(PODS, "a", subject.namespace)
    with pytest.raises(NotFound):
        await subject.get_pod()


async def test_a_pod_on_a_node_is_marked_and_stays_until_the_kubelet_lets_go(subject: Subject) -> None:
    await subject.create_pod(node="n1")
    async with subject.watching(PODS) as seen:
        await subject.client.delete(PODS, "a", subject.namespace, grace=25)
        kind, marked = await seen.next()
        assert kind == "MODIFIED"
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 25
        assert marked["metadata"]["deletionTimestamp"].endswith("Z")
        assert marked["metadata"]["generation"] == 2
        await subject.client.delete(PODS, "a", subject.namespace, grace=0)
        events = [await seen.next()]
        if events[-1][0] == "MODIFIED":
            events.append(await seen.next())
        assert events[-1][0] == "DELETED"


async def test_a_uid_keeps_a_delete_from_hitting_a_namesake(subject: Subject) -> None:
    made = await subject.create_pod()
    call = subject.client.delete(PODS, "a", subject.namespace, uid="2f1c0000-0000-4000-8000-000000000000")
    await refused(call, 409, "Conflict", "does not match the UID in record")
    await subject.client.delete(PODS, "a", subject.namespace, uid=made["metadata"]["uid"])
    await refused(subject.get_pod(), 404, "NotFound")


async def test_a_finalizer_holds_an_object_that_was_deleted(subject: Subject) -> None:
    await subject.create_pod(finalizers=["example.com/hold"])
    await subject.client.delete(PODS, "a", subject.namespace)
    assert "deletionTimestamp" in (await subject.get_pod())["metadata"]
    await subject.client.patch(PODS, "a", {"metadata": {"finalizers": None}}, subject.namespace, kind="merge")
    await refused(subject.get_pod(), 404, "NotFound")


async def test_all_that_a_selector_names_are_deleted_together(subject: Subject) -> None:
    for name, labels in (("a", {"app": "x"}), ("b", {"app": "x"}), ("c", {"app": "y"})):
        await subject.create_pod(name, labels=labels)
    await subject.client.delete(PODS, None, subject.namespace, labels="app=x")
    assert await subject.names(PODS) == ["c"]


async def test_a_namespace_is_an_object_of_no_namespace(subject: Subject) -> None:
    got = await subject.client.get(NAMESPACES, subject.namespace)
    assert (got.metadata.namespace, got.status.phase) == ("", "Active")
    await refused(subject.client.create(NAMESPACES, {"metadata": {"name": subject.namespace}}), 409, "AlreadyExists")


async def test_a_lease_keeps_its_microseconds_and_its_versions(subject: Subject) -> None:
    spec: Json = {"holderIdentity": "n", "leaseDurationSeconds": 40, "renewTime": "2026-11-23T12:00:00.123456Z"}
    made = await subject.client.create(LEASES.untyped(), {"metadata": {"name": "l", "namespace": subject.namespace}, "spec": spec})
    assert made["spec"] == spec
    made["spec"]["renewTime"] = "2026-11-23T12:00:10.000001Z"
    renewed = await subject.client.replace(LEASES.untyped(), "l", made, subject.namespace)
    assert renewed["spec"]["renewTime"] == "2026-11-23T12:00:10.000001Z"
    await refused(subject.client.replace(LEASES, "l", made, subject.namespace), 409, "Conflict")
    patched = await subject.client.patch(LEASES, "l", {"spec": {"renewTime": "2026-11-23T12:00:20.000000Z"}}, subject.namespace)
    assert patched.spec.renew_time == "2026-11-23T12:00:20.000000Z"
    wrong: Json = {"spec": {"renewTime": "yesterday"}}
    await refused(subject.client.patch(LEASES, "l", wrong, subject.namespace), 422, "Invalid", 'parsing time "yesterday"')


async def test_what_a_write_answers_is_what_a_read_gives(subject: Subject) -> None:
    made = await subject.create_pod()
    patched = await subject.client.patch(PODS.untyped(), "a", {"metadata": {"annotations": {"x": "y"}}}, subject.namespace)
    assert patched == await subject.get_pod()
    assert json.dumps(patched["spec"], sort_keys=True) == json.dumps(made["spec"], sort_keys=True)
