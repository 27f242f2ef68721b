"""Where the time of a lone change goes. The agent's own part ends where its patch begins; what follows is the API server's.

A run of its own: an agent that keeps a trace is not the one whose latency is told.
"""

import asyncio
import itertools
import json
import sys
from dataclasses import replace
from typing import Any

from podvitals.device.health import Health
from tests.bench.latency import PATIENCE, REST
from tests.bench.stage import PODVITALS, Stage, Subject
from tests.bench.stats import median
from tests.bench.table import Row

PODS = 10
STEPS = ("change → the agent has the report", "the report is decoded", "→ its patch begins", "→ the patch is seen")


async def measure(subject: Subject, changes: int) -> list[Row]:
    trace = subject.log("trace")
    traced = [sys.executable, "-m", "tests.bench.traced", str(trace), *subject.agent[len(PODVITALS) :]]
    async with Stage.open(subject, pods=PODS, devices=PODS) as stage, replace(subject, agent=traced).running_agent():
        await _told(stage, 0, 0)
        seen = [await _one(stage, number) for number in range(1, changes + 1)]
    marks = [json.loads(line) for line in (await asyncio.to_thread(trace.read_text)).splitlines()]
    steps = [found for pod, began, ended in seen if (found := _steps(marks, pod, began, ended))]
    return [
        Row(subject.name, f"of a lone change: {name}", len(steps), "ms", median([each[index] for each in steps]))
        for index, name in enumerate(STEPS)
    ]


async def _one(stage: Stage, number: int) -> tuple[str, float, float]:
    await asyncio.sleep(REST / PODS)
    return await _told(stage, number % PODS, number)


async def _told(stage: Stage, pod: int, number: int) -> tuple[str, float, float]:
    """A change of one pod's device (number 0: to Healthy), when it was made and when the pod's condition said so."""
    seen = stage.recorder.seen(f"bench-{pod}", "condition", number)
    health, message = (Health.UNHEALTHY, f"n={number} the device says something of usual length") if number else (Health.HEALTHY, "")
    began = await stage.devices.change({f"d{pod}": (health, message)})
    async with asyncio.timeout(PATIENCE):
        return f"bench-{pod}", began, await seen


def _steps(marks: list[list[Any]], pod: str, began: float, ended: float) -> tuple[float, ...] | None:
    """Milliseconds between the marks of one change; None where one is missing."""
    mine = [mark for mark in marks if began <= mark[2] <= ended]
    report = next((mark for mark in mine if mark[0] == "report"), None)
    patch = next((mark for mark in mine if mark[:2] == ["pods", pod]), None)
    if report is None or patch is None:
        return None
    return tuple((later - earlier) * 1000 for earlier, later in itertools.pairwise((began, report[2], report[3], patch[2], ended)))
