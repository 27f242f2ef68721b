"""What the agent says of pods, as a whole: what it takes over, what it takes away, and what it vouches for."""

import msgspec
import pytest

from podvitals.claim.meta import Condition
from podvitals.claim.pod import Pod, PodClaim, PodSpec
from podvitals.device.health import Health
from podvitals.node.record import Fault
from podvitals.pod.desk import MOST_UNTOLD, UNTOLD_LIMIT
from podvitals.pod.entry import ANNOTATION, CONDITION, DeviceEntry, PodDevices, moment
from podvitals.pod.outbox import Outcome
from tests.pod.make import START, key, pod, state
from tests.pod.world import World

BROKEN = state("gpu-0", Health.UNHEALTHY, "Xid 79", Fault(Health.UNHEALTHY, "Xid 79", "", START + 1), since=START + 1)
MENDED = state("gpu-0", Health.HEALTHY, "", Fault(Health.UNHEALTHY, "Xid 79", "", START + 1, START + 5), since=START + 5)


def asking(made: Pod) -> Pod:
    """The pod asks for devices, so nobody knows what it holds before its claims were read."""
    return msgspec.structs.replace(made, spec=PodSpec(resource_claims=(PodClaim(name="gpus", resource_claim_name="gpus"),)))


def planted(made: Pod, health: Health = Health.HEALTHY, *, ended: bool = False) -> Pod:
    """Somebody wrote annotation and condition on it before any agent did."""
    entry = DeviceEntry("train", *key("gpu-9"), health, since=moment(START))
    text = PodDevices("node-1", "0.1.0", (entry,), ended=moment(START) if ended else None).encode()
    condition = Condition(type=CONDITION, status="True", reason="DevicesHealthy", message="1 device healthy")
    metadata = msgspec.structs.replace(made.metadata, annotations={ANNOTATION: text})
    return msgspec.structs.replace(made, metadata=metadata, status=msgspec.structs.replace(made.status, conditions=(condition,)))


# --- what stands on a pod that holds nothing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", [False, True])
def test_what_somebody_wrote_on_a_pod_without_devices_is_taken_away(*, ended: bool) -> None:
    world = World()
    world.see(planted(pod("a"), ended=ended))
    world.go()
    assert (world.said("uid-a"), world.status("uid-a")) == (None, "")
    patches = len(world.patches)
    world.wait(100)
    assert len(world.patches) == patches


def test_what_somebody_wrote_is_taken_away_once_the_claims_give_nothing() -> None:
    world = World()
    world.see(planted(asking(pod("a"))))
    world.go()
    assert world.said("uid-a") is not None  # an earlier agent may have known what its claims gave it
    world.hold("uid-a")
    assert (world.said("uid-a"), world.status("uid-a")) == (None, "")


def test_what_somebody_wrote_is_written_over_once_the_claims_are_read() -> None:
    world = World(states={BROKEN.key: BROKEN})
    world.see(planted(asking(pod("a")), ended=True))
    world.hold("uid-a", "gpu-0")
    said = world.said("uid-a")
    assert said is not None
    assert ([entry.device for entry in said.entries], said.ended, world.status("uid-a")) == (["gpu-0"], None, "False")


def test_a_pod_on_which_nothing_stands_and_that_holds_nothing_is_never_written() -> None:
    world = World()
    world.see(pod("a"))
    world.wait(100)
    assert world.patches == []


# --- what is taken over from an earlier agent -------------------------------------------------------------------------------------------


def test_a_lost_checkpoint_takes_no_fault_off_a_living_pod() -> None:
    world = World(states={MENDED.key: MENDED})
    uid = world.a_pod(asking(pod("a")), "gpu-0")
    before = world.entry(uid)
    world.now += 60
    world.states.clear()
    world.restart()
    world.hold(uid, "gpu-0")
    assert (world.entry(uid).health, world.entry(uid).faults) == (Health.UNKNOWN, before.faults)
    world.heal("gpu-0")
    world.wait(1)
    assert (world.entry(uid).health, world.entry(uid).faults) == (Health.HEALTHY, before.faults)


def test_a_fault_that_lasted_goes_on_when_the_driver_says_it_again() -> None:
    world = World(states={BROKEN.key: BROKEN})
    uid = world.a_pod(asking(pod("a")), "gpu-0")
    world.now += 60
    world.states.clear()
    world.restart()
    world.hold(uid, "gpu-0")
    assert world.entry(uid).faults[0].until == moment(world.wall)
    world.wait(5)
    again = Fault(Health.UNHEALTHY, "Xid 79", "", world.wall)
    world.set(state("gpu-0", Health.UNHEALTHY, "Xid 79", again, since=world.wall))
    world.wait(1)
    (fault,) = world.entry(uid).faults
    assert (fault.start, fault.until, world.entry(uid).since) == (moment(START + 1), None, moment(START + 1))


