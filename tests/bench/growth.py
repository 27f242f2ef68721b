"""What an agent holds in memory beside 110 pods and 4,096 devices while these change a hundred thousand times."""

import asyncio

from podvitals.device.health import Health
from tests.bench.stage import Stage
from tests.bench.stats import Estimate
from tests.bench.subject import Subject, rss
from tests.bench.table import Row

PODS, DEVICES, PER_CLAIM = 110, 4096, 32
CHANGES, EACH = 100_000, 256
"""`EACH` devices change in one report."""
MOST, GROWTH = 60.0, 5.0
PATIENCE = 30.0


async def measure(subject: Subject, changes: int = CHANGES, *, pods: int = PODS, devices: int = DEVICES, each: int = EACH) -> list[Row]:
    """The agent starts beside the filled node, as after an upgrade. The next report is made when the last one was seen on a pod."""
    seen: list[float] = []
    per_claim = min(PER_CLAIM, devices // pods)
    async with Stage.open(subject, pods=pods, devices=devices, per_claim=per_claim) as stage:
        async with subject.running_agent() as agent:
            await stage.until_told(range(pods), within=60)
            started = rss(agent)
            rounds = max(10, changes // each)
            for number in range(1, rounds + 1):
                await _change(stage, number, pods * per_claim, per_claim, each)
                seen.append(rss(agent))
    tenth, last = seen[len(seen) // 10 - 1], seen[-1]
    growth = max(0.0, (last - tenth) / tenth * 100)
    made = rounds * each
    what = f"{made:,} changes, {pods} pods, {devices:,} devices"
    return [
        _row(subject, f"agent RSS before {what}", "MB", started),
        _row(subject, f"agent RSS, most in {what}", "MB", max(seen), f"≤ {MOST:g} MB", max(seen) <= MOST),
        _row(subject, "agent RSS, growth in the last 90 % of them", "%", growth, f"≤ {GROWTH:g} %", growth <= GROWTH),
    ]


async def _change(stage: Stage, number: int, held: int, per_claim: int, each: int) -> None:
    """The next `each` of the `held` devices, with a pod's first among them, which is the one that is waited for."""
    first = (number * each) % held // per_claim * per_claim
    sick = [f"d{(first + step) % held}" for step in range(each)]
    told = stage.recorder.seen(f"bench-{first // per_claim}", "condition", number)
    said = dict.fromkeys(sick, (Health.UNHEALTHY, f"n={number} the device says something of usual length"))
    await stage.devices.change(said)
    async with asyncio.timeout(PATIENCE):
        await told


def _row(subject: Subject, what: str, unit: str, value: float, goal: str = "", met: bool | None = None) -> Row:
    return Row(subject.name, what, 0, unit, Estimate(value, value, value), goal=goal, met=met)
