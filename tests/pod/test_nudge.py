"""A kubelet whose field lags behind is told to look again, a few times."""

import msgspec

from podvitals.claim.meta import Condition
from podvitals.claim.pod import AllocatedResourceStatus, ContainerStatus, Pod, PodStatus, ResourceHealth
from podvitals.device.health import Health
from podvitals.pod.nudge import PAUSES
from tests.pod.make import pod, state
from tests.pod.world import World


def shows(world: World, uid: str, status: PodStatus) -> None:
    """The kubelet writes the pod's status, and a watch shows it."""
    before = world.pods[uid]
    meta = msgspec.structs.replace(before.metadata, resource_version=str(int(before.metadata.resource_version) + 1))
    world.see(msgspec.structs.replace(before, metadata=meta, status=status))
    world.go()


def kubelet_says(world: World, uid: str, *healths: str) -> None:
    """Its field."""
    resources = tuple(ResourceHealth(resource_id=f"v/gpu={n}", health=health) for n, health in enumerate(healths))
    status = ContainerStatus(name="train", allocated_resources_status=(AllocatedResourceStatus(name="claim:gpus", resources=resources),))
    shows(world, uid, msgspec.structs.replace(world.pods[uid].status, container_statuses=(status,)))


def a_world() -> tuple[World, str]:
    world = World()
    world.heal("gpu-0")
    uid = world.a_pod(pod("a"), "gpu-0")
    kubelet_says(world, uid, "Healthy")
    world.wait(5)
    return world, uid


def ends(world: World) -> None:
    """The lease of the one device ends."""
    world.set(state("gpu-0", Health.UNKNOWN, "nothing heard", since=world.wall))


def test_a_kubelet_whose_lease_ends_later_is_nudged_until_its_field_says_the_same() -> None:
    world, uid = a_world()
    ends(world)
    written, text = len(world.patches), world.said(uid)
    world.wait(PAUSES[0])
    assert len(world.patches) == written + 1
    assert world.said(uid) != text
    (metadata,) = [patch.body["metadata"] for patch in world.patches[written:]]
    assert "status" not in world.patches[-1].body, metadata
    kubelet_says(world, uid, "Unknown")
    world.wait(1000)
    assert len(world.patches) == written + 1


def test_a_kubelet_that_still_says_unknown_of_what_came_back_is_nudged_too() -> None:
    world, uid = a_world()
    ends(world)
    kubelet_says(world, uid, "Unknown")
    world.heal("gpu-0")
    written = len(world.patches)
    world.wait(PAUSES[0])
    assert len(world.patches) == written + 1


def test_a_kubelet_that_never_agrees_is_nudged_a_few_times_and_then_left_alone() -> None:
    world, _ = a_world()
    ends(world)
    written = len(world.patches)
    world.wait(10_000)
    assert len(world.patches) == written + len(PAUSES)
    world.heal("gpu-0")
    ends(world)
    written = len(world.patches)
    world.wait(10_000)
    assert len(world.patches) == written + len(PAUSES)


def test_a_field_in_which_devices_are_merged_cannot_agree_and_gets_no_nudge() -> None:
    world = World()
    world.heal("gpu-0")
    world.heal("gpu-1")
    uid = world.a_pod(pod("a"), "gpu-0", "gpu-1")
    world.wait(5)
    written = len(world.patches)
    kubelet_says(world, uid, "Unknown")
    world.wait(1000)
    assert len(world.patches) == written


def pending(name: str, ready: str) -> Pod:
    """As a kubelet shows a pod whose containers have not begun: `ready`, whether it could prepare what they need."""
    made = pod(name)
    condition = Condition(type="PodReadyToStartContainers", status=ready)
    return msgspec.structs.replace(made, status=msgspec.structs.replace(made.status, phase="Pending", conditions=(condition,)))


def test_a_pod_whose_devices_are_not_prepared_is_nudged_so_that_a_prepare_that_failed_is_tried_again() -> None:
    world = World()
    world.heal("gpu-0")
    uid = world.a_pod(pending("a", "False"), "gpu-0")
    world.go()
    written, text = len(world.patches), world.said(uid)
    world.wait(PAUSES[0])
    assert len(world.patches) == written + 1
    assert world.said(uid) != text
    shows(world, uid, pod("a").status)
    written = len(world.patches)
    world.wait(1000)
    assert len(world.patches) == written


def test_a_pod_that_waits_for_its_image_is_left_alone() -> None:
    world = World()
    world.heal("gpu-0")
    world.a_pod(pending("a", "True"), "gpu-0")
    world.go()
    written = len(world.patches)
    world.wait(1000)
    assert len(world.patches) == written


def test_a_restart_does_not_write_anew_for_the_number_of_nudges() -> None:
    world, uid = a_world()
    ends(world)
    world.wait(1000)
    kubelet_says(world, uid, "Unknown")
    written = len(world.patches)
    world.restart(world.memory())
    world.hold(uid, "gpu-0")
    world.wait(1000)
    assert len(world.patches) == written