def test_a_fault_that_lasted_has_ended_when_the_driver_says_healthy() -> None:
    world = World(states={BROKEN.key: BROKEN})
    uid = world.a_pod(asking(pod("a")), "gpu-0")
    world.now += 60
    world.states.clear()
    world.restart()
    world.hold(uid, "gpu-0")
    world.wait(5)
    world.heal("gpu-0")
    world.wait(1)
    (fault,) = world.entry(uid).faults
    assert (fault.start, fault.until) == (moment(START + 1), moment(START + 65))


def test_what_was_taken_over_gives_no_later_fault_its_beginning_and_does_not_come_back() -> None:
    """The ledger keeps three faults: when it has displaced one, it does not know less of the time before its first word."""
    world = World(states={BROKEN.key: BROKEN})
    uid = world.a_pod(asking(pod("a")), "gpu-0")
    world.now += 60
    world.restart()
    world.hold(uid, "gpu-0")
    faults = [Fault(Health.UNHEALTHY, "Xid 79", "", START + 1, START + 100)]
    for n in range(4):
        at = START + 200 + 10 * n
        faults = [*faults, Fault(Health.UNHEALTHY, f"Xid {n}", "", at, at + 5)][-3:]
        world.set(state("gpu-0", Health.HEALTHY, "", *faults, since=at + 5))
        world.wait(2)
    assert [(fault.message, fault.start) for fault in world.entry(uid).faults] == [
        (f"Xid {n}", moment(START + 200 + 10 * n)) for n in (1, 2, 3)
    ]


def test_a_wall_clock_set_back_takes_no_fault_off_a_pod() -> None:
    world = World()
    world.heal("gpu-0")
    uid = world.a_pod(asking(pod("a")), "gpu-0")
    world.back = 3600.0
    for _ in range(2):
        broken = Fault(Health.UNHEALTHY, "Xid", "", world.wall)
        world.set(state("gpu-0", Health.UNHEALTHY, "Xid", broken, since=world.wall))
        world.wait(2)
        world.set(state("gpu-0", Health.HEALTHY, "", Fault(Health.UNHEALTHY, "Xid", "", broken.start, world.wall), since=world.wall))
        world.wait(2)
    assert [fault.message for fault in world.entry(uid).faults] == ["Xid"]
    before = world.entry(uid)
    world.states.clear()
    world.restart()
    world.hold(uid, "gpu-0")
    world.wait(2)
    assert world.entry(uid).faults == before.faults


def test_a_wall_clock_set_back_while_the_machine_slept_takes_no_fault_off_a_pod() -> None:
    world = World()
    began = world.wall - 20
    world.set(state("gpu-0", Health.UNHEALTHY, "Xid", Fault(Health.UNHEALTHY, "Xid", "", began), since=began))
    uid = world.a_pod(asking(pod("a")), "gpu-0")
    world.now, world.back = world.now + 3600, 3600.0
    world.set(state("gpu-0", Health.HEALTHY, "", Fault(Health.UNHEALTHY, "Xid", "", began, began), since=world.wall))
    world.wait(2)
    assert [fault.message for fault in world.entry(uid).faults] == ["Xid"], "its end has no earlier time than its beginning"


def test_faults_taken_over_never_make_a_device_better_than_unknown() -> None:
    world = World()
    uid = world.a_pod(planted(asking(pod("a"))), "gpu-9")
    assert (world.entry(uid).health, world.status(uid)) == (Health.UNKNOWN, "Unknown")


def test_only_the_devices_a_pod_holds_take_over_its_faults() -> None:
    fault = {"health": "Unhealthy", "message": "planted", "from": "2027-01-15T08:00:00Z"}
    entry = {"container": "train", "driver": "gpu.example.com", "pool": "node-1", "device": "gpu-7", "health": "Healthy", "faults": [fault]}
    text = msgspec.json.encode({"node": "node-1", "devices": [entry]}).decode()
    world = World(states={MENDED.key: MENDED})
    uid = world.a_pod(asking(pod("a", annotations={ANNOTATION: text})), "gpu-0")
    other = world.a_pod(asking(pod("b")), "gpu-7")
    assert [fault.message for fault in world.entry(uid).faults] == ["Xid 79"]
    assert world.entry(other).faults == ()


