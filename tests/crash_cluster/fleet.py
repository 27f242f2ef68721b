"""Worlds one after the other on one cluster: each goes on from round to round until something is wrong."""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tests.cluster.api import Api
from tests.cluster.cluster import Cluster
from tests.crash_cluster import plan
from tests.crash_cluster.report import ClusterReport
from tests.crash_cluster.round import Rounds
from tests.crash_cluster.world import World


class Worlds:
    """`run` tells `on_report` of each round as it ends; False from it ends the run."""

    def __init__(self, cluster: Cluster, api: Api) -> None:
        self._cluster, self._api = cluster, api

    async def run(self, seeds: Iterable[int], on_report: Callable[[ClusterReport], bool], *, must: str = "", twin: str = "") -> None:
        waiting = iter(list(seeds))
        for seed in waiting:
            if not await self._world(itertools.chain([seed], waiting), on_report, must, twin):
                return

    async def _world(self, seeds: Iterable[int], on_report: Callable[[ClusterReport], bool], must: str, twin: str) -> bool:
        """One world, until something is wrong in it or there is no more seed; whether to go on with another."""
        async with World.open(self._cluster, self._api, twin) as world:
            rounds = Rounds(world)
            try:
                await rounds.furnish()
                if world.wrong:
                    wrong = [("no world", one.text) for one in world.wrong]
                    return on_report(await asyncio.to_thread(_keep, world, ClusterReport(-1, wrong=wrong), 0))
                for seed in seeds:
                    begins = len(world.story)
                    report = await rounds.run(plan.make(seed, must))
                    report.story = world.since(begins)
                    if report.wrong:
                        await asyncio.to_thread(_keep, world, report, begins)
                    go_on = on_report(report)
                    if report.wrong or not go_on:
                        return go_on
                return on_report(await self._end(rounds))
            finally:
                await rounds.abandon()
                await self._tidy(world)

    async def _end(self, rounds: Rounds) -> ClusterReport:
        """Of the pods that a failed prepare made late."""
        begins = len(rounds.world.story)
        report = await rounds.drain()
        return await asyncio.to_thread(_keep, rounds.world, report, begins) if report.wrong else report

    async def _tidy(self, world: World) -> None:
        """While their drivers still run: a kubelet tries to unprepare for ever."""
        path = f"/api/v1/namespaces/{world.namespace}/pods"
        for pod in world.alive():
            await self._api.delete(f"{path}/{pod.name}", grace=1)
        await world.seen.until(lambda: not world.alive(), 20.0)


def _keep(world: World, report: ClusterReport, begins: int) -> ClusterReport:
    """Blocks."""
    world.keep(report, "podvitals-crash-cluster", begins)
    with suppress(OSError):
        shutil.copy(world.cluster.log("kubelet"), Path(report.kept) / "logs" / "kubelet.log")
    return report
