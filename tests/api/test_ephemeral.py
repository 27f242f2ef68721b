"""pods/ephemeralcontainers: what kubectl debug writes."""

import pytest

from podvitals.kube.resources import PODS
from tests.api.subject import Json, Subject, refused

DEBUG: Json = {"name": "debug", "image": "example.com/x:1", "command": ["sleep", "1"]}


def adds(*containers: Json) -> Json:
    return {"spec": {"ephemeralContainers": list(containers)}}


async def patched(subject: Subject, patch: Json) -> Json:
    return await subject.client.patch(PODS.untyped(), "a", patch, subject.namespace, subresource="ephemeralcontainers")


async def test_an_ephemeral_container_is_added_and_nothing_else_is_written(subject: Subject) -> None:
    before = await subject.create_pod()
    body: Json = {"metadata": {"labels": {"not": "this"}}, "status": {"phase": "Running"}}
    after = await patched(subject, body | {"spec": adds(DEBUG)["spec"] | {"activeDeadlineSeconds": 5}})
    (made,) = after["spec"].pop("ephemeralContainers")
    assert (made["name"], made["imagePullPolicy"], made["resources"]) == ("debug", "IfNotPresent", {})
    for each in (before, after):
        for name in ("generation", "resourceVersion", "managedFields"):
            each["metadata"].pop(name, None)
    assert after == before


async def test_an_ephemeral_container_neither_goes_nor_changes(subject: Subject) -> None:
    await subject.create_pod()
    whole = await patched(subject, adds(DEBUG))
    changed = patched(subject, adds(DEBUG | {"command": ["sleep", "2"]}))
    await refused(changed, 422, "Invalid", 'existing ephemeral containers "debug" may not be changed')
    without = whole | {"spec": whole["spec"] | {"ephemeralContainers": []}}
    gone = subject.client.replace(PODS.untyped(), "a", without, subject.namespace, subresource="ephemeralcontainers")
    await refused(gone, 422, "Invalid", 'existing ephemeral containers "debug" may not be removed')
    assert len((await patched(subject, adds(DEBUG | {"name": "second"})))["spec"]["ephemeralContainers"]) == 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"name": "main"}, 'spec.ephemeralContainers[0].name: Duplicate value: "main"'),
        ({"image": ""}, "spec.ephemeralContainers[0].image: Required value"),
        ({"resources": {"limits": {"cpu": "1"}}}, "spec.ephemeralContainers[0].resources: Forbidden"),
        ({"targetContainerName": "nope"}, 'spec.ephemeralContainers[0].targetContainerName: Not found: "nope"'),
    ],
)
async def test_an_ephemeral_container_that_cannot_be_is_refused_with_the_reason(subject: Subject, wrong: Json, why: str) -> None:
    await subject.create_pod()
    await refused(patched(subject, adds(DEBUG | wrong)), 422, "Invalid", why)


async def test_ephemeral_containers_come_by_their_own_path_alone(subject: Subject) -> None:
    await subject.create_pod()
    directly = subject.client.patch(PODS.untyped(), "a", adds(DEBUG), subject.namespace)
    await refused(directly, 422, "Invalid", "pod updates may not change fields other than")