def test_a_restart_with_all_its_memory_writes_nothing() -> None:
    world = World(states={MENDED.key: MENDED})
    uid = world.a_pod(asking(pod("a")), "gpu-0")
    written = len(world.patches)
    world.restart(world.memory())
    world.hold(uid, "gpu-0")
    world.wait(100)
    assert len(world.patches) == written


def test_of_a_pod_that_ended_while_all_memory_was_lost_the_faults_stay_and_the_health_is_not_known() -> None:
    world = World(states={MENDED.key: MENDED})
    uid = world.a_pod(asking(pod("a")), "gpu-0")
    before = world.pods[uid]
    gone = msgspec.structs.replace(
        before, status=msgspec.structs.replace(pod("a", ended=START + 90).status, conditions=before.status.conditions)
    )
    world.pods[uid] = gone
    world.now += 100
    world.restart()
    world.go()
    said = world.said(uid)
    assert said is not None
    assert said.ended == moment(START + 90)
    assert [(entry.health, [fault.message for fault in entry.faults]) for entry in said.entries] == [(Health.UNKNOWN, ["Xid 79"])]
    assert world.status(uid) == "Unknown"
    world.set(state("gpu-0", Health.UNHEALTHY, "late", Fault(Health.UNHEALTHY, "late", "", START + 101), since=START + 101))
    world.wait(2)
    assert len(world.entry(uid).faults) == 1, "nobody knows that the device was this pod's"


# --- what the Lease may say -------------------------------------------------------------------------------------------------------------


def fill(world: World, count: int) -> list[str]:
    world.states |= {state(f"gpu-{n}").key: state(f"gpu-{n}") for n in range(count)}
    uids = [world.a_pod(asking(pod(f"p{n}")), f"gpu-{n}") for n in range(count)]
    world.desk.synced(world.now, world.wall)
    return uids


def break_all(world: World, count: int) -> None:
    world.set(
        *(
            state(f"gpu-{n}", Health.UNHEALTHY, "Xid", Fault(Health.UNHEALTHY, "Xid", "", world.wall), since=world.wall)
            for n in range(count)
        )
    )


def test_nothing_is_vouched_for_before_every_pod_was_seen() -> None:
    world = World()
    world.restart(synced=False)
    assert world.desk.vouch(world.now, standing=True).withheld
    world.desk.synced(world.now, world.wall)
    assert not world.desk.vouch(world.now, standing=True).withheld


@pytest.mark.parametrize("outcome", [Outcome.AGAIN, Outcome.DENIED, Outcome.TROUBLE])
def test_one_pod_that_cannot_be_written_is_named_and_the_others_are_vouched_for(outcome: Outcome) -> None:
    world = World()
    uids = fill(world, 3)
    world.refuses = lambda patch: outcome if patch.uid == uids[1] else Outcome.SENT
    since = world.now
    break_all(world, 3)
    world.wait(UNTOLD_LIMIT - 1)
    assert world.desk.vouch(world.now, standing=True).untold == {}
    world.wait(1)
    vouch = world.desk.vouch(world.now, standing=True)
    assert (vouch.untold, vouch.withheld) == ({uids[1]: since}, "")
    assert [world.status(uid) for uid in uids] == ["False", "True", "False"]


def test_a_pod_that_is_told_at_last_is_named_no_more() -> None:
    world = World()
    (uid,) = fill(world, 1)
    world.refuses = lambda _patch: Outcome.AGAIN
    break_all(world, 1)
    world.wait(60)
    assert world.desk.vouch(world.now, standing=True).untold
    world.refuses = lambda _patch: Outcome.SENT
    world.wait(10)
    assert (world.status(uid), world.desk.vouch(world.now, standing=True).untold) == ("False", {})


def test_where_no_pod_can_be_written_nothing_is_vouched_for() -> None:
    world = World()
    fill(world, MOST_UNTOLD + 1)
    world.refuses = lambda _patch: Outcome.DENIED
    break_all(world, MOST_UNTOLD)
    world.wait(UNTOLD_LIMIT)
    vouch = world.desk.vouch(world.now, standing=True)
    assert (len(vouch.untold), vouch.withheld) == (MOST_UNTOLD, "")
    break_all(world, MOST_UNTOLD + 1)
    world.wait(UNTOLD_LIMIT)
    assert world.desk.vouch(world.now, standing=True).withheld


def test_pods_that_wait_behind_others_for_a_server_in_trouble_are_untold_too() -> None:
    world = World()
    fill(world, 20)
    world.refuses = lambda _patch: Outcome.TROUBLE
    break_all(world, 20)
    world.wait(UNTOLD_LIMIT)
    assert len(world.desk.vouch(world.now, standing=True).untold) == 20


