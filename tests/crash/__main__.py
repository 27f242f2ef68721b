"""`python -m tests.crash` (make crash): rounds of faults against real processes, several worlds at a time, and a table of what came of it.

Exit code 0: nothing was wrong, and every twin that was tried was found. A round is repeated by its seed, in a fresh world.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from tests.crash import twins
from tests.crash.fleet import Fleet
from tests.crash.report import Report
from tests.crash.table import line_of, story_of, table

TWIN_ROUNDS = 8
"""Rounds within which a twin must be found."""

NO_WORLD = 3


@dataclass(slots=True)
class Run:
    """`found`: the round in which each twin was found, 0 for never."""

    reports: list[Report] = field(default_factory=list)
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
    given = _arguments()
    run = Run()
    names = twins.ALL if given.twin == "all" else (given.twin,) if given.twin else ()
    async with Fleet(given.worlds) as fleet:
        if given.seed is not None:
            await rounds(fleet, [given.seed], run, must=given.fault)
        elif not names:
            await rounds(fleet, range(given.first, given.first + given.rounds), run, must=given.fault)
        if names or (given.seed is None and not given.no_twins):
            await look_for_twins(fleet, names or twins.ALL, run)
    say(table(run.reports, run.found, run.seconds, given.worlds))
    return 1 if run.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="one round alone")
    parser.add_argument("--fault", default="", help="each round has this fault")
    parser.add_argument("--worlds", type=int, default=4, help="worlds at a time")
    parser.add_argument("--twin", choices=["all", *twins.ALL], default="", help="a refuted agent or reader, which must be found")
    parser.add_argument("--no-twins", action="store_true", help="the rounds alone")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit("crash: interrupted; everything it started is gone")
