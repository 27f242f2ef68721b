"""A few short crash rounds, and a refuted relay that they must find: whether the harness still stands. All of it: `make crash-cluster`."""

import asyncio
import shutil
from collections.abc import Iterable

import pytest

from tests.cluster.api import Api
from tests.cluster.build import HELPER_HAS_HEALTH
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import VERSION
from tests.cluster.relayed import Relayed
from tests.crash_cluster import plan, twins
from tests.crash_cluster.fleet import Worlds
from tests.crash_cluster.report import ClusterReport
from tests.crash_cluster.seen import FAILED_PREPARE

TWIN = "does-not-hold"
WHY = f"one of the rounds' drivers is made with upstream's helper of {VERSION}, which has no health"
drivers_with_health = pytest.mark.skipif(int(VERSION.split(".")[1]) < HELPER_HAS_HEALTH, reason=WHY)


@drivers_with_health
async def test_in_short_rounds_no_pod_is_stuck_no_fault_lost_and_no_health_false(cluster: Cluster, api: Api) -> None:
    reports = await _rounds(cluster, api, plan.SHORT)
    for report in reports:
        assert not report.wrong, "\n".join([*(f"{kind}: {text}" for kind, text in report.wrong), *report.story[-40:], report.kept])
    assert sum(report.claims for report in reports) > 0
    assert sum(len(report.starts) for report in reports) > 0


@drivers_with_health
async def test_a_relay_that_does_not_hold_calls_is_found(cluster: Cluster, api: Api) -> None:
    reports = await _rounds(cluster, api, range(1000, 1004), must=twins.KINDS[TWIN], twin=TWIN)
    assert "failed prepare" in {kind for kind, _ in reports[-1].wrong}
    await asyncio.to_thread(shutil.rmtree, reports[-1].kept)


async def test_with_the_agent_a_pod_whose_prepare_failed_runs_soon_after_the_relay_is_back(relayed: Relayed) -> None:
    """The kubelet alone tries again 60 to 90 s later."""
    world = relayed.world
    relay = relayed.start()
    world.run_agent()
    async with world.scripted("d0"):
        relay.kill()
        await world.create_pod("trainer")
        made = await world.api.get(f"{world.pods}/trainer")
        about = f"involvedObject.uid={made['metadata']['uid']}"
        events = f"/api/v1/namespaces/{world.namespace}/events"
        await world.api.until(events, lambda event: event["reason"] == FAILED_PREPARE, fields=about, within=15)
        relayed.start()
        await world.pod("trainer", lambda pod: pod["status"].get("phase") == "Running", within=35)


async def _rounds(cluster: Cluster, api: Api, seeds: Iterable[int], must: str = "", twin: str = "") -> list[ClusterReport]:
    """Until one is wrong."""
    reports: list[ClusterReport] = []

    def take(report: ClusterReport) -> bool:
        reports.append(report)
        return not report.wrong

    await Worlds(cluster, api).run(seeds, take, must=must, twin=twin)
    return reports
