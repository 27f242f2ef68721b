"""Three rounds and a twin: whether the harness still stands, and still falls where it should. All of it is `make crash`."""

import asyncio
import shutil

from tests.crash import twins
from tests.crash.fleet import Fleet
from tests.crash.report import Report

SMOKE = ("agent-kill", "net-reset", "driver-stop")


async def test_three_rounds_lose_nothing_and_show_no_false_healthy_and_a_twin_that_caches_health_is_found() -> None:
    async with Fleet(4) as fleet, asyncio.TaskGroup() as tasks:
        good = [tasks.create_task(_first(fleet, seed, kind)) for seed, kind in enumerate(SMOKE)]
        bad = tasks.create_task(_first(fleet, 1000, twins.KINDS["caches-health"], twin="caches-health"))
    for task in good:
        report = task.result()
        assert not report.wrong, "\n".join([*(f"{kind}: {text}" for kind, text in report.wrong), *report.story[-40:], report.kept])
        assert report.claims
    assert bad.result().wrong, "an agent that caches health was not found out"
    await asyncio.to_thread(shutil.rmtree, bad.result().kept)


async def _first(fleet: Fleet, seed: int, kind: str, twin: str = "") -> Report:
    reports = [report async for report in fleet.run([seed], must=kind, twin=twin, at_once=1)]
    return reports[0]
