"""The Lease says that what pods say is kept up to date, and only then."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podvitals.agent.lease import PACE, PERIOD, RETRY, STANDING, Renewer
from podvitals.claim.cluster import Lease
from podvitals.claim.times import unix
from podvitals.errors import Conflict, NotFound
from podvitals.fleet.inventory import UNTOLD, agent_view
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import LEASES
from podvitals.lab.api import ApiServer
from podvitals.pod.desk import Vouch
from podvitals.testing import ManualClock


class Stage:
    def __init__(self, client: Client, clock: ManualClock) -> None:
        self.client, self.clock = client, clock
        self.said = Vouch({})
        self.standing: list[bool] = []
        self.renewer = Renewer(client, "node-1", "kube-system", self.clock, self.vouch)

    def vouch(self, standing: bool) -> Vouch:
        self.standing.append(standing)
        return self.said

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
            await self.clock.advance(PACE)
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
    assert stage.clock.wall() - await stage.renewed() <= PACE


async def test_the_lease_tells_the_servers_time_although_the_nodes_clock_is_an_hour_ahead(stage: Stage) -> None:
    hasty = ManualClock()
    hasty.set_wall(stage.clock.wall() + 3600)
    async with Client(stage.client.config, clock=hasty) as client:
        await client.list(LEASES, "kube-system")  # any answer tells the server's time
        renewer = Renewer(client, "node-1", "kube-system", hasty, lambda _standing: Vouch({}))
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
        stage.said = Vouch({}, "40 pods could not be told the truth")
        await stage.period()
        assert await stage.renewed() == before
        stage.said = Vouch({})
        await stage.period()
        assert await stage.renewed() > before


async def test_the_few_pods_that_could_not_be_told_are_named_in_the_lease_and_named_no_more_at_once(stage: Stage) -> None:
    async with stage.renewing():
        stage.said = Vouch({"uid-a": stage.clock.now() - 60})
        await stage.period()
        lease = await stage.read()
        since = stage.clock.wall() - 60
        assert agent_view("node-1", lease).untold == {"uid-a": pytest.approx(since, abs=2 * PERIOD)}
        stage.said = Vouch({})
        stage.renewer.look()
        await stage.clock.advance(PACE)
        assert UNTOLD not in (await stage.read()).metadata.annotations


async def test_a_lease_that_is_made_names_them_too(stage: Stage) -> None:
    stage.said = Vouch({"uid-a": stage.clock.now()})
    async with stage.renewing():
        assert set(agent_view("node-1", await stage.read()).untold) == {"uid-a"}


async def test_an_agent_that_begins_or_was_silent_says_so_when_it_asks_what_it_may_vouch_for(stage: Stage) -> None:
    async with stage.renewing():
        await stage.period()
        assert stage.standing == [False, True]
        stage.said = Vouch({}, "40 pods could not be told the truth")
        await stage.clock.advance(STANDING + PERIOD)
        assert stage.standing[-1] is False


async def test_the_moment_in_which_nothing_is_known_at_a_start_is_no_complaint(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.said = Vouch({}, "not every pod of this node has been seen")
    async with stage.renewing():
        assert caplog.messages == []
        stage.said = Vouch({})
        stage.renewer.look()
        await stage.clock.advance(RETRY)
        assert await stage.renewed() > 0


async def test_what_was_complained_of_is_said_to_be_over(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with stage.renewing():
        stage.said = Vouch({}, "40 pods could not be told the truth")
        await stage.period()
        stage.said = Vouch({"uid-a": stage.clock.now()})
        await stage.period()
        stage.said = Vouch({})
        await stage.period()
    said = [message for index, message in enumerate(caplog.messages) if message not in caplog.messages[:index]]
    assert said == ["lease not renewed", "lease renewed again", "pods not told the truth", "all pods told again"]


class Contrary(Client):
    """What does not exist can be neither patched nor created: two API servers behind one address that disagree."""

    calls = 0

    async def patch(self, *_args: Any, **_more: Any) -> Any:
        self.calls += 1
        raise NotFound("it is not there", status=404)

    async def create(self, *_args: Any, **_more: Any) -> Any:
        self.calls += 1
        raise Conflict("it is there already", status=409)


async def test_a_lease_that_is_said_to_exist_and_not_to_exist_is_tried_a_few_times_only(stage: Stage) -> None:
    client = Contrary(stage.client.config, clock=stage.clock)
    async with client:
        renewer = Renewer(client, "node-1", "kube-system", stage.clock, stage.vouch)
        task = asyncio.create_task(renewer.run(), name="lease")
        await stage.clock.slept_on()
        assert client.calls == 6
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
