"""`python -m tests.crash.worker ROOT [TWIN]`: one world. A line in is a round, `SEED [FAULT]`; the line out is its verdict, as JSON.

It ends with its standard input, and after a round in which something was wrong: what comes next begins in a fresh world.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tests.crash import times

times.shorten(times.READER)  # before anything copies the constants

from tests.crash import plan  # noqa: E402
from tests.crash.report import Report  # noqa: E402
from tests.crash.round import Round, Verdict, furnish  # noqa: E402
from tests.crash.world import World  # noqa: E402


async def work(root: Path, twin: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with World.open(root, twin) as world:
        try:
            await furnish(world)
        except RuntimeError as error:
            await _say(_kept(world, Report(-1, wrong=[("no world", str(error))]), 0))
            return
        while line := (await lines.readline()).decode().split():
            begins = len(world.story)
            verdict = await Round(world, plan.make(int(line[0]), *line[1:])).run()
            report = _report(world, verdict)
            if verdict.wrong:
                await _say(await asyncio.to_thread(_kept, world, report, begins))
                return
            await _say(report)


def _report(world: World, verdict: Verdict) -> Report:
    return Report(
        seed=verdict.plan.seed,
        acts=[*map(str, verdict.plan.acts), *([f"pod-{verdict.plan.pods.kind}"] if verdict.plan.pods else [])],
        wrong=[(wrong.kind, wrong.text) for wrong in verdict.wrong],
        took=verdict.took,
        settled=verdict.settled,
        changes=verdict.changes,
        delivered=verdict.delivered,
        due=verdict.due,
        claims=verdict.claims,
        blips=verdict.blips,
        stalled=sum(took for _, took in world.stalls),
    )


def _kept(world: World, report: Report, begins: int) -> Report:
    """Copies what tells the story of a failed round to a place that stays."""
    kept = Path(tempfile.mkdtemp(prefix=f"podvitals-crash-seed-{report.seed}-"))
    report.kept = str(kept)
    report.story = [f"{at:8.3f}  {text}" for at, text in world.story[begins:]]
    (kept / "story.txt").write_text("".join(f"{at:8.3f}  {text}\n" for at, text in world.story))
    with suppress(OSError, shutil.Error):
        shutil.copytree(world.root / "logs", kept / "logs")
    with suppress(OSError, shutil.Error):
        shutil.copytree(world.disk.path / "agent", kept / "agent", ignore=shutil.ignore_patterns("*.sock"))
    return report


async def _say(report: Report) -> None:
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
