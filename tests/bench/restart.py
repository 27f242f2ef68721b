"""A device breaks while the agent is dead: from its next start until the pod says so, with a node full of devices to be read first."""

import asyncio
import time

from podvitals.device.health import Health
from tests.bench.latency import PATIENCE
from tests.bench.stage import Stage
from tests.bench.stats import median
from tests.bench.subject import Child, Subject
from tests.bench.table import Row

DEVICES, PER_CLAIM = 4096, 32
LONGEST = 500.0


async def measure(subject: Subject, times: int, *, devices: int = DEVICES, pods: int) -> list[Row]:
    """The agent is killed each time, as by the OOM killer: its checkpoint is what it happened to have written."""
    found: list[float] = []
    async with Stage.open(subject, pods=pods, devices=devices, per_claim=min(PER_CLAIM, devices // pods)) as stage:
        async with Child.running(subject.agent, subject.log("agent"), subject.environment) as first:
            await stage.until_told(range(pods), within=60)
            await asyncio.sleep(1.5)  # "heard again" is written once a second
            await first.kill()
        for number in range(1, times + 1):
            found.append(await _once(subject, stage, number))
    value = median(found)
    what = f"agent killed, {devices:,} devices: its next start → the first correct status"
    return [Row(subject.name, what, len(found), "ms", value, goal=f"≤ {LONGEST:g} ms", met=value.value <= LONGEST)]


async def _once(subject: Subject, stage: Stage, number: int) -> float:
    seen = stage.recorder.seen("bench-0", "condition", number)
    await stage.devices.change({"d0": (Health.UNHEALTHY, f"n={number} the device says something of usual length")})
    began = time.monotonic()
    async with Child.running(subject.agent, subject.log("agent"), subject.environment) as agent:
        async with asyncio.timeout(PATIENCE):
            took = (await seen - began) * 1000
            healed = stage.recorder.seen("bench-0", "condition", 0)
            await stage.devices.change({"d0": (Health.HEALTHY, "")})
            await healed
        await asyncio.sleep(1.5)
        await agent.kill()
    return took
