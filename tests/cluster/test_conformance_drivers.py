"""`podvitals conformance driver` on a driver of others: by upstream's helper, in Go (kubernetes/driver.go), under a real kubelet."""

import asyncio

from podvitals.testing.conformance.case import Outcome, Result
from podvitals.testing.conformance.driver import CASES
from podvitals.testing.conformance.driver.subject import DriverSubject
from podvitals.testing.conformance.execute import execute
from podvitals.wire.messages import ClaimRef
from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import World
from tests.cluster.test_conformance import claim_of

LEASE = 2.0


async def tried(world: World, health: str, every: float = LEASE / 3) -> list[Result]:
    """The kubelet watches beside the suite. The claim that is prepared is of a pod that runs: the suite comes after it, and unprepares."""
    world.device("d0")
    world.device("d1", "Unhealthy: fell off the bus")
    driver = world.run_upstream("d0", "d1", health=health, lease=f"{LEASE:g}s", every=f"{every:g}s")
    await driver.says("registered")
    await world.slice_of_driver()
    await world.run_pod()
    namespace, name, uid = await claim_of(world)
    socket = world.cluster.plugin_dir / f"{world.driver}-reg.sock"
    async with asyncio.timeout(120):
        return await execute(CASES, DriverSubject(socket, timeout=10.0, claims=[ClaimRef(namespace, uid, name)]), limit=60)


def named(results: list[Result], outcome: Outcome) -> set[str]:
    return {result.name for result in results if result.outcome is outcome}


@needs(Shown.LEASE)
async def test_a_driver_of_upstreams_helper_fails_no_case(world: World) -> None:
    results = await tried(world, "every")
    assert {result.name: result.finding.seen for result in results if result.outcome is Outcome.FAIL} == {}
    assert named(results, Outcome.WARN) == {"unknown-claim"}, "the helper fails the whole call"
    assert named(results, Outcome.SKIP) == {"restart"}


async def test_one_without_health_fails_no_case(world: World) -> None:
    """The helper lists health all the same, and answers UNIMPLEMENTED."""
    results = await tried(world, "none")
    assert named(results, Outcome.FAIL) == set()
    assert {"health-served", "first-report", "heartbeat"} <= named(results, Outcome.NOT_APPLICABLE)


@needs(Shown.LEASE)
async def test_one_that_reports_only_on_change_fails_the_heartbeat_and_nothing_else(world: World) -> None:
    results = await tried(world, "change")
    assert named(results, Outcome.FAIL) == {"heartbeat"}
