"""Devices of drivers that are left to the kubelet have a history too, as far as its field tells."""

import msgspec
import pytest

from podvitals.claim.pod import AllocatedResourceStatus, ContainerState, ContainerStatus, Pod, PodClaim, PodSpec, ResourceHealth, Terminated
from podvitals.device.health import Health
from podvitals.pod.entry import DeviceEntry, moment
from tests.pod.make import pod
from tests.pod.world import World


@pytest.fixture
def world() -> World:
    return World(leave=frozenset({"gpu.example.com"}))


def saying(made: Pod, *healths: str, stopped: bool = False, resource: str = "v/gpu=0") -> Pod:
    """The pod as the kubelet's field has it; without healths the field is not there."""
    resources = tuple(ResourceHealth(resource_id=resource, health=health, message="Xid" * (health == "Unhealthy")) for health in healths)
    field = (AllocatedResourceStatus(name="claim:gpus", resources=resources),) if healths else ()
    state = ContainerState(terminated=Terminated(exit_code=1)) if stopped else ContainerState()
    status = ContainerStatus(name="train", state=state, allocated_resources_status=field)
    spec = PodSpec(resource_claims=(PodClaim(name="gpus", resource_claim_name="gpus"),))
    return msgspec.structs.replace(made, spec=spec, status=msgspec.structs.replace(made.status, container_statuses=(status,)))


def shown(world: World, uid: str, *healths: str) -> DeviceEntry:
    """What the agent says once a watch has shown this."""
    before = world.pods[uid]
    told = saying(before, *healths)
    world.see(msgspec.structs.replace(told, metadata=before.metadata))
    world.wait(2)
    return world.entry(uid)


def test_a_fault_the_kubelet_told_of_stays_after_it_recovered(world: World) -> None:
    uid = world.a_pod(saying(pod("a"), "Healthy"), "gpu-0")
    entry = shown(world, uid, "Unhealthy")
    broke = moment(world.wall - 2)
    assert (entry.health, entry.message, entry.since) == (Health.UNHEALTHY, "Xid", broke)
    entry = shown(world, uid, "Healthy")
    assert (entry.health, entry.since) == (Health.HEALTHY, moment(world.wall - 2))
    assert [(fault.message, fault.start, fault.until) for fault in entry.faults] == [("Xid", broke, entry.since)]


def test_before_the_kubelets_first_word_nothing_has_gone_wrong(world: World) -> None:
    uid = world.a_pod(saying(pod("a")), "gpu-0")
    assert world.entry(uid).health is Health.UNKNOWN
    entry = shown(world, uid, "Healthy")
    assert (entry.health, entry.faults) == (Health.HEALTHY, ())


def test_a_healthy_said_of_two_devices_at_once_is_unknown_from_the_first_look_on(world: World) -> None:
    uid = world.a_pod(saying(pod("a"), "Healthy"), "gpu-0", "gpu-1")
    said = world.said(uid)
    assert said is not None
    assert {entry.health for entry in said.entries} == {Health.UNKNOWN}


def test_the_history_goes_on_over_a_restart(world: World) -> None:
    uid = world.a_pod(saying(pod("a"), "Healthy"), "gpu-0")
    before = shown(world, uid, "Unhealthy")
    written = len(world.patches)
    world.now += 60
    world.restart(world.memory())
    world.hold(uid, "gpu-0")
    world.wait(2)
    assert (len(world.patches), world.entry(uid)) == (written, before)
    assert [fault.message for fault in shown(world, uid, "Healthy").faults] == ["Xid"]


def test_what_has_been_healthy_since_before_a_restart_still_has(world: World) -> None:
    uid = world.a_pod(saying(pod("a")), "gpu-0")
    before = shown(world, uid, "Healthy")
    world.now += 60
    world.restart(world.memory())
    world.hold(uid, "gpu-0")
    world.wait(2)
    assert world.entry(uid) == before


def test_the_kubelets_last_word_stays_although_its_field_goes_with_the_pod(world: World) -> None:
    uid = world.a_pod(saying(pod("a"), "Healthy"), "gpu-0")
    shown(world, uid, "Unhealthy")
    world.now += 60
    metadata = world.pods[uid].metadata
    world.see(msgspec.structs.replace(saying(pod("a"), stopped=True), metadata=metadata))
    world.go()
    assert world.entry(uid).health is Health.UNHEALTHY
    gone = msgspec.structs.replace(saying(pod("a", ended=world.wall), stopped=True), metadata=metadata)
    ended = pod("a", ended=world.wall)
    world.see(msgspec.structs.replace(ended, metadata=metadata, spec=gone.spec))
    world.go()
    entry, said = world.entry(uid), world.said(uid)
    assert said is not None
    assert (entry.health, entry.message, said.ended) == (Health.UNHEALTHY, "Xid", moment(world.wall))


def test_what_the_kubelet_says_of_a_driver_is_not_taken_for_another(world: World) -> None:
    world.leave = frozenset({"other.example.com"})
    world.restart()
    uid = world.a_pod(saying(pod("a"), "Healthy"), "gpu-0")
    assert world.entry(uid).message == "no driver is registered"
