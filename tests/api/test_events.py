"""Events as the agent records them, and what drivers publish about devices."""

import pytest

from podvitals.kube.resources import DEVICE_CLASSES, EVENTS, SLICES
from tests.api.subject import Json, Subject, refused


def event(subject: Subject, name: str = "a.1", **more: object) -> Json:
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": subject.namespace, "name": "a", "uid": "u1"}
    times = {"firstTimestamp": "2026-11-23T12:00:00Z", "lastTimestamp": "2026-11-23T12:00:00Z", "count": 1}
    said = {"reason": "DeviceUnhealthy", "message": "gpu-3: Xid 79", "type": "Warning", "source": {"component": "podvitals", "host": "n1"}}
    return {"metadata": {"name": name, "namespace": subject.namespace}, "involvedObject": about, **said, **times, **more}


async def test_an_event_is_recorded_and_found_by_its_object(subject: Subject) -> None:
    made = await subject.client.create(EVENTS, event(subject))
    assert (made.reason, made.type, made.count, made.source.component) == ("DeviceUnhealthy", "Warning", 1, "podvitals")
    assert await subject.names(EVENTS, fields="involvedObject.uid=u1,involvedObject.kind=Pod") == ["a.1"]


async def test_a_repeated_event_is_counted_in_place(subject: Subject) -> None:
    await subject.client.create(EVENTS, event(subject))
    async with subject.watching(EVENTS) as seen:
        patch: Json = {"count": 2, "lastTimestamp": "2026-11-23T12:00:09Z", "message": "gpu-3: Xid 80"}
        got = await subject.client.patch(EVENTS, "a.1", patch, subject.namespace)
        assert (got.count, got.first_timestamp, got.last_timestamp) == (2, "2026-11-23T12:00:00Z", "2026-11-23T12:00:09Z")
        kind, body = await seen.next()
    assert (kind, body["count"], body["message"]) == ("MODIFIED", 2, "gpu-3: Xid 80")


async def test_an_event_lives_in_the_namespace_of_its_object(subject: Subject) -> None:
    wrong = event(subject, involvedObject={"kind": "Pod", "namespace": "default", "name": "a"})
    await refused(subject.client.create(EVENTS, wrong), 422, "Invalid", "does not match event.namespace")


async def test_an_event_about_a_node_lives_in_default(subject: Subject) -> None:
    about = {"kind": "Node", "name": "n1", "uid": "n1"}
    body = event(subject, involvedObject=about)
    await refused(subject.client.create(EVENTS, body), 422, "Invalid", "involvedObject.namespace")
    body["metadata"] = {"generateName": "n1.", "namespace": "default"}
    made = await subject.client.create(EVENTS, body)
    await subject.client.delete(EVENTS, made.metadata.name, "default")


async def test_events_in_a_namespace_that_does_not_exist_are_refused(subject: Subject) -> None:
    body = event(subject, metadata={"name": "a.1", "namespace": "no-such-namespace"})
    body["involvedObject"]["namespace"] = "no-such-namespace"
    await refused(subject.client.create(EVENTS, body), 404, "NotFound", 'namespaces "no-such-namespace" not found')


def slice_of(subject: Subject, count: int = 2, **spec: object) -> Json:
    name = subject.namespace
    devices = [{"name": f"d{number}", "attributes": {"model": {"string": "T1"}}} for number in range(count)]
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    return {
        "metadata": {"name": name},
        "spec": {"driver": f"{name}.example.com", "pool": pool, "nodeName": "n1", "devices": devices} | spec,
    }


async def test_a_slice_is_published_replaced_and_taken_back(subject: Subject) -> None:
    made = await subject.client.create(SLICES.untyped(), slice_of(subject), strict=True)
    try:
        assert (made["metadata"]["generation"], "namespace" in made["metadata"]) == (1, False)
        made["spec"]["pool"]["generation"] = 2
        made["spec"]["devices"].pop()
        replaced = await subject.client.replace(SLICES.untyped(), subject.namespace, made)
        assert (replaced["metadata"]["generation"], len(replaced["spec"]["devices"])) == (2, 1)
        made["spec"]["nodeName"] = "n2"
        made["metadata"] = replaced["metadata"]
        await refused(subject.client.replace(SLICES, subject.namespace, made), 422, "Invalid", "spec.nodeName: Invalid value")
    finally:
        await subject.client.delete(SLICES, subject.namespace)
    await refused(subject.client.get(SLICES, subject.namespace), 404, "NotFound")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"devices": [{"name": "Not_a_name"}]}, 'spec.devices[0].name: Invalid value: "Not_a_name"'),
        ({"devices": [{"name": "d"}, {"name": "d"}]}, 'Duplicate value: "d"'),  # of spec.devices[1], in 1.34 of its name
        ({"devices": [{"name": f"d{number}"} for number in range(129)]}, "spec.devices: Too many: 129: must have at most 128 items"),
        ({"driver": ""}, "spec.driver: Required value"),
        ({"nodeName": None}, "exactly one of"),
    ],
)
async def test_a_slice_that_makes_no_sense_is_refused_with_the_field(subject: Subject, change: Json, told: str) -> None:
    await refused(subject.client.create(SLICES, slice_of(subject, **change)), 422, "Invalid", told)


async def test_a_device_class_may_change(subject: Subject) -> None:
    name = f"{subject.namespace}.example.com"
    select = {"cel": {"expression": f'device.driver == "{name}"'}}
    made = await subject.client.create(DEVICE_CLASSES, {"metadata": {"name": name}, "spec": {"selectors": [select]}})
    try:
        assert made.spec.selectors[0].cel is not None
        again = await subject.client.patch(DEVICE_CLASSES, name, {"spec": {"selectors": []}}, kind="merge")
        assert (again.spec.selectors, again.metadata.generation) == ((), 2)
    finally:
        await subject.client.delete(DEVICE_CLASSES, name)
