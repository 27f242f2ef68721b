"""What a person does with kubectl, in the releases at hand. Each test is one kubectl verb, on a server of its own."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from podvitals.lab.api import ApiServer, ApiSettings
from tests.lab.api.kubectl import Kubectl, found, line
from tests.lab.api.plain import CLAIMS, MERGE, PODS, SECONDS, Plain, claim, pod

PROGRAMS = found()
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "nodeInfo": {"kubeletVersion": "v1.37.2", "architecture": "amd64", "operatingSystem": "linux"},
    },
}
SLICE = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceSlice",
    "metadata": {"name": "n1-gpu"},
    "spec": {
        "driver": "gpu.example.com",
        "nodeName": "n1",
        "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "gpu-0", "attributes": {"model": {"string": "T1"}}}],
    },
}
CLASS = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "gpu.example.com"}, "spec": {}}


@pytest.fixture(params=PROGRAMS or [""])
def program(request: pytest.FixtureRequest) -> Path:
    if not request.param:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("no kubectl: put one on PATH or name it in PODVITALS_KUBECTL")
    return PROGRAMS[request.param]


async def log(namespace: str, name: str, container: str, previous: bool, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
    """A kubelet's answer: three lines, and one more for who follows."""
    lines = [f"{'before' if previous else 'now'} {number}\n".encode() for number in range(3)]
    for each in lines[-tail if tail is not None else 0 :]:
        yield each
    if follow:
        yield b"later\n"


@pytest.fixture
async def lab(program: Path, tmp_path: Path) -> AsyncIterator[tuple[Kubectl, Plain]]:
    async with ApiServer(ApiSettings(logs=log)) as server, aiohttp.ClientSession(timeout=SECONDS) as session:
        kubectl = await asyncio.to_thread(Kubectl.at, tmp_path, program, server.url)
        yield kubectl, Plain(server, session)


Lab = tuple[Kubectl, Plain]


async def filled(api: Plain) -> None:
    await api.create("/api/v1/nodes", NODE)
    await api.create("/apis/resource.k8s.io/v1/resourceslices", SLICE)
    await api.create("/apis/resource.k8s.io/v1/deviceclasses", CLASS)
    await api.create(CLAIMS, claim("shared"))
    await api.create(PODS, pod("a", app="x"))
    await api.create(PODS, pod("b", app="y"))


async def running(api: Plain, name: str = "a") -> None:
    await api.create(f"{PODS}/{name}/binding", {"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}})
    container = {
        "name": "main",
        "ready": True,
        "restartCount": 1,
        "image": "lab",
        "imageID": "",
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}},
    }
    conditions = [{"type": "Ready", "status": "True"}]
    await api.patch(f"{PODS}/{name}/status", {"status": {"phase": "Running", "containerStatuses": [container], "conditions": conditions}})


async def test_get_in_every_format(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    await running(api)
    assert (await kubectl.ok("get", "pods")).splitlines()[1].split()[:3] == ["a", "1/1", "Running"]
    assert "NOMINATED NODE" in await kubectl.ok("get", "pods", "-o", "wide")
    assert [each["metadata"]["name"] for each in json.loads(await kubectl.ok("get", "pods", "-o", "json"))["items"]] == ["a", "b"]
    assert yaml.safe_load(await kubectl.ok("get", "pod", "a", "-o", "yaml"))["spec"]["nodeName"] == "n1"
    assert await kubectl.ok("get", "pods", "-o", "name") == "pod/a\npod/b\n"
    assert await kubectl.ok("get", "pods", "-o", "jsonpath={.items[*].status.phase}") == "Running Pending"
    assert "P\nRunning" in await kubectl.ok("get", "pods", "-o", "custom-columns=P:.status.phase")
    assert await kubectl.ok("get", "pods", "-o", "go-template={{range .items}}{{.metadata.name}}{{end}}") == "ab"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nodes", ["n1", "Ready", "v1.37.2"]),
        ("resourceclaims", ["shared", "pending"]),
        ("resourceslices", ["n1-gpu", "n1", "gpu.example.com"]),
        ("deviceclasses", ["gpu.example.com"]),
        ("ns", ["default", "Active"]),
        ("sa", ["default"]),
        ("pods,resourceclaims", ["pod/a", "resourceclaim.resource.k8s.io/shared"]),
    ],
)
async def test_get_of_each_kind(lab: Lab, what: str, words: list[str]) -> None:
    kubectl, api = lab
    await filled(api)
    out = await kubectl.ok("get", what)
    assert all(word in out for word in words), out


