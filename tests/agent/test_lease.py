"""The Lease says that what pods say is kept up to date, and only then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from podvitals.agent.lease import PERIOD, UNTOLD_LIMIT, Renewer
from podvitals.claim.cluster import Lease
from podvitals.claim.times import unix
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import LEASES
from podvitals.lab.api import ApiServer
from podvitals.testing import ManualClock


class Stage:
    def __init__(self, client: Client, clock: ManualClock) -> None:
        self.client, self.clock = client, clock
        self.untold: float | None = None
        self.renewer = Renewer(client, "node-1", "kube-system", self.clock, lambda: self.untold)

    async def renewed(self) -> float:
        """When the Lease says it was renewed, Unix seconds."""
        return unix((await self.read()).spec.renew_time) or 0.0

    async def read(self) -> Lease:
        return await self.client.get(LEASES, "podvitals-node-1", "kube-system")

    async def period(self) -> None:
        await self.clock.advance(PERIOD)
        await self.clock.slept_on()

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.renewer.run(), name="lease")
        try:
            await self.clock.slept_on()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    clock = ManualClock()
    async with ApiServer(clock=clock) as api, Client(ClusterConfig(api.url), clock=clock) as client:
        yield Stage(client, clock)


async def test_the_lease_is_made_and_renewed_every_ten_seconds(stage: Stage) -> None:
    async with stage.renewing():
        lease = await stage.read()
        assert (lease.spec.holder_identity, lease.spec.lease_duration_seconds) == ("node-1", 40)
        before = await stage.renewed()
        await stage.period()
        assert PERIOD * 0.9 <= await stage.renewed() - before <= PERIOD


async def test_the_lease_of_an_earlier_agent_goes_on(stage: Stage) -> None:
    async with stage.renewing():
        first = await stage.read()
    await stage.clock.advance(100)
    async with stage.renewing():
        second = await stage.read()
    assert (second.metadata.uid, second.spec.acquire_time) == (first.metadata.uid, first.spec.acquire_time)
    assert await stage.renewed() == stage.clock.wall()


async def test_the_lease_tells_the_servers_time_although_the_nodes_clock_is_an_hour_ahead(stage: Stage) -> None:
    hasty = ManualClock()
    hasty.set_wall(stage.clock.wall() + 3600)
    async with Client(stage.client.config, clock=hasty) as client:
        await client.list(LEASES, "kube-system")  # any answer tells the server's time
        renewer = Renewer(client, "node-1", "kube-system", hasty, lambda: None)
        task = asyncio.create_task(renewer.run(), name="lease")
        await hasty.slept_on()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert abs(await stage.renewed() - stage.clock.wall()) < 2


async def test_a_lease_that_was_deleted_is_made_again(stage: Stage) -> None:
    async with stage.renewing():
        await stage.client.delete(LEASES, "podvitals-node-1", "kube-system")
        await stage.period()
        assert await stage.renewed() > 0


async def test_an_agent_that_cannot_tell_the_truth_does_not_vouch_for_it(stage: Stage) -> None:
    async with stage.renewing():
        before = await stage.renewed()
        stage.untold = stage.clock.now() - UNTOLD_LIMIT
        await stage.period()
        assert await stage.renewed() == before
        stage.untold = None
        await stage.period()
        assert await stage.renewed() > before
