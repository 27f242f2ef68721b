"""A few short crash rounds, and a refuted relay that they must find: whether the harness still stands. All of it: `make crash-cluster`."""

import asyncio
import shutil

from tests.cluster.api import Api
from tests.cluster.cluster import Cluster
from tests.crash_cluster import plan, twins
from tests.crash_cluster.fleet import Worlds
from tests.crash_cluster.report import Report

SEEDS = {33: {"kubelet-kill", "relay-kill"}, 35: {"kubelet-stop", "agent-stop"}, 23: {"agent-kill", "driver-stop"}, 26: {"driver-kill"}}
"""Of the shortest rounds those that between them kill and stop every part."""
TWIN = "does-not-hold"


def test_the_short_rounds_have_the_faults_they_are_here_for() -> None:
    assert all(kinds <= {act.kind for act in plan.make(seed).acts} for seed, kinds in SEEDS.items())


async def test_in_short_rounds_no_pod_is_stuck_no_fault_lost_and_no_health_false(cluster: Cluster, api: Api) -> None:
    reports = await _rounds(cluster, api, list(SEEDS))
    for report in reports:
        assert not report.wrong, "\n".join([*(f"{kind}: {text}" for kind, text in report.wrong), *report.story[-40:], report.kept])
    assert sum(report.claims for report in reports) > 0
    assert sum(len(report.starts) for report in reports) > 0


async def test_a_relay_that_does_not_hold_calls_is_found(cluster: Cluster, api: Api) -> None:
    reports = await _rounds(cluster, api, range(1000, 1004), must=twins.KINDS[TWIN], twin=TWIN)
    assert "failed prepare" in {kind for kind, _ in reports[-1].wrong}
    await asyncio.to_thread(shutil.rmtree, reports[-1].kept)


async def _rounds(cluster: Cluster, api: Api, seeds: "list[int] | range", must: str = "", twin: str = "") -> list[Report]:
    """Until one is wrong."""
    reports: list[Report] = []

    def take(report: Report) -> bool:
        reports.append(report)
        return not report.wrong

    await Worlds(cluster, api).run(seeds, take, must=must, twin=twin)
    return reports
