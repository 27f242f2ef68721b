"""The cost of one change against what else exists: it is to grow with what changed, so the curve is to be flat."""

import asyncio
from collections.abc import Mapping, Sequence

from podvitals.device.health import Health
from tests.bench.latency import PATIENCE
from tests.bench.stage import Stage
from tests.bench.stats import Estimate, median
from tests.bench.subject import Subject, cpu
from tests.bench.table import Row

DEVICES, PODS = (1, 16, 256, 4096), (1, 10, 50, 110)
APART = 0.1
STEEPEST = 1.5
BAR = 40


async def measure(subject: Subject, changes: int, *, devices: Sequence[int] = DEVICES, pods: Sequence[int] = PODS) -> list[Row]:
    """Of the agent's whole process, in CPU time: reading the report, finding whom it concerns, telling them, logging it."""
    by_devices = {count: await _point(subject, changes, count, 1) for count in devices}
    by_pods = {count: await _point(subject, changes, count, count) for count in pods}
    return [*_rows(subject, changes, "devices", by_devices), *_rows(subject, changes, "pods", by_pods)]


async def _point(subject: Subject, changes: int, devices: int, pods: int) -> Estimate:
    async with Stage.open(subject, pods=pods, devices=devices) as stage, subject.running_agent() as agent:
        await stage.until_told(range(pods), within=60)
        spent = []
        for number in range(1, changes + 1):
            seen = stage.recorder.seen("bench-0", "condition", number)
            before = await asyncio.to_thread(cpu, agent)
            await stage.devices.change({"d0": (Health.UNHEALTHY, f"n={number} the device says something of usual length")})
            async with asyncio.timeout(PATIENCE):
                await seen
            # What the change causes afterwards, its line in the log and its row in the checkpoint, belongs to it.
            await asyncio.sleep(APART)
            spent.append((await asyncio.to_thread(cpu, agent) - before) * 1000)
    return median(spent)


def _rows(subject: Subject, changes: int, what: str, points: Mapping[int, Estimate]) -> list[Row]:
    rows = []
    least = points[min(points)]
    for count, found in points.items():
        times = found.value / least.value
        last = count == max(points)
        rows.append(
            Row(
                subject.name,
                f"one change, {count:,} {what if count != 1 else what[:-1]}: agent's CPU",
                changes,
                "ms",
                found,
                over=Estimate(times, found.low / least.value, found.high / least.value),
                over_unit="×",
                goal=f"≤ {STEEPEST:g}× of one" if last else "",
                met=times <= STEEPEST if last else None,
            )
        )
    return rows


def draw(rows: Sequence[Row]) -> str:
    """The rows of a curve as bars, for people."""
    points = [row for row in rows if row.what.startswith("one change, ")]
    bars = [(row.what.removeprefix("one change, ").partition(":")[0], row.value.value) for row in points]
    if not bars:
        return ""
    most, wide = max(value for _, value in bars), max(len(text) for text, _ in bars)
    lines = [f"  {text.rjust(wide)}  {'█' * max(1, round(BAR * value / most))} {value:.2f}" for text, value in bars]
    return "\n".join(["cost of one change (ms of the agent's CPU) beside", *lines])
