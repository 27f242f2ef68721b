"""Evidence outlives recovery, and the pod's end (rules 5 and 6)."""

import msgspec
import pytest

from podvitals.claim.pod import ClaimStatus, ContainerState, ContainerStatus, Pod, PodClaim, PodStatus, Terminated
from podvitals.claim.times import rfc3339
from podvitals.device.health import Health
from podvitals.node.record import MOST_FAULTS, Fault
from podvitals.pod.entry import moment
from tests.pod.make import START, key, pod, state
from tests.pod.test_desk import asking
from tests.pod.world import World


def a_world(window: float = 600.0) -> tuple[World, str]:
    world = World(window=window)
    world.heal("gpu-0")
    return world, world.a_pod(asking(pod("a")), "gpu-0")


def breaks(world: World, text: str = "Xid 79") -> None:
    before = world.states[key("gpu-0")].faults
    faults = (*before, Fault(Health.UNHEALTHY, text, "", world.wall))[-MOST_FAULTS:]
    world.set(state("gpu-0", Health.UNHEALTHY, text, *faults, since=world.wall))
    world.wait(5)


def mends(world: World) -> None:
    before = world.states[key("gpu-0")].faults
    faults = (*before[:-1], Fault(before[-1].health, before[-1].message, "", before[-1].start, world.wall))
    world.set(state("gpu-0", Health.HEALTHY, "", *faults, since=world.wall))
    world.wait(5)


def ends(world: World, uid: str, phase: str = "Failed", reason: str = "", *, exits: bool = True) -> None:
    before = world.pods[uid]
    stop = Terminated(exit_code=0 if phase == "Succeeded" else 1, finished_at=rfc3339(world.wall))
    statuses = (ContainerStatus(name="train", state=ContainerState(terminated=stop)),) if exits else ()
    status = PodStatus(
        phase=phase, reason=reason, conditions=before.status.conditions, container_statuses=statuses, start_time=rfc3339(START)
    )
    world.see(msgspec.structs.replace(before, status=status))
    world.wait(5)


def terminating(before: Pod) -> Pod:
    return msgspec.structs.replace(before, metadata=msgspec.structs.replace(before.metadata, deletion_timestamp=rfc3339(START + 1)))


def faults(world: World, uid: str) -> list[tuple[str, bool]]:
    return [(fault.message, fault.after_end) for fault in world.entry(uid).faults]


def test_the_last_three_faults_stay_with_a_pod() -> None:
    world, uid = a_world()
    for n in range(5):
        breaks(world, f"Xid {n}")
        mends(world)
    assert (world.entry(uid).health, faults(world, uid)) == (Health.HEALTHY, [(f"Xid {n}", False) for n in (2, 3, 4)])


@pytest.mark.parametrize(
    ("phase", "reason", "exits"),
    [("Succeeded", "", True), ("Failed", "", True), ("Failed", "Evicted", False), ("Failed", "NodeShutdown", True)],
)
def test_a_pod_keeps_the_health_it_ended_with_however_it_ended(phase: str, reason: str, *, exits: bool) -> None:
    world, uid = a_world()
    breaks(world)
    ends(world, uid, phase, reason, exits=exits)
    world.wait(60)
    mends(world)
    said = world.said(uid)
    assert said is not None
    assert said.ended is not None
    assert (world.entry(uid).health, world.status(uid), faults(world, uid)) == (Health.UNHEALTHY, "False", [("Xid 79", False)])


def test_a_pod_that_is_terminating_and_still_listed_is_told_as_any_other() -> None:
    world, uid = a_world()
    world.see(terminating(world.pods[uid]))
    breaks(world)
    assert world.status(uid) == "False"
    mends(world)
    assert world.status(uid) == "True"


@pytest.mark.parametrize(
    ("window", "after", "found"), [(600.0, 590.0, True), (600.0, 610.0, False), (30.0, 40.0, False), (0.0, 2.0, False)]
)
def test_a_fault_found_after_the_end_is_added_and_marked_within_the_window_alone(window: float, after: float, *, found: bool) -> None:
    world, uid = a_world(window)
    ends(world, uid)
    world.wait(after - 5)
    breaks(world, "late")
    assert (world.entry(uid).health, faults(world, uid)) == (Health.HEALTHY, [("late", True)] * found)