async def test_get_selects(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    assert await kubectl.ok("get", "pods", "-l", "app=x", "-o", "name") == "pod/a\n"
    assert await kubectl.ok("get", "pods", "--field-selector", "metadata.name!=a", "-o", "name") == "pod/b\n"
    assert "default     a " in await kubectl.ok("get", "pods", "-A")
    said = await kubectl("get", "pods", "--field-selector", "spec.colour=red")
    assert said.code != 0
    assert "field label not supported: spec.colour" in said.err


async def test_get_watches(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    # A list: of a single object kubectl drops the first event of its watch, and with it a change made before that began.
    async with kubectl.running("get", "pods", "-l", "app=x", "-w", "-o", "jsonpath={.status.phase}{'\\n'}") as process:
        assert await line(process) == "Pending"
        await running(api)
        while await line(process) != "Running":
            pass


@pytest.mark.parametrize(
    "what", [("pod", "a"), ("node", "n1"), ("resourceclaim", "shared"), ("resourceslice", "n1-gpu"), ("ns", "default")]
)
async def test_describe(lab: Lab, what: tuple[str, str]) -> None:
    kubectl, api = lab
    await filled(api)
    out = await kubectl.ok("describe", *what)
    assert f"Name:         {what[1]}" in out.replace("Name:               ", "Name:         ").replace(
        "Name:             ", "Name:         "
    )


async def test_describe_finds_the_events_of_its_object(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    about = (await api.get(f"{PODS}/a"))["metadata"]
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "a", "namespace": "default", "uid": about["uid"]},
        "reason": "DeviceUnhealthy",
        "message": "gpu-0 is gone",
        "type": "Warning",
        "count": 1,
    }
    await api.create("/api/v1/namespaces/default/events", event)
    assert "gpu-0 is gone" in await kubectl.ok("describe", "pod", "a")
    assert "gpu-0 is gone" not in await kubectl.ok("describe", "pod", "b")
    assert "DeviceUnhealthy" in await kubectl.ok("get", "events")
    assert "DeviceUnhealthy" in await kubectl.ok("events")


async def test_apply_creates_leaves_and_changes(lab: Lab) -> None:
    kubectl, api = lab
    body = pod("a", app="x")
    assert await kubectl.ok("apply", "-f", "-", stdin=body) == "pod/a created\n"
    assert await kubectl.ok("apply", "-f", "-", stdin=body) == "pod/a unchanged\n"
    body["metadata"]["labels"] = {"app": "z"}
    body["spec"]["containers"][0]["image"] = "other"
    said = await kubectl("apply", "-f", "-", stdin=body)
    assert (said.out, said.err) == ("pod/a configured\n", "")
    after = await api.get(f"{PODS}/a")
    assert (after["metadata"]["labels"], after["spec"]["containers"][0]["image"]) == ({"app": "z"}, "other")


@pytest.mark.parametrize("verb", ["apply", "create"])
async def test_a_field_that_does_not_exist_is_an_error(lab: Lab, verb: str) -> None:
    kubectl, _ = lab
    body = pod("a")
    body["spec"]["containers"][0]["comand"] = ["x"]
    said = await kubectl(verb, "-f", "-", stdin=body)
    assert said.code != 0
    assert 'unknown field "spec.containers[0].comand"' in said.err


async def test_create_and_replace(lab: Lab) -> None:
    kubectl, api = lab
    assert await kubectl.ok("create", "-f", "-", stdin=claim_manifest()) == "resourceclaim.resource.k8s.io/c created\n"
    assert (await kubectl("create", "-f", "-", stdin=claim_manifest())).code != 0
    body = await api.create(PODS, pod("a"))
    body["metadata"]["labels"] = {"x": "1"}
    assert await kubectl.ok("replace", "-f", "-", stdin=body) == "pod/a replaced\n"
    said = await kubectl("replace", "-f", "-", stdin=body)
    assert "the object has been modified" in said.err


def claim_manifest() -> dict[str, Any]:
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"} | claim("c")


async def test_patches_of_all_types(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    for kind, patch in (
        ("strategic", {"metadata": {"labels": {"s": "1"}}}),
        ("merge", {"metadata": {"labels": {"m": "1"}}}),
        ("json", [{"op": "add", "path": "/metadata/labels/j", "value": "1"}]),
    ):
        assert await kubectl.ok("patch", "pod", "a", "--type", kind, "-p", json.dumps(patch)) == "pod/a patched\n"
    assert (await api.get(f"{PODS}/a"))["metadata"]["labels"] == {"app": "x", "s": "1", "m": "1", "j": "1"}
    await kubectl.ok("patch", "pod", "a", "--subresource=status", "-p", '{"status":{"phase":"Failed"}}')
    assert (await api.get(f"{PODS}/a"))["status"]["phase"] == "Failed"


async def test_label_and_annotate(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    assert await kubectl.ok("label", "pod", "a", "x=1") == "pod/a labeled\n"
    assert await kubectl.ok("label", "pod", "a", "app-") == "pod/a unlabeled\n"
    assert await kubectl.ok("annotate", "pod", "a", "why=because") == "pod/a annotated\n"
    meta = (await api.get(f"{PODS}/a"))["metadata"]
    assert (meta["labels"], meta["annotations"]) == ({"x": "1"}, {"why": "because"})


async def test_delete_waits_or_not(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    await running(api, "a")
    assert '"a" deleted' in await kubectl.ok("delete", "pod", "a", "--wait=false")
    assert "deletionTimestamp" in (await api.get(f"{PODS}/a"))["metadata"]
    deleting = asyncio.create_task(kubectl("delete", "pod", "a"))
    async with api.watch(PODS, resourceVersion="0", fieldSelector="metadata.name=a") as events:
        await api.delete(f"{PODS}/a", {"gracePeriodSeconds": 0})
        while (await events.next())["type"] != "DELETED":
            pass
    assert (await deleting).code in (0, 1)  # 1: it came after the deletion, and says NotFound
    assert '"b"' in await kubectl.ok("delete", "pods", "--all")
    assert (await api.get(PODS))["items"] == []


async def test_delete_with_wait_ends_when_the_object_is_gone(lab: Lab) -> None:
    kubectl, api = lab
    await api.create(CLAIMS, claim("c", finalizers=["x/y"]))
    async with api.watch(CLAIMS, resourceVersion="0") as events, kubectl.running("delete", "resourceclaim", "c") as process:
        while "deletionTimestamp" not in (await events.next())["object"]["metadata"]:
            pass
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await process.wait()
        assert process.returncode is None
        await api.patch(f"{CLAIMS}/c", {"metadata": {"finalizers": None}}, MERGE)
        assert await process.wait() == 0


@pytest.mark.parametrize("wish", ["condition=Ready", "jsonpath={.status.phase}=Running", "delete"])
async def test_wait(lab: Lab, wish: str) -> None:
    kubectl, api = lab
    await filled(api)
    async with kubectl.running("wait", f"--for={wish}", "pod/a", "--timeout=15s") as process:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await process.wait()
        assert process.returncode is None
        if wish == "delete":
            await api.delete(f"{PODS}/a")
        else:
            await running(api)
        assert await process.wait() == 0


async def test_wait_says_when_it_gave_up(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    said = await kubectl("wait", "--for=condition=Ready", "pod/a", "--timeout=1s")
    assert said.code == 1
    assert "timed out waiting for the condition" in said.err


async def test_debug(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    await running(api)
    await kubectl.ok("debug", "a", "--image=none", "--container=look", "--target=main", "--", "sleep", "5")
    (added,) = (await api.get(f"{PODS}/a"))["spec"]["ephemeralContainers"]
    assert (added["name"], added["targetContainerName"], added["command"]) == ("look", "main", ["sleep", "5"])


async def test_logs(lab: Lab) -> None:
    kubectl, api = lab
    await filled(api)
    assert await kubectl.ok("logs", "a") == ""  # on no node yet: nothing, and no error, as upstream
    await running(api)
    assert await kubectl.ok("logs", "a") == "now 0\nnow 1\nnow 2\n"
    assert await kubectl.ok("logs", "a", "--tail=1") == "now 2\n"
    assert await kubectl.ok("logs", "a", "-p") == "before 0\nbefore 1\nbefore 2\n"
    assert await kubectl.ok("logs", "a", "-f") == "now 0\nnow 1\nnow 2\nlater\n"
    assert await kubectl.ok("logs", "a", "--limit-bytes=7") == "now 0\nn"
    assert "container nobody is not valid" in (await kubectl("logs", "a", "-c", "nobody")).err
    assert "--since is not served" in (await kubectl("logs", "a", "--since=1m")).err


async def test_what_the_server_says_of_itself(lab: Lab) -> None:
    kubectl, _ = lab
    assert "Server Version: v1.37.2+podvitals-lab" in await kubectl.ok("version")
    assert "is running at" in await kubectl.ok("cluster-info")
    listed = await kubectl.ok("api-resources")
    assert all(kind in listed for kind in ("resourceclaims", "resourceslices", "deviceclasses", "leases"))
    assert "resource.k8s.io/v1" in await kubectl.ok("api-versions")
    assert "resources\t<ResourceRequirements>" in await kubectl.ok("explain", "pod.spec.containers")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("exec", "a", "--", "ls"), "does not run commands in containers"),
        (("attach", "a"), "does not attach to containers"),
        (("port-forward", "a", "8080"), "does not forward ports"),
        (("create", "namespace", "x"), "not protobuf bodies"),
        (("apply", "--server-side", "-f", "-"), "keeps no field ownership"),
        (("top", "pods"), "Metrics API not available"),
    ],
)
async def test_what_the_lab_does_not_do_is_named(lab: Lab, command: tuple[str, ...], text: str) -> None:
    kubectl, api = lab
    await filled(api)
    await running(api)
    said = await kubectl(*command, stdin=pod("z"))
    assert said.code != 0
    assert text in said.err
