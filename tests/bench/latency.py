"""The three ways devices change, and a bare patch of the same bytes beside each: one alone, one every 50 ms, and 90 at once."""

import asyncio
import copy
import itertools
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from podvitals.device.health import Health
from podvitals.pod.entry import ANNOTATION, CONDITION
from tests.bench.recorder import Place
from tests.bench.stage import AT_ONCE, Stage
from tests.cluster.api import Object
from tests.cluster.subjects import condition

PATIENCE = 20.0
"""Seconds within which a change must be seen, else the bench fails."""
REST = 1.2
"""Seconds between two changes of one pod that both count as lone: an annotation is written at most once a second."""


@dataclass
class Samples:
    """Milliseconds: of changes, at each place, and of the bare patch made beside each."""

    places: dict[Place, list[float]] = field(default_factory=dict)
    floor: list[float] = field(default_factory=list)

    def pairs(self, place: Place) -> list[tuple[float, float]]:
        return list(zip(self.places[place], self.floor, strict=True))


class Latency:
    """Measures on a stage. `places`: where a change is looked for; the first is the one it is waited for."""

    def __init__(self, stage: Stage, places: Sequence[Place]) -> None:
        self._stage, self._places = stage, tuple(places)
        self._numbers = itertools.count(1)
        self._templates: dict[Health, Object] = {}

    async def prepare(self) -> None:
        """Takes what the agent itself writes as the bytes of the bare patches."""
        for health in (Health.UNHEALTHY, Health.HEALTHY):
            await self._change([0], health)
            self._templates[health] = await self._written(health)
            await asyncio.sleep(REST)

    async def _written(self, health: Health) -> Object:
        """Metadata and conditions as the agent patches them; where there is no agent, something as long."""
        async with asyncio.timeout(PATIENCE):
            while "condition" in self._places:
                pod = self._stage.recorder.pods["bench-0"]
                note = pod["metadata"].get("annotations", {}).get(ANNOTATION, "")
                if note and json.loads(note) and f'"health":"{health}"' in note.replace(" ", ""):
                    return {"annotations": {ANNOTATION: note}, "condition": copy.deepcopy(condition(pod))}
                await asyncio.sleep(0.05)
        written = {"type": CONDITION, "status": str(health is Health.HEALTHY), "reason": "Bench", "message": "n=0 " + "x" * 60}
        return {"annotations": {ANNOTATION: "x" * 400}, "condition": {**written, "lastTransitionTime": "2026-01-01T00:00:00Z"}}

    async def lone(self, pairs: int, pods: int) -> Samples:
        """Pods take turns, so that each rests between its changes."""
        samples = Samples()
        health = [Health.UNHEALTHY if turn % 2 == 0 else Health.HEALTHY for turn in range(2 * pairs)]
        pause = REST / pods / 2
        for index in range(pairs):
            pod, turn = index % pods, health[index // pods]
            seen = await self._change([pod], turn)
            for place in self._places:
                samples.places.setdefault(place, []).append(seen[place][0])
            await asyncio.sleep(pause)
            samples.floor.append((await self._bare([pod], turn))[0])
            await asyncio.sleep(pause)
        return samples

    async def quick(self, pairs: int, apart: float = 0.05) -> Samples:
        """One pod, a change every 50 ms whether or not the last was seen, the bare patches half way between."""
        samples = Samples()
        began = time.monotonic()
        changes: list[asyncio.Task[dict[Place, list[float]]]] = []
        bare: list[asyncio.Task[list[float]]] = []
        for index in range(pairs):
            await asyncio.sleep(max(0.0, began + index * apart - time.monotonic()))
            changes.append(asyncio.create_task(self._change([0], Health.UNHEALTHY)))
            await asyncio.sleep(max(0.0, began + (index + 0.5) * apart - time.monotonic()))
            # The agent's annotation comes once a second, its condition each time: so do theirs.
            bare.append(asyncio.create_task(self._bare([0], Health.UNHEALTHY, annotation=index % int(1 / apart) == 0)))
        for seen in await asyncio.gather(*changes):
            for place in self._places:
                samples.places.setdefault(place, []).append(seen[place][0])
        samples.floor = [each[0] for each in await asyncio.gather(*bare)]
        return samples

    async def burst(self, rounds: int, pods: int) -> Samples:
        """All pods' devices in one report; until the last pod says so."""
        samples = Samples()
        everyone = range(pods)
        for index in range(rounds):
            health = Health.UNHEALTHY if index % 2 == 0 else Health.HEALTHY
            seen = await self._change(everyone, health)
            for place in self._places:
                samples.places.setdefault(place, []).append(max(seen[place]))
            await asyncio.sleep(REST)
            samples.floor.append(await self.bare_burst(pods, health))
            await asyncio.sleep(REST)
        return samples

    async def bare_burst(self, pods: int, health: Health) -> float:
        """The milliseconds that bare patches of as many pods take, until the last was seen."""
        return max(await self._bare(range(pods), health))

    async def _change(self, pods: Sequence[int], health: Health) -> dict[Place, list[float]]:
        """Changes the first device of each pod; the milliseconds until each place of each pod showed it."""
        number = next(self._numbers)
        shown = number if health is Health.UNHEALTHY else 0
        waits = {place: [self._stage.recorder.seen(f"bench-{pod}", place, shown) for pod in pods] for place in self._places}
        message = f"n={number} the device says something of usual length" if shown else ""
        began = await self._stage.devices.change({f"d{pod}": (health, message) for pod in pods})
        async with asyncio.timeout(PATIENCE):
            return {place: [(at - began) * 1000 for at in await asyncio.gather(*each)] for place, each in waits.items()}

    async def _bare(self, pods: Sequence[int], health: Health, *, annotation: bool = True) -> list[float]:
        """Patches the twins, at most 8 at once; the milliseconds from the first request until each was seen."""
        number = next(self._numbers)
        template = self._templates[health]
        healthy = health is Health.HEALTHY
        waits = [self._stage.recorder.seen(f"twin-{pod}", "condition", 0 if healthy else number) for pod in pods]
        gate = asyncio.Semaphore(AT_ONCE)
        bodies = [self._body(f"twin-{pod}", template, number, annotation) for pod in pods]
        began = time.monotonic()

        async def patch(pod: int, body: bytes) -> None:
            async with gate:
                await self._stage.bare.patch_status(f"{self._stage.pods}/twin-{pod}", body)

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(patch(pod, body) for pod, body in zip(pods, bodies, strict=True)))
            return [(at - began) * 1000 for at in await asyncio.gather(*waits)]

    def _body(self, name: str, template: Object, number: int, annotation: bool) -> bytes:
        said: dict[str, Any] = {**template["condition"]}
        said["message"] = _renumbered(said.get("message", ""), number)
        metadata: Object = {"uid": self._stage.recorder.pods[name]["metadata"]["uid"]}
        if annotation:
            metadata["annotations"] = {key: _renumbered(note, number) for key, note in template["annotations"].items()}
        return json.dumps({"metadata": metadata, "status": {"conditions": [said]}}, separators=(",", ":")).encode()


def _renumbered(text: str, number: int) -> str:
    """The same text for another change; text without a number says it at its end, since an unchanged patch would be no patch."""
    return re.sub(r"\bn=\d+", f"n={number}", text) if "n=" in text else f"{text} n={number}"
