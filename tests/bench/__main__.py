"""`python -m tests.bench [--json] [--quick] [--minutes M]`: one table of what podvitals costs and how fast it is (make bench).

On the lab by default; CLUSTER=1 on a real Kubernetes (K8S picks the release), which needs root and Go.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from tests.bench import memory, startup, where
from tests.bench.latency import Latency, Samples
from tests.bench.recorder import Place
from tests.bench.stage import Stage, Subject, lab, real
from tests.bench.stats import Estimate, median, over_floor, percentile, ratio
from tests.bench.table import Row, render, render_json
from tests.cluster.build import DEFAULT_VERSION

PODS = 90
NAMES = {"lone": "a lone change", "quick": "changes 50 ms apart", "burst": "{pods} pods at once"}


class Bench:
    """`pairs` of change and bare patch for each way but bursts, of which there are `rounds`;
    `starts` of each process. Without `minutes` memory is not looked at."""

    def __init__(self, *, pairs: int, rounds: int, starts: int, minutes: float, real: bool, pods: int = PODS) -> None:
        self.pairs, self.rounds, self.starts, self.minutes, self.real, self.pods = pairs, rounds, starts, minutes, real, pods
        self.rows: list[Row] = []

    async def run(self) -> None:
        async with real(os.environ.get("K8S", DEFAULT_VERSION)) if self.real else lab() as subject:
            say(f"{subject.name} is up; the agent's latencies")
            async with Stage.open(subject, pods=self.pods, twins=self.pods, devices=self.pods) as stage:
                places: list[Place] = ["condition", "field"]
                async with subject.running_agent():
                    await self._latencies(stage, places, "")
                if self.real:
                    say("the kubelet alone")
                    await self._latencies(stage, ["field"], ", no agent")
            if subject.agent:
                say("where the time goes")
                self.rows += await where.measure(subject, self.pairs)
            if self.minutes:
                say(f"memory, for {self.minutes:g} min")
                self._memory(subject, await memory.measure(subject, self.minutes))
            say("start-up")
            self.rows += await startup.measure(subject, self.starts)
        if not self.real:
            self.rows.append(await startup.measure_lab(self.starts))

    async def _latencies(self, stage: Stage, places: Sequence[Place], note: str) -> None:
        latency = Latency(stage, places)
        await latency.prepare()
        self._add(stage.subject, "lone", await latency.lone(self.pairs, pods=min(10, self.pods)), note)
        self._add(stage.subject, "quick", await latency.quick(self.pairs), note)
        self._add(stage.subject, "burst", await latency.burst(self.rounds, self.pods), note)

    def _add(self, subject: Subject, way: str, samples: Samples, note: str) -> None:
        for place, values in samples.places.items():
            pairs = samples.pairs(place)
            over = ratio(pairs) if way == "burst" else over_floor(pairs)
            # What is promised is promised of the agent on a real API server; the real kubelet's own field is the yardstick.
            ours = place == "condition" and self.real
            limit = 1.5 if way == "burst" else 2.0
            self.rows.append(
                Row(
                    subject=subject.name,
                    what=f"{NAMES[way].format(pods=self.pods)} → {place}{note}",
                    samples=len(values),
                    unit="ms",
                    value=median(values),
                    p99=percentile(values, 0.99),
                    floor=median(samples.floor),
                    over=over,
                    over_unit="×" if way == "burst" else "ms",
                    goal=("≤ 1.5×" if way == "burst" else "≤ +2 ms") if ours else "",
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
    pairs, rounds, starts, minutes = (20, 4, 1, 0.1) if given.quick else (300, 20, 5, 10.0)
    bench = Bench(pairs=pairs, rounds=rounds, starts=starts, minutes=given.minutes or minutes, real=os.environ.get("CLUSTER") == "1")
    asyncio.run(bench.run())
    print(render_json(bench.rows) if given.json else render(bench.rows))


if __name__ == "__main__":
    main()
