"""Four short rounds and a twin: whether the harness still stands, and still falls where it should. All of it is `make crash`."""

import asyncio
import shutil

from tests.crash import plan, twins
from tests.crash.fleet import Fleet
from tests.crash.report import NodeReport

SEEDS = {319: {"agent-kill"}, 354: {"driver-term", "driver-stop"}, 251: {"disk-full-restart", "net-truncate"}, 271: {"api-restart-forgets"}}
"""Of the shortest rounds those that between them kill, stop, cut off and take the disk away."""
TWIN = "caches-health"


def test_the_short_rounds_have_the_faults_they_are_here_for() -> None:
    assert all(kinds <= {act.kind for act in plan.make(seed).acts} for seed, kinds in SEEDS.items())


async def test_short_rounds_lose_nothing_and_show_no_false_healthy_and_a_twin_that_caches_health_is_found() -> None:
    async with Fleet(3) as fleet, asyncio.TaskGroup() as tasks:
        rounds = tasks.create_task(_reports(fleet, list(SEEDS)))
        twin = tasks.create_task(_reports(fleet, [1000], must=twins.KINDS[TWIN], twin=TWIN))
    for report in rounds.result():
        assert not report.wrong, "\n".join([*(f"{kind}: {text}" for kind, text in report.wrong), *report.story[-40:], report.kept])
        assert report.claims
    (found,) = twin.result()
    assert found.wrong, "an agent that caches health was not found out"
    await asyncio.to_thread(shutil.rmtree, found.kept)


async def _reports(fleet: Fleet, seeds: list[int], must: str = "", twin: str = "") -> list[NodeReport]:
    return [report async for report in fleet.run(seeds, must=must, twin=twin, at_once=min(2, len(seeds)))]
