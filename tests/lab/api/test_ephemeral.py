"""pods/ephemeralcontainers: what kubectl debug writes."""

import pytest

from podvitals.lab.api.schema import Body
from tests.lab.api.plain import PODS, Plain, pod

DEBUG = {"name": "debug", "image": "none", "command": ["sleep", "1"]}
OF_A = f"{PODS}/a/ephemeralcontainers"


def adds(*containers: Body) -> Body:
    return {"spec": {"ephemeralContainers": list(containers)}}


async def refused(api: Plain, body: Body) -> str:
    reply = await api("PATCH", OF_A, body, kind="application/strategic-merge-patch+json")
    assert reply.code == 422
    return str(reply.body["message"])


async def test_an_ephemeral_container_is_added_and_nothing_else_is_written(api: Plain) -> None:
    before = await api.create(PODS, pod("a"))
    body = adds(DEBUG) | {"metadata": {"labels": {"not": "this"}}, "status": {"phase": "Running"}}
    after = await api.patch(OF_A, body | {"spec": body["spec"] | {"hostNetwork": True}})
    (made,) = after["spec"].pop("ephemeralContainers")
    assert (made["name"], made["imagePullPolicy"]) == ("debug", "Always")
    assert after["metadata"].pop("generation") == before["metadata"].pop("generation") + 1
    assert after["metadata"].pop("resourceVersion") != before["metadata"].pop("resourceVersion")
    assert after == before


async def test_one_that_was_added_neither_goes_nor_changes(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    whole = await api.patch(OF_A, adds(DEBUG))
    assert 'existing ephemeral containers "debug" may not be changed' in await refused(api, adds(DEBUG | {"command": ["sleep", "2"]}))
    reply = await api("PUT", OF_A, whole | {"spec": whole["spec"] | {"ephemeralContainers": []}})
    assert 'existing ephemeral containers "debug" may not be removed' in reply.body["message"]
    assert len((await api.patch(OF_A, adds(DEBUG | {"name": "second"})))["spec"]["ephemeralContainers"]) == 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"name": "main"}, 'spec.ephemeralContainers[0].name: Duplicate value: "main"'),
        ({"image": ""}, "spec.ephemeralContainers[0].image: Required value"),
        ({"resources": {"claims": [{"name": "gpus"}]}}, "spec.ephemeralContainers[0].resources: Forbidden"),
        ({"targetContainerName": "nope"}, 'spec.ephemeralContainers[0].targetContainerName: Not found: "nope"'),
    ],
)
async def test_one_that_cannot_be_is_refused_with_the_reason(api: Plain, wrong: Body, why: str) -> None:
    await api.create(PODS, pod("a"))
    assert why in await refused(api, adds(DEBUG | wrong))


async def test_they_come_by_their_own_path_alone(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    reply = await api("PATCH", f"{PODS}/a", adds(DEBUG), kind="application/strategic-merge-patch+json")
    assert reply.code == 422
    assert "pod updates may not change fields other than" in reply.body["message"]
