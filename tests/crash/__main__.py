"""`python -m tests.crash` (make crash): rounds of faults against real processes, several worlds at a time, and a table of what came of it.

Exit code 0: nothing was wrong, and every twin that was tried was found. A round is repeated by its seed, in a fresh world.
"""

import asyncio
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from tests.crash import command, plan, twins
from tests.crash.command import say
from tests.crash.fleet import Fleet
from tests.crash.report import NodeReport
from tests.crash.table import line_of, story_of, table

TWIN_ROUNDS = 8
"""Rounds within which a twin must be found."""

NO_WORLD = 3


@dataclass(slots=True)
class Run:
    """`found`: the round in which each twin was found, 0 for never."""

    reports: list[NodeReport] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return any(report.wrong for report in self.reports) or not all(self.found.values())


async def rounds(fleet: Fleet, seeds: Sequence[int], run: Run, *, must: str = "") -> None:
    began, total = time.monotonic(), len(seeds)
    async with aclosing(fleet.run(seeds, must=must)) as reports:
        async for report in reports:
            run.reports.append(report)
            say(line_of(report, len(run.reports), total))
            if report.wrong:
                say(story_of(report))
            if len(run.reports) == NO_WORLD and all(report.wrong and report.wrong[0][0] == "no world" for report in run.reports):
                break  # it will not come up for the others either
    run.seconds = time.monotonic() - began


async def look_for_twins(fleet: Fleet, names: Iterable[str], run: Run) -> None:
    """Rounds against each, with the fault that shows it, until it is found."""

    async def look(name: str) -> None:
        run.found[name] = 0
        count = 0
        async with aclosing(fleet.run(range(1000, 1000 + TWIN_ROUNDS), twin=name, must=twins.KINDS[name], at_once=1)) as reports:
            async for report in reports:
                count += 1
                if report.wrong:
                    run.found[name] = count
                    await asyncio.to_thread(shutil.rmtree, report.kept, True)
                    kind, text = report.wrong[0]
                    say(f"twin     {name:20} found in round {count}: {kind}: {text[:120]}")
                    return
        say(f"twin     {name:20} NOT FOUND in {count} rounds")

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(look(name), name=f"crash: twin {name}")


async def main() -> int:
    asked = command.parser("tests.crash", __doc__, 200, plan.KINDS, twins.ALL)
    asked.add_argument("--worlds", type=int, default=4, help="worlds at a time")
    given = asked.parse_args()
    run = Run()
    async with Fleet(given.worlds) as fleet:
        await rounds(fleet, command.seeds(given), run, must=given.fault)
        await look_for_twins(fleet, command.twins_of(given, twins.ALL), run)
    say(table(run.reports, run.found, run.seconds, given.worlds))
    return 1 if run.failed else 0


if __name__ == "__main__":
    command.run(main, "crash")
