"""Runs the rows that are wanted: those that need a kubelet on the lab, the others on its API server alone; all on the real Kubernetes
where there is one."""

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from tests.bench import allway, checkpoint, curve, detectors, growth, lease, load, relay, relayed, restart, startup, taken, where
from tests.bench.latency import Latency, Samples
from tests.bench.plan import Plan
from tests.bench.recorder import Place
from tests.bench.stage import Stage
from tests.bench.stats import median, over_floor, percentile, ratio
from tests.bench.subject import Subject, api, lab, real
from tests.bench.table import Row

NAMES = {"lone": "a lone change", "quick": "changes 50 ms apart", "burst": "{pods} pods at once"}
REAL_PODS = 16
"""Pods with many devices each, on a real node: each takes its API server and kubelet a while to make."""


class Bench:
    """`say` hears what is being done. `version`: the Kubernetes release of a real one."""

    def __init__(self, plan: Plan, version: str = "", say: Callable[[str], None] = lambda _: None) -> None:
        self.plan, self._version, self._say = plan, version, say
        self.rows: list[Row] = []

    async def run(self) -> None:
        plan = self.plan
        async with AsyncExitStack() as stack:
            whole: Subject | None = None
            if plan.real:
                whole = await stack.enter_async_context(real(self._version))
            elif plan.wants("latency", "lease", "startup", "allway"):
                whole = await stack.enter_async_context(lab())
            if whole is not None:
                self._say(f"{whole.name} is up")
                await self._with_kubelet(whole)
                if plan.wants("allway") and os.geteuid() == 0:
                    self._say("from the kernel to the pod's status")
                    self.rows += await allway.measure(whole, plan.sizes.starts)
                if plan.real and plan.wants("relay"):
                    self._say("the relay before the kubelet")
                    self.rows += await relayed.measure(whole, plan.sizes)
                if plan.wants("startup"):
                    self._say("start-up of a driver")
                    self.rows += await startup.driver(whole, plan.sizes.starts)
            if plan.real and whole is not None:
                await self._with_agents(whole)
        if not plan.real:
            if plan.wants("where", "punctual", "load", "restart", "growth", "curve", "startup"):
                async with api() as alone:
                    await self._with_agents(alone)
            if plan.wants("startup"):
                self._say("start-up of the lab")
                self.rows.append(await startup.measure_lab(plan.sizes.starts))
        if plan.wants("detectors"):
            self._say("detectors")
            self.rows += await detectors.measure(2 * plan.sizes.seconds, plan.sizes.starts)
        if plan.wants("relay"):
            self._say("the relay")
            sizes = plan.sizes
            self.rows += await relay.measure(sizes.pairs, max(1, sizes.ends // 4), sizes.starts, sizes.devices)
        await self._in_this_process()

    # --- a node with a kubelet ---------------------------------------------------------------------------------------------------

    async def _with_kubelet(self, subject: Subject) -> None:
        if not self.plan.wants("latency", "lease"):
            return
        sizes = self.plan.sizes
        async with Stage.open(subject, pods=sizes.pods, twins=sizes.pods, devices=sizes.pods) as stage:
            async with subject.running_agent():
                await self._latencies(stage, ["condition", "field"], "")
                if self.plan.wants("lease"):
                    await self._leases(stage)
            if self.plan.real:
                if self.plan.wants("latency"):
                    self._say("the kubelet alone")
                    await self._latencies(stage, ["field"], ", no agent")
                if self.plan.wants("lease"):
                    self._say("the end of a lease, which a kubelet alone takes its time to notice (up to 150 s)")
                    late = await lease.Leases(stage, ["field"], Latency(stage, ["field"])).end(range(sizes.pods))
                    self.rows.append(lease.kubelet_row(stage, late["field"]))

    async def _latencies(self, stage: Stage, places: Sequence[Place], note: str) -> None:
        if not self.plan.wants("latency"):
            return
        sizes = self.plan.sizes
        latency = Latency(stage, places)
        await latency.prepare()
        self._say("a lone change")
        self._add(stage.subject, "lone", await latency.lone(sizes.pairs, pods=min(10, sizes.pods)), note)
        self._say("changes 50 ms apart")
        self._add(stage.subject, "quick", await latency.quick(sizes.pairs), note)
        self._say(f"{sizes.pods} pods at once")
        self._add(stage.subject, "burst", await latency.burst(sizes.rounds, sizes.pods), note)

    async def _leases(self, stage: Stage) -> None:
        sizes = self.plan.sizes
        places: list[Place] = ["condition", "field"]
        latency = Latency(stage, places)
        await latency.prepare()
        leases = lease.Leases(stage, places, latency)
        self._say("ends of leases, one at a time")
        one = await leases.one(sizes.ends, min(10, sizes.pods))
        self._say(f"ends of leases, {sizes.pods} pods at once")
        together = await leases.together(sizes.lease_rounds, sizes.pods)
        self.rows += lease.rows(stage, one, together, sizes.pods)

    def _add(self, subject: Subject, way: str, samples: Samples, note: str) -> None:
        for place, values in samples.places.items():
            pairs = samples.pairs(place)
            over = ratio(pairs) if way == "burst" else over_floor(pairs)
            # What is promised is promised of the agent on a real API server; the real kubelet's own field is the yardstick.
            ours = place == "condition" and self.plan.real
            limit = 1.5 if way == "burst" else 2.0
            self.rows.append(
                Row(
                    subject=subject.name,
                    what=f"{NAMES[way].format(pods=self.plan.sizes.pods)} → {place}{note}",
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

    # --- agents of the bench's own -----------------------------------------------------------------------------------------------

    async def _with_agents(self, subject: Subject) -> None:
        plan, sizes = self.plan, self.plan.sizes
        if plan.wants("where"):
            self._say("where the time of a lone change goes")
            self.rows += await where.measure(subject, sizes.pairs)
        if plan.wants("punctual"):
            self._say("how punctual the end of a lease is")
            self.rows += await where.punctual(subject, sizes.ends // 2, sizes.pods)
        if plan.wants("load"):
            self._say(f"{sizes.devices:,} devices at 10 reports/s")
            self.rows += await load.measure(subject, sizes.seconds, devices=sizes.devices, pods=min(load.PODS, sizes.pods))
        many = min(REAL_PODS, sizes.growth_pods) if plan.real else sizes.growth_pods
        if plan.wants("restart"):
            self._say("restarts of the agent")
            self.rows += await restart.measure(subject, sizes.starts, devices=sizes.devices, pods=many)
        if plan.wants("growth"):
            self._say(f"memory over {sizes.changes:,} changes")
            self.rows += await growth.measure(subject, sizes.changes, pods=sizes.growth_pods, devices=sizes.devices, each=sizes.growth_each)
        if plan.wants("curve"):
            self._say("the cost of one change")
            self.rows += await curve.measure(subject, sizes.points, devices=sizes.curve_devices, pods=sizes.curve_pods)
        if plan.wants("startup"):
            self._say("start-up of the agent")
            self.rows += await startup.agent(subject, sizes.starts)

    async def _in_this_process(self) -> None:
        sizes = self.plan.sizes
        if self.plan.wants("taken"):
            self._say("what the node side's cores take")
            self.rows += taken.measure(sizes.times, sizes.devices)
        if self.plan.wants("checkpoint"):
            self._say("the checkpoint")
            self.rows += await checkpoint.measure(sizes.times, sizes.devices)