def test_a_fault_found_after_the_end_is_not_added_where_the_device_serves_another_pod() -> None:
    world, uid = a_world()
    ends(world, uid)
    other = world.a_pod(asking(pod("b")), "gpu-0")
    breaks(world, "late")
    assert (faults(world, uid), faults(world, other)) == ([], [("late", False)])
    world.desk.gone(other, world.now, world.wall)
    mends(world)
    breaks(world, "later")
    assert faults(world, uid) == []


def test_a_fault_found_after_the_end_is_added_although_the_agent_restarted_in_between() -> None:
    world, uid = a_world()
    ends(world, uid)
    world.restart(world.memory())
    breaks(world, "late")
    assert faults(world, uid) == [("late", True)]


def test_a_fault_found_after_the_end_before_the_new_agent_had_seen_the_pod_is_added() -> None:
    world, uid = a_world()
    ends(world, uid)
    memos = world.memory()
    world.now += 10
    world.states[key("gpu-0")] = state("gpu-0", Health.UNHEALTHY, "late", Fault(Health.UNHEALTHY, "late", "", world.wall), since=world.wall)
    world.restart(memos)
    world.wait(1)
    assert faults(world, uid) == [("late", True)]


def test_a_pod_that_ended_while_no_agent_was_there_has_the_health_of_its_end_and_not_of_today() -> None:
    world, uid = a_world()
    breaks(world)
    memos = world.memory()
    before = world.pods[uid]
    stop = Terminated(exit_code=139, finished_at=rfc3339(world.wall))
    status = (ContainerStatus(name="train", state=ContainerState(terminated=stop)),)
    world.pods[uid] = msgspec.structs.replace(
        before, status=msgspec.structs.replace(before.status, phase="Failed", container_statuses=status)
    )
    world.now += 300
    mends(world)
    world.restart(memos)
    world.wait(1)
    said = world.said(uid)
    assert said is not None
    assert (said.ended, world.entry(uid).health) == (moment(START + 5), Health.UNHEALTHY)


def test_a_fault_is_added_although_a_pod_is_there_that_turned_out_to_need_no_claim() -> None:
    world, uid = a_world()
    ends(world, uid)
    other = asking(pod("b"))
    spec = msgspec.structs.replace(other.spec, resource_claims=(PodClaim(name="gpus", resource_claim_template_name="t"),))
    status = msgspec.structs.replace(other.status, resource_claim_statuses=(ClaimStatus(name="gpus"),))
    world.see(msgspec.structs.replace(other, spec=spec, status=status))
    breaks(world, "late")
    assert faults(world, uid) == [("late", True)]


def test_a_fault_is_not_added_while_a_pod_may_hold_the_device_that_nobody_knows_yet() -> None:
    world, uid = a_world()
    ends(world, uid)
    world.see(asking(pod("b")))
    breaks(world, "whose?")
    assert faults(world, uid) == []
    world.hold("uid-b", "gpu-1")
    world.wait(2)
    assert faults(world, uid) == [("whose?", True)]


def test_a_fault_is_not_added_once_a_pod_was_there_of_which_nobody_ever_knew_what_it_held() -> None:
    world, uid = a_world()
    ends(world, uid)
    world.see(asking(pod("b")))
    del world.pods["uid-b"]
    world.desk.gone("uid-b", world.now, world.wall)
    breaks(world, "whose?")
    assert faults(world, uid) == []


def test_a_restarted_agent_adds_no_fault_before_it_has_seen_who_serves_whom_now() -> None:
    world, uid = a_world()
    ends(world, uid)
    memos = world.memory()
    other = asking(pod("z"))
    world.pods["uid-z"] = other
    world.states[key("gpu-0")] = state(
        "gpu-0", Health.UNHEALTHY, "whose?", Fault(Health.UNHEALTHY, "whose?", "", world.wall), since=world.wall
    )
    world.restart(memos, synced=False)
    world.hold("uid-z", "gpu-0")
    world.desk.synced(world.now, world.wall)
    world.wait(2)
    assert (faults(world, uid), faults(world, "uid-z")) == ([], [("whose?", False)])
