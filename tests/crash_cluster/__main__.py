"""`python -m tests.crash_cluster` (make crash-cluster): rounds of faults on a real Kubernetes, and a table of what came of them.

Exit code 0: nothing was wrong, and every twin that was tried was found. A round is repeated by its seed, in a fresh world.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence

from tests.cluster.api import Api
from tests.cluster.build import DEFAULT_VERSION
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import DEPLOY
from tests.crash_cluster import plan, twins
from tests.crash_cluster.fleet import Worlds
from tests.crash_cluster.report import Report
from tests.crash_cluster.table import line_of, story_of, table

TWIN_ROUNDS = 4
"""Rounds within which a twin must be found."""


async def rounds(worlds: Worlds, seeds: Sequence[int], must: str, *, all_stories: bool) -> list[Report]:
    reports: list[Report] = []

    def take(report: Report) -> bool:
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
        reports: list[Report] = []

        def take(report: Report, reports: list[Report] = reports) -> bool:
            reports.append(report)
            return not report.wrong

        await worlds.run(range(1000, 1000 + TWIN_ROUNDS), take, must=twins.KINDS[name], twin=name)
        wrong = reports[-1].wrong if reports else []
        found[name] = len(reports) if wrong else 0
        verdict = f"found in round {len(reports)}: {wrong[0][0]}: {wrong[0][1][:140]}" if wrong else f"NOT FOUND in {len(reports)} rounds"
        say(f"twin     {name:24} {verdict}")
    return found


async def main() -> int:
    given = _arguments()
    names = twins.ALL if given.twin == "all" else (given.twin,) if given.twin else ()
    began, reports, found = time.monotonic(), list[Report](), dict[str, int]()
    cluster = await asyncio.to_thread(Cluster(given.kubernetes).up)
    try:
        for rights in sorted(DEPLOY.glob("*-rbac.yaml")):
            await asyncio.to_thread(cluster.run_kubectl, "apply", "-f", str(rights))
        async with Api(cluster.kubeconfig) as api:
            worlds = Worlds(cluster, api)
            if given.seed is not None:
                reports = await rounds(worlds, [given.seed], given.fault, all_stories=given.stories)
            elif not names:
                reports = await rounds(worlds, range(given.first, given.first + given.rounds), given.fault, all_stories=given.stories)
            took = time.monotonic() - began
            if names or (given.seed is None and not given.no_twins):
                found = await look_for_twins(worlds, names or twins.ALL)
    finally:
        await asyncio.to_thread(cluster.down)
    say(table(reports, found, took))
    return 1 if any(report.wrong for report in reports) or not all(found.values()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash_cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="one round alone")
    parser.add_argument("--fault", choices=["", *plan.KINDS], default="", help="each round has this fault alone")
    parser.add_argument("--twin", choices=["all", *twins.ALL], default="", help="a refuted relay, which must be found")
    parser.add_argument("--stories", action="store_true", help="of the rounds in which nothing was wrong too")
    parser.add_argument("--no-twins", action="store_true", help="the rounds alone")
    parser.add_argument("--kubernetes", default=os.environ.get("K8S", DEFAULT_VERSION), help="the release")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("crash-cluster needs root (a kubelet needs it)")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit("crash-cluster: interrupted; everything it started is gone")
