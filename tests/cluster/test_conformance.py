"""`podvitals conformance` on a real kubelet: what the agent beside it passes, and what the kubelet itself does not (CONTRACT §5).

The kubelet's failures are held too, as sets: a release that mends one is worth knowing. tests/conformance/table.py writes the page."""

import asyncio
from dataclasses import replace
from pathlib import Path

from podvitals.kube.client import Client
from podvitals.testing.conformance.case import Outcome, Result, chosen
from podvitals.testing.conformance.node import CASES, NodeSettings, try_node
from tests.cluster import releases
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import VERSION
from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import World
from tests.conformance import places

SLOW = tuple(case.name for case in CASES if case.slow or case.stage > 1)
"""Each waits half a minute or restarts the node side: all of them stand in the table, and are too long for every run."""
_REFUSED = releases.lacks(VERSION, Shown.ONE_ENTRY_OF_A_SHARED_CDI_ID) and not releases.lacks(VERSION, Shown.CLAIM_OF_A_TEMPLATE)
LEFT_OUT = (*SLOW, "same-first-cdi-id") if _REFUSED else SLOW
"""Where the field is filled for its claims, and the API server refuses what it is filled with, the case's pod stays Pending."""

BUSY = 4.0
"""Seconds that count as at once where other tests may run beside; the table is measured with 1 s."""
DEFECTS = {
    "event",
    "lease-end",
    "lease-end-of-a-fault",
    "driver-process-stopped",
    "lease-per-device",
    "lease-shortened",
    "lease-huge",
    "return-unchanged",
    "stream-end",
    "restart-within-lease",
    "rolling-update",
    "rolling-update-ends",
    "init-container",
    "sidecar",
    "same-first-cdi-id",
    "ended-pod-keeps-health",
    "late-fault",
    "message-cut",
    "control-characters",
    "bad-utf8",
}
"""Of 1.37.2, each time."""
SOMETIMES = {"changes-50ms-apart", "subset-report", "crash-within-lease", "extended-resource", "entry-without-device", "same-order"}
"""They depend on when the kubelet happens to look at the pod, or on a map's order."""


def outcomes(results: list[Result], *wanted: Outcome) -> dict[str, str]:
    return {result.name: result.finding.seen for result in results if result.outcome in wanted}


async def tried(client: Client, settings: NodeSettings) -> list[Result]:
    return await try_node(client, settings, chosen(CASES, (), LEFT_OUT), at_once=12, told=lambda result: None)


async def test_the_agent_beside_a_kubelet_passes_every_case(cluster: Cluster, client: Client) -> None:
    async with places.agent(cluster):
        results = await tried(client, places.real(cluster).settings("condition", patience=3.0, soon=BUSY))
    assert outcomes(results, Outcome.FAIL, Outcome.SKIP, Outcome.WARN) == {}


@needs(Shown.CLAIM_BY_ITS_NAME, Shown.OWN_DEVICES)
async def test_a_kubelet_alone_fails_where_the_contract_says_it_does(cluster: Cluster, client: Client) -> None:
    results = await tried(client, places.real(cluster).settings("field", patience=1.0, soon=2.0))
    failed = outcomes(results, Outcome.FAIL)
    assert not failed.keys() - DEFECTS - SOMETIMES, {name: failed[name] for name in failed.keys() - DEFECTS - SOMETIMES}
    if cluster.version == "1.37.2":
        assert not DEFECTS - failed.keys(), "mended, it seems"


async def test_no_case_passes_on_a_node_side_that_says_nothing() -> None:
    """The lab's kubelet with the gate off: whatever a case claims to have seen there, it has not."""
    vacuous = {"pod-without-devices", "driver-without-health", "event"}
    with places.lab("--feature-gates", "ResourceHealthStatus=false") as (place, _):
        settings = replace(place.settings("field", patience=0.0), begins=1.0)
        cases = [replace(case, stage=1) for case in chosen(CASES, (), (*SLOW, "large-report"))]
        async with place.client() as client:
            results = await try_node(client, settings, cases, at_once=12, told=lambda result: None)
    assert outcomes(results, Outcome.PASS).keys() <= vacuous


async def test_a_driver_of_the_sdk_passes_the_driver_suite(world: World) -> None:
    world.device("d0")
    driver = world.run_driver(lease=2.0)
    await driver.says("registered")
    await world.create_pod("trainer")
    claim = await claim_of(world)
    socket = world.cluster.plugin_dir / f"{world.driver}-reg.sock"
    flags = ["--claim", "/".join(claim), "--timeout", "20", "--skip", "restart"]
    report = world.cluster.root / "driver.xml"
    suite = world.processes.python("suite", "-m", "podvitals", "conformance", "driver", str(socket), *flags, "--junit", str(report))
    await suite.says("pass", within=60)
    assert 'failures="0" errors="0" skipped="0"' in await asyncio.to_thread(Path(report).read_text)


async def claim_of(world: World) -> tuple[str, str, str]:
    """Namespace, name and uid of the claim made for the pod, once it is allocated."""
    claims = f"/apis/resource.k8s.io/v1/namespaces/{world.namespace}/resourceclaims"
    async with world.api.watching(claims) as events, asyncio.timeout(15):
        async for _, claim, _ in events:
            if claim.get("status", {}).get("allocation"):
                return world.namespace, claim["metadata"]["name"], claim["metadata"]["uid"]
    raise AssertionError("no claim")
