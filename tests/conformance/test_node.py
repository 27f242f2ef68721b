"""The node suite in the lab: both subjects, a part of the cases; all of them, and a real kubelet: tests/cluster/test_conformance.py."""

import asyncio
import json
import signal
import sys
from collections.abc import Iterator

import pytest

from podvitals.kube.resources import DEVICE_CLASSES, NAMESPACES, SLICES
from podvitals.testing.conformance.case import Outcome, chosen
from podvitals.testing.conformance.node import CASES, try_node
from podvitals.testing.conformance.node.reading import Reads
from podvitals.testing.conformance.node.stage import LABEL
from tests.conformance import places
from tests.conformance.places import Place

QUICK = (
    "event",
    "lease-end",
    "lease-per-device",
    "return-unchanged",
    "stream-end",
    "restart-within-lease",
    "rolling-update",
    "init-container",
    "same-first-cdi-id",
    "same-name-other-driver",
    "bad-utf8",
    "driver-process-stopped",
    "oversized-report",
    "message-cut",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Place]:
    with places.lab() as (place, _):
        yield place


async def test_the_labs_kubelet_and_the_agent_pass_what_kubelets_do_not(lab: Place) -> None:
    async def tried(reads: Reads) -> dict[str, str]:
        settings = lab.settings(reads, patience=3.0, soon=4.0)
        async with lab.client() as client:
            results = await try_node(client, settings, chosen(CASES, QUICK), at_once=16, told=lambda result: None)
        return {f"{reads}: {result.name}": result.finding.seen for result in results if result.outcome is not Outcome.PASS}

    field, condition = await asyncio.gather(tried("field"), tried("condition"))
    assert field | condition == {}
    assert await left(lab) == []


async def test_a_restart_of_the_node_side_that_does_nothing_is_no_failure_of_it(lab: Place) -> None:
    async with lab.client() as client:
        (result,) = await try_node(client, lab.settings("field", patience=1.0), chosen(CASES, ["restart-ends-a-lease"]), told=print)
    assert result.outcome is Outcome.SKIP
    assert "--restart-command" in result.finding.seen


async def test_the_command_cleans_up_when_it_is_interrupted(lab: Place) -> None:
    where = ["--node-name", "lab", "--plugin-dir", str(lab.directory / "plugins_registry"), "--kubeconfig", str(lab.kubeconfig)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "podvitals", "conformance", "node", *where, "--only", "*lease*", "--image", "none"
    )
    async with asyncio.timeout(30):
        while not any(thing.startswith("ResourceSlice") for thing in await left(lab)):
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    assert await left(lab) == []


async def test_the_command_says_what_it_saw_in_json_and_junit(lab: Place) -> None:
    report = lab.directory / "report.xml"
    where = ["--node-name", "lab", "--plugin-dir", str(lab.directory / "plugins_registry"), "--kubeconfig", str(lab.kubeconfig)]
    flags = ["--only", "own-devices", "--only", "restart-keeps-a-lease", "-o", "json", "--junit", str(report)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "podvitals", "conformance", "node", *where, *flags, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    found = {case["name"]: case["outcome"] for case in json.loads(said)["cases"]}
    assert found == {"own-devices": "pass", "restart-keeps-a-lease": "skip"}
    text = await asyncio.to_thread(report.read_text)
    assert 'tests="2" failures="0" errors="0" skipped="1"' in text


async def left(lab: Place) -> list[str]:
    """What of the suite is there: objects that carry its label (but a namespace on its way out), and its sockets."""
    async with lab.client() as client:
        found = [
            f"{resource.kind} {item['metadata']['name']}"
            for resource in (NAMESPACES, DEVICE_CLASSES, SLICES)
            for item in (await client.list(resource.untyped(), labels=LABEL)).items
            if not item["metadata"].get("deletionTimestamp")
        ]
    folders = [lab.directory / part for part in ("plugins_registry", "plugins", "cdi")]
    files = await asyncio.to_thread(lambda: [str(path) for folder in folders for path in folder.glob("*c*-*.podvitals.dev*")])
    return found + files
