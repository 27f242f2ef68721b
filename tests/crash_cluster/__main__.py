"""`python -m tests.crash_cluster` (make crash-cluster): rounds of faults on a real Kubernetes, and a table of what came of them.

Exit code 0: nothing was wrong, and every twin that was tried was found. A round is repeated by its seed, in a fresh world.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Sequence

from tests.cluster.api import Api
from tests.cluster.build import DEFAULT_VERSION
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import DEPLOY
from tests.crash import command
from tests.crash.command import say
from tests.crash_cluster import plan, twins
from tests.crash_cluster.fleet import Worlds
from tests.crash_cluster.report import ClusterReport
from tests.crash_cluster.table import line_of, story_of, table

TWIN_ROUNDS = 4
"""Rounds within which a twin must be found."""


async def rounds(worlds: Worlds, seeds: Sequence[int], must: str, *, all_stories: bool) -> list[ClusterReport]:
    reports: list[ClusterReport] = []

    def take(report: ClusterReport) -> bool:
        reports.append(report)
        say(line_of(report, sum(one.seed >= 0 for one in reports), len(seeds)))
        if report.wrong or all_stories:
            say(story_of(report))
        return not (report.wrong and report.wrong[0][0] == "no world")  # it will not come up for the others either

    await worlds.run(seeds, take, must=must)
    return reports


async def look_for_twins(worlds: Worlds, names: Iterable[str]) -> dict[str, int]:
    """Rounds against each, with the fault that shows it, until it is found: in which that was, 0 for never."""
    found: dict[str, int] = {}
    for name in names:
        reports: list[ClusterReport] = []

        def take(report: ClusterReport, reports: list[ClusterReport] = reports) -> bool:
            reports.append(report)
            return not report.wrong

        await worlds.run(range(1000, 1000 + TWIN_ROUNDS), take, must=twins.KINDS[name], twin=name)
        wrong = reports[-1].wrong if reports else []
        found[name] = len(reports) if wrong else 0
        verdict = f"found in round {len(reports)}: {wrong[0][0]}: {wrong[0][1][:140]}" if wrong else f"NOT FOUND in {len(reports)} rounds"
        say(f"twin     {name:24} {verdict}")
    return found


async def main() -> int:
    asked = command.parser("tests.crash_cluster", __doc__, 100, plan.KINDS, twins.ALL)
    asked.add_argument("--stories", action="store_true", help="of the rounds in which nothing was wrong too")
    asked.add_argument("--kubernetes", default=os.environ.get("K8S", DEFAULT_VERSION), help="the release")
    given = asked.parse_args()
    began = time.monotonic()
    cluster = await asyncio.to_thread(Cluster(given.kubernetes).up)
    try:
        for rights in sorted(DEPLOY.glob("*-rbac.yaml")):
            await asyncio.to_thread(cluster.run_kubectl, "apply", "-f", str(rights))
        async with Api(cluster.kubeconfig) as api:
            worlds = Worlds(cluster, api)
            reports = await rounds(worlds, command.seeds(given), given.fault, all_stories=given.stories)
            took = time.monotonic() - began
            found = await look_for_twins(worlds, command.twins_of(given, twins.ALL))
    finally:
        await asyncio.to_thread(cluster.down)
    say(table(reports, found, took))
    return 1 if any(report.wrong for report in reports) or not all(found.values()) else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("crash-cluster needs root (a kubelet needs it)")
    command.run(main, "crash-cluster")
