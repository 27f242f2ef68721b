"""`python -m tests.crash.worker ROOT [TWIN]`: one world. A line in is a round, `SEED [FAULT]`; the line out is its verdict, as JSON.

It ends with its standard input, and after a round in which something was wrong: what comes next begins in a fresh world.
"""

import asyncio
import json
import shutil
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tests.crash import times

times.shorten(times.READER)  # before anything copies the constants

from tests.crash import plan  # noqa: E402
from tests.crash.report import NodeReport  # noqa: E402
from tests.crash.round import Round, furnish  # noqa: E402
from tests.crash.world import World  # noqa: E402


async def work(root: Path, twin: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with World.open(root, twin) as world:
        try:
            await furnish(world)
        except RuntimeError as error:
            await _say(_keep(world, NodeReport(-1, wrong=[("no world", str(error))]), 0))
            return
        while line := (await lines.readline()).decode().split():
            begins = len(world.story)
            report = await Round(world, plan.make(int(line[0]), *line[1:])).run()
            if report.wrong:
                await _say(await asyncio.to_thread(_keep, world, report, begins))
                return
            await _say(report)


def _keep(world: World, report: NodeReport, begins: int) -> NodeReport:
    """Blocks."""
    world.keep(report, "podvitals-crash", begins)
    with suppress(OSError, shutil.Error):
        shutil.copytree(world.disk.path / "agent", Path(report.kept) / "agent", ignore=shutil.ignore_patterns("*.sock"))
    return report


async def _say(report: NodeReport) -> None:
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
