"""What an agent holds in memory beside 110 pods and 4,096 devices, all of which report all the time."""

import asyncio
from dataclasses import dataclass

from tests.bench.stage import Stage, Subject, rss

PODS, DEVICES, PER_CLAIM = 110, 4096, 32
EACH = 5.0


@dataclass(frozen=True)
class Memory:
    """MB: when every pod had its condition, at most, and at the end."""

    first: float
    most: float
    last: float
    minutes: float


async def measure(subject: Subject, minutes: float) -> Memory:
    """The agent starts beside the filled node, as after an upgrade."""
    async with Stage.open(subject, pods=PODS, devices=DEVICES, per_claim=PER_CLAIM) as stage:
        async with subject.running_agent() as agent:
            async with asyncio.timeout(60):
                while not all("podvitals.dev/devices" in pod["metadata"].get("annotations", {}) for pod in stage.recorder.pods.values()):
                    await asyncio.sleep(0.1)
            seen = [rss(agent)]
            for _ in range(max(1, int(minutes * 60 / EACH))):
                await asyncio.sleep(EACH)
                seen.append(rss(agent))
            return Memory(seen[0], max(seen), seen[-1], minutes)
