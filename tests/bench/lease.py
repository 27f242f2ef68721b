"""From the end of a lease until a reader sees Unknown: one device, and all pods' devices at once, with the bare burst beside it."""

import asyncio
import itertools
import statistics
from collections.abc import Sequence

from podvitals.device.health import Health
from tests.bench.latency import REST, Latency, Samples
from tests.bench.recorder import Place
from tests.bench.stage import Stage
from tests.bench.stats import bootstrap, median, percentile
from tests.bench.table import Row

SHORT = 1.0
"""The shortest lease a report may have."""
SEEN = 50.0
PATIENCE, KUBELETS_PATIENCE = 10.0, 150.0
"""Seconds after its end until which a lease's end must be seen. A kubelet alone notices it when somebody happens to read its cache."""


class Leases:
    """Measures on a stage whose devices are all Healthy. `latency` knows the bare burst."""

    def __init__(self, stage: Stage, places: Sequence[Place], latency: Latency) -> None:
        self._stage, self._places, self._latency = stage, tuple(places), latency
        self._numbers = itertools.count(1_000_000)  # later than any other of this stage

    async def one(self, ends: int, pods: int) -> Samples:
        """Pods take turns, several leases running at a time: each ends alone."""
        samples = Samples()
        turns: list[asyncio.Task[None]] = []
        free = [asyncio.Lock() for _ in range(pods)]

        async def turn(pod: int) -> None:
            async with free[pod]:
                late = await self.end([pod])
                for place in self._places:
                    samples.places.setdefault(place, []).append(late[place][0])
                await asyncio.sleep(REST)

        for index in range(ends):
            turns.append(asyncio.create_task(turn(index % pods), name=f"bench: lease {index}"))
            await asyncio.sleep((SHORT + REST + 0.3) / pods)
        await asyncio.gather(*turns)
        return samples

    async def together(self, rounds: int, pods: int) -> Samples:
        samples = Samples()
        for index in range(rounds):
            late = await self.end(range(pods))
            for place in self._places:
                samples.places.setdefault(place, []).append(max(late[place]))
            await asyncio.sleep(REST)
            samples.floor.append(await self._latency.bare_burst(pods, Health.UNHEALTHY if index % 2 == 0 else Health.HEALTHY))
            await asyncio.sleep(REST)
        return samples

    async def _say(self, pods: Sequence[int], number: int, patience: float) -> None:
        """They are Unhealthy (number 0: Healthy) until everybody says so."""
        seen = [self._stage.recorder.seen(f"bench-{pod}", place, number) for pod in pods for place in self._places]
        what = (Health.UNHEALTHY, f"n={number} the device says something of usual length") if number else (Health.HEALTHY, "")
        await self._stage.devices.change(dict.fromkeys((f"d{pod}" for pod in pods), what))
        async with asyncio.timeout(patience):
            await asyncio.gather(*seen)

    async def end(self, pods: Sequence[int]) -> dict[Place, list[float]]:
        """The milliseconds from the end of their leases, counted from when their driver said it, until each place of each pod says
        Unknown; then they are heard of again."""
        # The field of a real node is the kubelet's, which notices the end of a lease when somebody makes it look.
        patience = KUBELETS_PATIENCE if self._stage.subject.real else PATIENCE
        recorder = self._stage.recorder
        waits = {place: [recorder.ended(f"bench-{pod}", place) for pod in pods] for place in self._places}
        said = {f"d{pod}": (Health.HEALTHY, "") for pod in pods}
        ends = await self._stage.devices.change(said, SHORT) + SHORT
        async with asyncio.timeout(SHORT + patience):
            late = {place: [(at - ends) * 1000 for at in await asyncio.gather(*each)] for place, each in waits.items()}
        if self._stage.subject.real:
            # A real kubelet does not announce a state that expired and comes back unchanged: it has to change.
            await self._say(pods, next(self._numbers), patience)
        await self._say(pods, 0, patience)
        return late


def rows(stage: Stage, one: Samples, together: Samples, pods: int, note: str = "") -> list[Row]:
    return [*(_one(stage, place, values, note) for place, values in one.places.items()), *_together(stage, together, pods, note)]


def kubelet_row(stage: Stage, late: Sequence[float]) -> Row:
    """The yardstick: what the kubelet's own field does where nobody wakes it."""
    found = median(late)
    what = f"lease end → field, {len(late)} pods, no agent"
    return Row(stage.subject.name, what, len(late), "ms", found, p99=percentile(late, 0.99))


def _one(stage: Stage, place: Place, late: list[float], note: str) -> Row:
    found = median(late)
    ours = _is_ours(stage, place)
    goal, met = (f"≤ {SEEN:g} ms", found.value <= SEEN) if ours else ("", None)
    what = f"lease end → {place}, 1 pod{note}"
    return Row(stage.subject.name, what, len(late), "ms", found, p99=percentile(late, 0.99), goal=goal, met=met)


def _together(stage: Stage, samples: Samples, pods: int, note: str) -> list[Row]:
    found = []
    for place, late in samples.places.items():
        # By how much the last pod is later than 50 ms and one and a half bare bursts: 0 or less is the goal.
        over = bootstrap(samples.pairs(place), _over)
        ours = _is_ours(stage, place)
        found.append(
            Row(
                stage.subject.name,
                f"lease end → {place}, {pods} pods{note}",
                len(late),
                "ms",
                median(late),
                p99=percentile(late, 0.99),
                floor=median(samples.floor),
                over=over,
                over_unit="ms",
                goal="≤ 50 ms + 1.5×" if ours else "",
                met=over.value <= 0 if ours else None,
            )
        )
    return found


def _is_ours(stage: Stage, place: Place) -> bool:
    """The field of a real node is the kubelet's."""
    return place == "condition" or not stage.subject.real


def _over(pairs: Sequence[tuple[float, ...]]) -> float:
    return statistics.median(pair[0] for pair in pairs) - SEEN - 1.5 * statistics.median(pair[1] for pair in pairs)
