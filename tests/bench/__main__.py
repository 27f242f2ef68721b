"""`python -m tests.bench [--json] [--quick] [--minutes M]`: one table of what podvitals costs and how fast it is (make bench).

On the lab by default; CLUSTER=1 on a real Kubernetes (K8S picks the release), which needs root and Go.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from tests.bench import memory, startup
from tests.bench.latency import Latency, Samples
from tests.bench.recorder import Place
from tests.bench.stage import Child, Stage, Subject, lab, real
from tests.bench.stats import Estimate, median, over_floor, percentile, ratio
from tests.bench.table import Row, render, render_json
from tests.cluster.build import DEFAULT_VERSION

PODS = 90
NAMES = {"lone": "a lone change", "quick": "changes 50 ms apart", "burst": "90 pods at once"}


class Bench:
    """`pairs` of change and bare patch for each way but bursts, of which there are `rounds`."""

    def __init__(self, *, pairs: int, rounds: int, minutes: float, real: bool) -> None:
        self.pairs, self.rounds, self.minutes, self.real = pairs, rounds, minutes, real
        self.rows: list[Row] = []

    async def run(self) -> None:
        async with real(os.environ.get("K8S", DEFAULT_VERSION)) if self.real else lab() as subject:
            say(f"{subject.name} is up; the agent's latencies")
            async with Stage.open(subject, pods=PODS, twins=PODS, devices=PODS) as stage:
                places: list[Place] = ["condition", "field"]
                async with Child.running(subject.agent, subject.log("agent"), subject.environment):
                    await self._latencies(stage, places, "")
                if self.real:
                    say("the kubelet alone")
                    await self._latencies(stage, ["field"], ", no agent")
            say(f"memory, for {self.minutes:g} min")
            self._memory(subject, await memory.measure(subject, self.minutes))
            say("start-up")
            self.rows += await startup.measure(subject)

    async def _latencies(self, stage: Stage, places: Sequence[Place], note: str) -> None:
        latency = Latency(stage, places)
        await latency.prepare()
        self._add(stage.subject, "lone", await latency.lone(self.pairs, pods=10), note)
        self._add(stage.subject, "quick", await latency.quick(self.pairs), note)
        self._add(stage.subject, "burst", await latency.burst(self.rounds, PODS), note)

    def _add(self, subject: Subject, way: str, samples: Samples, note: str) -> None:
        for place, values in samples.places.items():
            pairs = samples.pairs(place)
            over = ratio(pairs) if way == "burst" else over_floor(pairs)
            # The real kubelet's own field is the yardstick, not ours to promise.
            ours = place == "condition" or not self.real
            limit = 1.5 if way == "burst" else 2.0
            self.rows.append(
                Row(
                    subject=subject.name,
                    what=f"{NAMES[way]} → {place}{note}",
                    samples=len(values),
                    unit="ms",
                    value=median(values),
                    p99=percentile(values, 0.99),
                    floor=median(samples.floor),
                    over=over,
                    over_unit="×" if way == "burst" else "ms",
                    goal=("≤ 1.5×" if way == "burst" else "≤ +2 ms") if ours else "(yardstick)",
                    met=over.value <= limit if ours else None,
                )
            )

    def _memory(self, subject: Subject, found: memory.Memory) -> None:
        what = f"agent RSS, {memory.PODS} pods, {memory.DEVICES} devices, most in {found.minutes:g} min"
        exact = Estimate(found.most, found.most, found.most)
        self.rows.append(Row(subject.name, what, 0, "MB", exact, goal="≤ 60 MB", met=found.most <= 60))


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    parser.add_argument("--quick", action="store_true", help="few samples: whether it works, not how fast it is")
    parser.add_argument("--minutes", type=float, default=None, help="how long the agent's memory is watched (10)")
    given = parser.parse_args()
    pairs, rounds, minutes = (20, 4, 0.1) if given.quick else (300, 20, 10.0)
    bench = Bench(pairs=pairs, rounds=rounds, minutes=given.minutes or minutes, real=os.environ.get("CLUSTER") == "1")
    asyncio.run(bench.run())
    print(render_json(bench.rows) if given.json else render(bench.rows))


if __name__ == "__main__":
    main()
