"""Lists: versions, order, selectors, pages."""

import asyncio

import pytest

from podvitals.errors import ServerFault
from podvitals.kube.resources import CLAIMS, EVENTS, NODES, PODS, SLICES
from tests.api.subject import Subject, refused


async def test_a_list_has_a_version_at_least_as_new_as_its_items(subject: Subject) -> None:
    await subject.create_pod("b")
    await subject.create_pod("a")
    listing = await subject.client.list(PODS, subject.namespace)
    assert [pod.metadata.name for pod in listing.items] == ["a", "b"]
    versions = [int(pod.metadata.resource_version) for pod in listing.items]
    assert versions[1] < versions[0] <= int(listing.resource_version)


async def test_a_list_says_its_kind_once(subject: Subject) -> None:
    await subject.create_pod()
    got = await subject.raw(PODS.path(subject.namespace))
    assert (got["kind"], got["apiVersion"]) == ("PodList", "v1")
    assert not {"kind", "apiVersion"} & got["items"][0].keys()
    claims = await subject.raw(CLAIMS.path(subject.namespace))
    assert (claims["kind"], claims["apiVersion"], claims["items"]) == ("ResourceClaimList", "resource.k8s.io/v1", [])


async def test_a_namespace_that_does_not_exist_has_no_pods(subject: Subject) -> None:
    assert (await subject.client.list(PODS, "no-such-namespace")).items == []


async def test_a_list_of_all_namespaces_says_of_which_each_is(subject: Subject) -> None:
    await subject.create_pod("only-here")
    everything = await subject.client.list(PODS)
    assert (subject.namespace, "only-here") in {(pod.metadata.namespace, pod.metadata.name) for pod in everything.items}
    ordered = [(pod.metadata.namespace, pod.metadata.name) for pod in everything.items]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ("app=x", ["a", "b"]),
        ("app==x,tier=1", ["a"]),
        ("app!=x", ["c", "d"]),
        ("app in (x, y),tier", ["a", "b", "c"]),
        ("app notin (x)", ["c", "d"]),
        ("tier", ["a", "b", "c"]),
        ("!tier", ["d"]),
        ("", ["a", "b", "c", "d"]),
    ],
)
async def test_labels_select(subject: Subject, labels: str, names: list[str]) -> None:
    await subject.create_pod("a", labels={"app": "x", "tier": "1"})
    await subject.create_pod("b", labels={"app": "x", "tier": "2"})
    await subject.create_pod("c", labels={"app": "y", "tier": "1"})
    await subject.create_pod("d")
    assert await subject.names(PODS, labels=labels) == names


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ("spec.nodeName=n1", ["a"]),
        ("spec.nodeName=", ["c"]),
        ("spec.nodeName!=n1", ["b", "c"]),
        ("metadata.name=b", ["b"]),
        ("spec.nodeName=n1,metadata.name=b", []),
        ("status.phase=Pending", ["a", "b", "c"]),
        ("status.phase!=Pending", []),
    ],
)
async def test_fields_of_pods_select(subject: Subject, fields: str, names: list[str]) -> None:
    await subject.create_pod("a", node="n1")
    await subject.create_pod("b", node="n2")
    await subject.create_pod("c")
    assert await subject.names(PODS, fields=fields) == names


async def test_fields_of_events_select(subject: Subject) -> None:
    for name, kind, uid in (("one", "Pod", "u1"), ("two", "Pod", "u2"), ("three", "Node", "u1")):
        about = {"kind": kind, "name": name, "uid": uid, "namespace": subject.namespace}
        body = {"metadata": {"name": name, "namespace": subject.namespace}, "involvedObject": about, "reason": f"R{name}", "type": "Normal"}
        await subject.client.create(EVENTS, body)
    assert await subject.names(EVENTS, fields="involvedObject.uid=u1") == ["one", "three"]
    assert await subject.names(EVENTS, fields="involvedObject.uid=u1,involvedObject.kind=Pod") == ["one"]
    assert await subject.names(EVENTS, fields=f"involvedObject.name=two,involvedObject.namespace={subject.namespace}") == ["two"]
    assert await subject.names(EVENTS, fields="reason=Rthree,type=Normal") == ["three"]


async def test_fields_of_slices_select(subject: Subject) -> None:
    name = subject.namespace  # slices have no namespace; this name is ours alone
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    for node in ("n1", "n2"):
        spec = {"driver": f"{name}.example.com", "pool": pool, "nodeName": node, "devices": [{"name": "d"}]}
        await subject.client.create(SLICES, {"metadata": {"name": f"{name}-{node}"}, "spec": spec})
    try:
        assert await subject.names(SLICES, fields=f"spec.nodeName=n1,spec.driver={name}.example.com") == [f"{name}-n1"]
        assert await subject.names(SLICES, fields=f"spec.driver={name}.example.com") == [f"{name}-n1", f"{name}-n2"]
    finally:
        await asyncio.gather(*(subject.client.delete(SLICES, f"{name}-{node}") for node in ("n1", "n2")))


async def test_a_field_that_cannot_be_selected_is_refused(subject: Subject) -> None:
    call = subject.client.list(PODS, subject.namespace, fields="spec.hostname=x")
    await refused(call, 400, "BadRequest", "field label not supported: spec.hostname")
    await refused(subject.client.list(NODES, fields="spec.nodeName=x"), 400, "BadRequest", "field label not supported: spec.nodeName")
    await refused(
        subject.client.list(PODS, subject.namespace, labels="a=b=c"), 400, "BadRequest", "found '=', expected: ',' or 'end of string'"
    )


async def test_pages_together_are_the_list_as_it_was_at_the_first(subject: Subject) -> None:
    for name in "abcde":
        await subject.create_pod(name)
    path = PODS.path(subject.namespace)
    first = await subject.raw(path, limit="2")
    assert [pod["metadata"]["name"] for pod in first["items"]] == ["a", "b"]
    await subject.create_pod("bb")
    second = await subject.raw(path, limit="2", **{"continue": first["metadata"]["continue"]})
    third = await subject.raw(path, limit="2", **{"continue": second["metadata"]["continue"]})
    assert [pod["metadata"]["name"] for pod in second["items"] + third["items"]] == ["c", "d", "e"]
    assert "continue" not in third["metadata"]
    assert len({page["metadata"]["resourceVersion"] for page in (first, second, third)}) == 1


async def test_a_continue_token_that_is_none_is_refused(subject: Subject) -> None:
    await refused(subject.raw(PODS.path(subject.namespace), limit="2", **{"continue": "nonsense"}), 400, "BadRequest", "continue")


async def test_a_list_at_a_version_nobody_has_reached_is_refused_for_now(subject: Subject) -> None:
    future = str(int((await subject.client.list(PODS)).resource_version) + 10**9)
    error = await refused(subject.raw(PODS.path(subject.namespace), resourceVersion=future), 504, "Timeout", "Too large resource version")
    assert isinstance(error, ServerFault)
    assert error.retry_after == 1.0
    await refused(subject.raw(PODS.path(subject.namespace), resourceVersion="x"), 400, "BadRequest", "resourceVersion")


async def test_a_path_that_is_none_is_not_found(subject: Subject) -> None:
    await refused(subject.client.get(PODS, "a", subject.namespace), 404, "NotFound", 'pods "a" not found')
    await refused(subject.client.get(NODES, "no-such"), 404, "NotFound", 'nodes "no-such" not found')
    await refused(subject.raw("/apis/resource.k8s.io/v1/nonsense"), 404, "NotFound", "could not find the requested resource")
