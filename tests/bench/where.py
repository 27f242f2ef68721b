"""Where the time of a lone change goes, and how punctual the end of a lease is: told by an agent that keeps a trace.

The agent's own part ends where its patch begins; what follows is the API server's. A run of its own: an agent that keeps a trace is not
the one whose latency is told.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from podvitals.device.health import Health
from tests.bench.latency import PATIENCE, REST
from tests.bench.lease import SHORT
from tests.bench.stage import Stage
from tests.bench.stats import median, percentile
from tests.bench.subject import PODVITALS, Subject
from tests.bench.table import Row

PODS = 10
STEPS = ("change → the agent has the report", "the report is taken", "→ its patch begins", "→ the patch is seen")
PUNCTUAL = 20.0
"""Milliseconds after a lease's end within which the patch has to leave (ARCHITECTURE rule 1)."""


@dataclass(frozen=True)
class Mark:
    """A call: of the wire to the node ("report"), or of the publisher to the API ("pods")."""

    what: str
    name: str
    began: float
    ended: float


@asynccontextmanager
async def traced(subject: Subject, *, pods: int, devices: int) -> AsyncIterator[tuple[Stage, Path]]:
    trace = subject.log("trace")
    agent = [sys.executable, "-m", "tests.bench.traced", str(trace), *subject.agent[len(PODVITALS) :]]
    async with Stage.open(subject, pods=pods, devices=devices) as stage, replace(subject, agent=agent).running_agent():
        await _told(stage, 0, 0)
        yield stage, trace


async def measure(subject: Subject, changes: int) -> list[Row]:
    async with traced(subject, pods=PODS, devices=PODS) as (stage, trace):
        seen = [await _one(stage, number) for number in range(1, changes + 1)]
        marks = await read(trace)
    steps = [found for pod, began, ended in seen if (found := _steps(marks, pod, began, ended))]
    return [
        Row(subject.name, f"of a lone change: {name}", len(steps), "ms", median([each[index] for each in steps]))
        for index, name in enumerate(STEPS)
    ]


async def punctual(subject: Subject, ends: int, pods: int) -> list[Row]:
    """Lease end → the first patch leaves, of one pod's device; and the last of all pods' where they end together."""
    async with traced(subject, pods=pods, devices=pods) as (stage, trace):
        said = [(turn % pods, await _silent(stage, [turn % pods])) for turn in range(ends)]
        together = [await _silent(stage, range(pods)) for _ in range(max(1, ends // 10))]
        marks = await read(trace)
    lone = [late for pod, at in said if (late := _left(marks, f"bench-{pod}", at)) is not None]
    first = [min(late for pod in range(pods) if (late := _left(marks, f"bench-{pod}", at)) is not None) for at in together]
    return [
        _row(subject, "lease end → its patch leaves, 1 pod", lone),
        _row(subject, f"lease end → the first patch leaves, {pods} pods", first),
    ]


def _row(subject: Subject, what: str, late: list[float]) -> Row:
    found = median(late)
    return Row(
        subject.name, what, len(late), "ms", found, p99=percentile(late, 0.99), goal=f"≤ {PUNCTUAL:g} ms", met=found.value <= PUNCTUAL
    )


async def _silent(stage: Stage, pods: "range | list[int]") -> float:
    """Devices reported with a short lease and not again; waits until they are Unknown, and heals them. The second of the report."""
    ended = [stage.recorder.ended(f"bench-{pod}", "condition") for pod in pods]
    said = {f"d{pod}": (Health.HEALTHY, "") for pod in pods}
    began = await stage.devices.change(said, SHORT)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*ended)
        healed = [stage.recorder.seen(f"bench-{pod}", "condition", 0) for pod in pods]
        await stage.devices.change(said)
        await asyncio.gather(*healed)
    return began


def _left(marks: list[Mark], pod: str, said: float) -> float | None:
    """Milliseconds from the end of the lease that began with the report said at `said` to the pod's next patch."""
    heard = next((mark for mark in marks if mark.what == "report" and mark.began >= said), None)
    if heard is None:
        return None
    deadline = heard.began + SHORT
    # From half way: a patch before the end of the lease would be as wrong as a late one, and shows as a negative time.
    patch = next((mark for mark in marks if (mark.what, mark.name) == ("pods", pod) and mark.began >= deadline - SHORT / 2), None)
    return None if patch is None else (patch.began - deadline) * 1000


async def read(trace: Path) -> list[Mark]:
    """In the order in which they began."""
    lines = (await asyncio.to_thread(trace.read_text)).splitlines()
    return sorted((Mark(*json.loads(line)) for line in lines), key=lambda mark: mark.began)


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


def _steps(marks: list[Mark], pod: str, began: float, ended: float) -> tuple[float, ...] | None:
    """Milliseconds between the marks of one change; None where one is missing."""
    mine = [mark for mark in marks if began <= mark.began <= ended]
    report = next((mark for mark in mine if mark.what == "report"), None)
    patch = next((mark for mark in mine if (mark.what, mark.name) == ("pods", pod)), None)
    if report is None or patch is None:
        return None
    moments = (began, report.began, report.ended, patch.began, ended)
    return tuple((later - earlier) * 1000 for earlier, later in itertools.pairwise(moments))
