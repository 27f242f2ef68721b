"""Drivers of others, in Go by upstream's helper (kubernetes/driver.go), each with a weakness: what comes of it behind the relay."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from signal import SIGCONT, SIGSTOP

import pytest

from tests.cluster.relayed import TAKEN, Relayed
from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import Process, entries, field_of, healths
from tests.detect import veth

LEASE = 2.0


async def serving(relayed: Relayed, driver: Process) -> Process:
    """Registered with the kubelet, its devices published."""
    await driver.says("registered")
    await relayed.world.slice_of_driver()
    return driver


@pytest.fixture
def interface() -> Iterator[str]:
    with veth.pair("pvr") as (name, _):
        yield name


@needs(Shown.MESSAGE)
async def test_a_driver_without_health_gets_it_from_detectors(relayed: Relayed, interface: str) -> None:
    """The kubelet alone shows Unknown for ever."""
    relayed.start()
    driver = relayed.world.run_upstream(interface, attribute="ifName")
    relayed.speak_for(f"net:{interface},interval=1")
    await serving(relayed, driver)
    await relayed.world.run_pod()
    await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
    veth.down(interface)
    pod = await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
    assert f"interface {interface} is down" in next(iter(field_of(pod).values()))[1]
    veth.up(interface)
    await relayed.world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


@needs(Shown.ONE_ENTRY_OF_A_SHARED_CDI_ID)
async def test_devices_with_the_same_first_cdi_id_are_one_entry_of_the_field_and_two_of_the_annotation(relayed: Relayed) -> None:
    """The field's entry is the kubelet's, by the id alone: no relay cures it. Which of the two it shows depends on the order of a map."""
    world = relayed.world
    relayed.start()
    world.run_agent()
    world.device("d0")
    world.device("d1", "Unhealthy: fell off the bus")
    await serving(relayed, world.run_upstream("d0", "d1", health="every", cdi="shared"))
    await world.run_pod(count=2, command=["sh", "-c", "env; sleep infinity"])
    pod = await world.pod("trainer", lambda pod: len(entries(pod)) == 2 and healths(pod))
    assert {(entry["device"], entry["health"], entry.get("message", "")) for entry in entries(pod)} == {
        ("d0", "Healthy", ""),
        ("d1", "Unhealthy", "fell off the bus"),
    }
    assert list(field_of(pod)) == [f"{world.driver}/device=all"]
    given = await asyncio.to_thread(world.output, pod)
    assert {"ALL=yes", "DEVICE_d0=yes", "DEVICE_d1=yes"} <= {line.split()[-1] for line in given.splitlines()}


@needs(Shown.MESSAGE)
async def test_a_driver_that_reports_only_on_change_decays_at_the_end_of_its_lease_and_not_later(relayed: Relayed) -> None:
    world = relayed.world
    relayed.start()
    world.device("d0")
    await serving(relayed, world.run_upstream("d0", health="change", lease=f"{LEASE:g}s"))
    await world.run_pod()
    world.device("d0", "Unhealthy: broken")
    await world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
    said = time.monotonic()
    pod = await world.pod("trainer", lambda pod: healths(pod) == ["Unknown"])
    assert time.monotonic() - said > LEASE - 1
    assert "last known: Unhealthy: broken" in next(iter(field_of(pod).values()))[1]


@needs(Shown.LEASE)
async def test_one_that_is_known_to_report_only_on_change_is_believed_while_it_answers(relayed: Relayed) -> None:
    """`--on-change`: for three times its lease nothing changes; then it hangs, and is not believed any more."""
    world = relayed.world
    relayed.start("--on-change", world.driver)
    world.device("d0", "Unhealthy: broken")
    driver = await serving(relayed, world.run_upstream("d0", health="change", lease=f"{LEASE:g}s"))
    await world.run_pod()
    await world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
    seen = []
    async with world.api.watching(world.pods) as events:
        try:
            async with asyncio.timeout(3 * LEASE):  # the claim is about what does not happen in this time
                async for _, pod, _ in events:
                    seen.append(healths(pod))
        except TimeoutError:
            pass
    assert all(one == ["Unhealthy"] for one in seen), seen
    driver.signal(SIGSTOP)
    await world.pod("trainer", lambda pod: healths(pod) == ["Unknown"])
    driver.signal(SIGCONT)
    world.device("d0")
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


async def test_a_driver_that_floods_harms_neither_its_pods_nor_another_driver(relayed: Relayed) -> None:
    world = relayed.world
    relay, other = relayed.start(), f"other.{world.driver}"
    world.device("d0")
    world.device("d1")
    await serving(relayed, world.run_upstream("d0", health="flood"))
    await world.run_pod()
    await world.create_class(other)
    world.run_upstream("d1", name=other, data=str(world.cluster.root / f"o-{world.namespace}"), health="every")
    await relay.says(TAKEN, times=2)
    await world.run_pod("neighbour", of=other)
    for health in ("Unhealthy", "Healthy", "Unhealthy"):
        for device, name in (("d0", "trainer"), ("d1", "neighbour")):
            world.device(device, health)
            await world.pod(name, partial(lambda health, pod: healths(pod) == [health], health))
