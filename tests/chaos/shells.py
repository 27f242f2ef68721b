"""The agent's shells as they are, but for what each asks of asyncio: events, timers and tasks are those of a simulated process."""

import random
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from podvitals.agent.claims import ClaimReader, _Reading
from podvitals.agent.lease import PACE, Renewer
from podvitals.claim.holdings import claim_names
from podvitals.claim.pod import Pod
from podvitals.claim.resource import ResourceClaim
from podvitals.errors import NotFound
from podvitals.kube.resources import CLAIMS
from podvitals.pod.events import Announcer
from podvitals.pod.publish import Publisher
from tests.chaos.cast import NODE
from tests.chaos.loop import Signal

if TYPE_CHECKING:
    import asyncio

    from tests.chaos.agent import Agent


class SimPublisher(Publisher):
    def __init__(self, agent: "Agent") -> None:
        super().__init__(agent.client, agent.desk, agent.clock, on_posted=agent._posted, on_result=lambda outcome, seconds: None)
        self._agent = agent
        self._signal = Signal(agent.later)
        self._moved = cast("asyncio.Event", self._signal)

    def begin(self) -> None:
        self._tasks = self._agent.tasks
        self._agent.tasks.create_task(self._keep_time())

    def go(self) -> None:
        if self._tasks is not None and not self._posting:
            self._posting = True
            self._agent.later(0.0, self._post)

    async def _until(self, deadline: float | None) -> None:
        await self._signal.wait(None if deadline is None else deadline - self._clock.now())


class SimAnnouncer(Announcer):
    def __init__(self, agent: "Agent") -> None:
        super().__init__(agent.client, NODE, agent.desk.notices, agent.clock)
        self._signal = Signal(agent.later)
        self._told = cast("asyncio.Event", self._signal)

    async def _until(self, deadline: float | None) -> None:
        await self._signal.wait(None if deadline is None else deadline - self._clock.now())


class SimRenewer(Renewer):
    def __init__(self, agent: "Agent") -> None:
        super().__init__(agent.client, NODE, "kube-system", agent.clock, agent.vouch, agent._named)
        self._signal = Signal(agent.later)
        self._better = cast("asyncio.Event", self._signal)

    async def run(self) -> None:
        while True:
            self._better.clear()
            began = self._clock.now()
            pause = await self._turn()
            await self._signal.wait(pause * random.uniform(0.9, 1.0))
            await self._clock.sleep_until(began + PACE)


class SimClaims(ClaimReader):
    def __init__(self, agent: "Agent") -> None:
        super().__init__(agent.client, agent.clock, agent._held)
        self._agent = agent

    async def _follow(self, reading: _Reading) -> None:
        reading.changed = cast("asyncio.Event", Signal(self._agent.later))
        await super()._follow(reading)

    async def _wait(self, reading: _Reading, seconds: float) -> None:
        await cast("Signal", reading.changed).wait(seconds)

    async def _get(self, pod: Pod) -> dict[str, ResourceClaim]:
        """As ClaimReader does, one claim after the other."""
        claims = {}
        for name in sorted(claim_names(pod)):
            with suppress(NotFound):
                claims[name] = await self._client.get(CLAIMS, name, pod.metadata.namespace)
        return claims
