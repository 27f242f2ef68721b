"""Lists: selectors, pages of one moment, versions, and the table kubectl prints."""

from typing import Any

import pytest

from podvitals.lab.api.tables import duration
from tests.lab.api.plain import PODS, Plain, pod

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def names(body: dict[str, Any]) -> list[str]:
    return [each["metadata"]["name"] for each in body["items"]]


async def several(api: Plain) -> None:
    for name, labels in (("a", {"app": "x"}), ("b", {"app": "y"}), ("c", {"tier": "z"})):
        await api.create(PODS, pod(name, **labels))


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("app=x", "a"),
        ("app==x", "a"),
        ("app!=x", "bc"),
        ("app", "ab"),
        ("!app", "c"),
        ("app in (x,y)", "ab"),
        ("app notin (x)", "bc"),
        ("app,app!=y", "a"),
        ("app in (x, y),!tier", "ab"),
    ],
)
async def test_labels_select(api: Plain, selector: str, found: str) -> None:
    await several(api)
    async with api.session.get(api.server.url + PODS, params={"labelSelector": selector}) as response:
        assert "".join(names(await response.json())) == found


@pytest.mark.parametrize(
    ("selector", "found"),
    [("metadata.name=a", "a"), ("metadata.name!=a", "bc"), ("status.phase=Pending,metadata.name!=b", "ac"), ("spec.nodeName=", "abc")],
)
async def test_fields_select(api: Plain, selector: str, found: str) -> None:
    await several(api)
    async with api.session.get(api.server.url + PODS, params={"fieldSelector": selector}) as response:
        assert "".join(names(await response.json())) == found


async def test_a_field_that_cannot_be_selected_by_is_refused(api: Plain) -> None:
    reply = await api("GET", f"{PODS}?fieldSelector=spec.foo%3D1")
    assert (reply.code, reply.body["message"]) == (400, "field label not supported: spec.foo")


async def test_pages_are_of_one_moment(api: Plain) -> None:
    await several(api)
    first = await api.get(f"{PODS}?limit=2")
    assert names(first) == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 1
    await api.delete(f"{PODS}/c")
    second = await api.get(f"{PODS}?limit=2&continue={first['metadata']['continue']}")
    assert names(second) == ["c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


async def test_a_token_that_is_none_is_refused(api: Plain) -> None:
    assert (await api("GET", f"{PODS}?limit=2&continue=nonsense")).code == 400


async def test_a_version_of_the_future_is_refused(api: Plain) -> None:
    version = int((await api.get(PODS))["metadata"]["resourceVersion"])
    reply = await api("GET", f"{PODS}?resourceVersion={version + 100}")
    assert reply.code == 504
    assert reply.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_a_list_says_its_kind_once(api: Plain) -> None:
    await several(api)
    body = await api.get(PODS)
    assert (body["apiVersion"], body["kind"]) == ("v1", "PodList")
    assert not {"apiVersion", "kind"} & body["items"][0].keys()
    assert {"apiVersion", "kind"} < (await api.get(f"{PODS}/a")).keys()


async def test_all_namespaces_are_listed_in_order(api: Plain) -> None:
    await several(api)
    other = pod("z")
    other["metadata"]["namespace"] = "kube-system"
    await api.create("/api/v1/namespaces/kube-system/pods", other)
    assert names(await api.get("/api/v1/pods")) == ["a", "b", "c", "z"]


async def test_a_table_has_upstreams_columns(api: Plain) -> None:
    await several(api)
    table = await api.get(PODS, accept=f"{TABLE},application/json")
    columns = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
    assert columns == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert table["rows"][0]["cells"][:4] == ["a", "0/1", "Pending", "0"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_a_crashing_pod_reads_as_everybody_knows_it(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    status = {
        "name": "main",
        "ready": False,
        "restartCount": 3,
        "image": "lab",
        "imageID": "",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 139, "finishedAt": "2020-01-01T00:00:00Z"}},
    }
    await api.patch(f"{PODS}/a/status", {"status": {"phase": "Running", "containerStatuses": [status]}})
    cells = (await api.get(f"{PODS}/a", accept=TABLE))["rows"][0]["cells"]
    assert cells[1:3] == ["0/1", "CrashLoopBackOff"]
    assert cells[3].startswith("3 (")
    assert cells[3].endswith(" ago)")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10_700, "178m"),
        (10_860, "3h1m"),
        (86_400, "24h"),
        (200_000, "2d7h"),
        (1_000_000, "11d"),
        (100_000_000, "3y62d"),
    ],
)
def test_ages_read_as_kubectls(seconds: int, text: str) -> None:
    assert duration(seconds) == text