def test_a_pod_on_which_nothing_could_ever_be_written_is_not_named() -> None:
    world = World(refuses=lambda _patch: Outcome.DENIED)
    fill(world, MOST_UNTOLD + 5)
    world.wait(60)
    vouch = world.desk.vouch(world.now, standing=True)
    assert (vouch.untold, vouch.withheld) == ({}, "")


def test_after_a_silence_a_pod_is_named_until_it_is_told() -> None:
    world = World()
    (uid,) = fill(world, 1)
    world.refuses = lambda _patch: Outcome.TROUBLE
    break_all(world, 1)
    assert world.desk.vouch(world.now, standing=True).untold == {}
    assert world.desk.vouch(world.now, standing=False).untold == {uid: world.now}
    world.refuses = lambda _patch: Outcome.SENT
    world.wait(10)
    assert world.desk.vouch(world.now, standing=False).untold == {}


def test_a_sleep_right_after_a_start_is_a_silence_of_its_own() -> None:
    world = World()
    (uid,) = fill(world, 1)
    assert world.desk.vouch(world.now, standing=False).untold == {}
    world.wait(1)
    world.set(state("gpu-0", Health.HEALTHY, "told after the start", since=START))
    world.now += 100
    world.refuses = lambda _patch: Outcome.TROUBLE
    break_all(world, 1)
    assert set(world.desk.vouch(world.now, standing=False).untold) == {uid}


def test_a_pod_that_was_named_stays_named_until_it_is_told_also_when_the_lease_stands_again() -> None:
    world = World()
    one, other = fill(world, 2)
    world.refuses = lambda _patch: Outcome.AGAIN
    break_all(world, 1)
    assert set(world.desk.vouch(world.now, standing=False).untold) == {one}
    world.wait(2)
    break_all(world, 2)
    assert set(world.desk.vouch(world.now, standing=True).untold) == {one}
    world.refuses = lambda patch: Outcome.AGAIN if patch.uid == other else Outcome.SENT
    world.wait(10)
    assert world.desk.vouch(world.now, standing=True).untold == {}


def test_an_annotation_that_is_refused_while_an_older_one_stands_is_not_the_truth() -> None:
    world = World()
    (uid,) = fill(world, 1)
    world.wait(10)
    world.refuses = lambda patch: Outcome.REFUSED if "annotations" in patch.body["metadata"] else Outcome.SENT  # type: ignore[operator]
    break_all(world, 1)
    assert (world.status(uid), world.entry(uid).health) == ("False", Health.HEALTHY)
    world.wait(UNTOLD_LIMIT)
    assert set(world.desk.vouch(world.now, standing=True).untold) == {uid}


def test_a_pod_that_says_something_and_whose_claims_cannot_be_read_is_named() -> None:
    world = World()
    world.see(planted(asking(pod("a"))))
    world.desk.synced(world.now, world.wall)
    assert world.desk.vouch(world.now, standing=True).untold == {}
    assert world.desk.vouch(world.now, standing=False).untold == {"uid-a": 100.0}
    world.wait(UNTOLD_LIMIT)
    assert world.desk.vouch(world.now, standing=True).untold == {"uid-a": 100.0}
    world.hold("uid-a", "gpu-0")
    assert world.desk.vouch(world.now, standing=True).untold == {}


def test_after_a_silence_a_pod_whose_claims_cannot_be_read_is_not_taken_for_told_because_there_is_nothing_to_say() -> None:
    world = World()
    world.see(planted(asking(pod("a"))))
    world.desk.synced(world.now, world.wall)
    assert world.desk.vouch(world.now, standing=False).untold == {"uid-a": 100.0}
    world.now += 1
    world.go()
    assert world.patches == []
    assert world.desk.vouch(world.now, standing=False).untold == {"uid-a": 100.0}
    world.wait(1)
    assert world.desk.vouch(world.now, standing=True).untold == {"uid-a": 100.0}
    world.hold("uid-a", "gpu-0")
    assert world.desk.vouch(world.now, standing=True).untold == {}


def test_a_pod_that_was_named_because_its_claims_could_not_be_read_stays_named_until_it_is_told_what_they_say() -> None:
    world = World()
    world.see(planted(asking(pod("a"))))
    world.desk.synced(world.now, world.wall)
    assert set(world.desk.vouch(world.now, standing=False).untold) == {"uid-a"}
    world.wait(1)
    world.refuses = lambda _patch: Outcome.TROUBLE
    world.hold("uid-a", "gpu-0")
    assert set(world.desk.vouch(world.now, standing=True).untold) == {"uid-a"}
    world.refuses = lambda _patch: Outcome.SENT
    world.wait(10)
    assert world.desk.vouch(world.now, standing=True).untold == {}
