"""Does a device explain this exit? The table, the cases that come before it, and what holds for all faults and exits."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.claim.meta import ObjectMeta
from podvitals.claim.pod import ContainerSpec, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus, Resources, Terminated
from podvitals.claim.times import rfc3339
from podvitals.device.health import Health
from podvitals.pod.cause import LAG, VERDICTS, Exit, Relation, Verdict, cause, causes, relate
from podvitals.pod.entry import DeviceEntry, FaultEntry

T0 = 1_800_000_000.0


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(T0 + seconds, UTC)


def fault(start: float, end: float | None, health: Health = Health.UNHEALTHY) -> FaultEntry:
    return FaultEntry(health=health, message="Xid 79", start=at(start), until=None if end is None else at(end))


def device(*faults: FaultEntry, name: str = "gpu-3", since: float = -1000) -> DeviceEntry:
    health = faults[-1].health if faults and faults[-1].until is None else Health.HEALTHY
    return DeviceEntry("train", "gpu.example.com", "node1", name, health, since=at(since), faults=faults)


def exited(finished: float, started: float = -100, code: int = 139, reason: str = "Error") -> Exit:
    return Exit("train", code, 0, reason, T0 + started, T0 + finished)


NO_POD = Pod()


@pytest.mark.parametrize(
    ("start", "end", "relation", "verdict"),
    [
        (-5, None, Relation.COVERS, Verdict.EXPLAINED),
        (-5, 100, Relation.COVERS, Verdict.EXPLAINED),
        (0.9, None, Relation.COVERS, Verdict.EXPLAINED),  # the exit's whole second is not over yet
        (5, None, Relation.JUST_AFTER, Verdict.EXPLAINED),  # a slow detector
        (LAG + 1, None, Relation.LATER, Verdict.UNRELATED),
        (-20, -10, Relation.JUST_BEFORE, Verdict.EXPLAINED),
        (-80, -60, Relation.EARLIER, Verdict.POSSIBLE),
        (-300, -200, Relation.BEFORE_RUN, Verdict.UNRELATED),
    ],
)
def test_a_fault_is_judged_by_how_it_lies_to_the_exit(start: float, end: float | None, relation: Relation, verdict: Verdict) -> None:
    assert relate(fault(start, end), exited(0)) is relation
    assert cause(exited(0), NO_POD, (device(fault(start, end)),)).verdict is verdict


def test_unknown_health_at_the_exit_blames_nobody_and_acquits_nobody() -> None:
    found = cause(exited(0), NO_POD, (device(fault(-5, None, Health.UNKNOWN)),))
    assert found.verdict is Verdict.CANNOT_TELL
    assert "not known" in found.why


def test_every_health_that_is_a_fault_has_a_verdict_for_every_relation() -> None:
    assert set(VERDICTS) == {(health, relation) for health in (Health.UNHEALTHY, Health.UNKNOWN) for relation in Relation}


def test_the_strongest_cause_wins_and_of_equals_the_first_fault() -> None:
    possible, late, early = device(fault(-80, -60), name="a"), device(fault(-1, None), name="b"), device(fault(-9, None), name="c")
    found = cause(exited(0), NO_POD, (possible, late, early))
    assert found.verdict is Verdict.EXPLAINED
    assert found.entry is early


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_that_was_never_found_is_not_simply_blamed_on_a_device(code: int) -> None:
    assert cause(exited(0, code=code), NO_POD, (device(fault(-5, None)),)).verdict is Verdict.POSSIBLE


def test_out_of_memory_is_no_device_fault_and_the_limit_is_named() -> None:
    limited = ContainerSpec(name="train", resources=Resources(limits={"memory": "2Gi"}))
    pod = Pod(spec=PodSpec(containers=(limited,)))
    found = cause(exited(0, code=137, reason="OOMKilled"), pod, (device(fault(-5, None)),))
    assert (found.verdict, found.why) == (Verdict.UNRELATED, "OOMKilled: memory limit 2Gi")


@pytest.mark.parametrize(
    ("pod", "ended", "why"),
    [
        (Pod(status=PodStatus(phase="Failed", reason="Evicted", message="low on disk")), exited(0, code=137), "Evicted (low on disk)"),
        (Pod(metadata=ObjectMeta(deletion_timestamp="2026-01-01T00:00:00Z")), exited(0, code=143), "being deleted"),
        (NO_POD, exited(0, code=0, reason="Completed"), "exit code 0"),
    ],
)
def test_an_exit_with_a_cause_of_its_own_is_not_blamed_on_a_device(pod: Pod, ended: Exit, why: str) -> None:
    found = cause(ended, pod, (device(fault(-5, None)),))
    assert found.verdict is Verdict.UNRELATED
    assert why in found.why


def test_a_container_without_devices_is_never_explained_by_its_neighbours_device() -> None:
    status = ContainerStatus(
        name="sidecar", last_state=ContainerState(terminated=Terminated(exit_code=1, started_at=rfc3339(T0 - 9), finished_at=rfc3339(T0)))
    )
    (found,) = causes(Pod(status=PodStatus(container_statuses=(status,))), [device(fault(-5, None))])
    assert (found.verdict, found.why) == (Verdict.UNRELATED, "the container holds no device")


def test_init_containers_are_judged_too() -> None:
    status = ContainerStatus(name="train", state=ContainerState(terminated=Terminated(exit_code=1, finished_at=rfc3339(T0))))
    (found,) = causes(Pod(status=PodStatus(init_container_statuses=(status,))), [device(fault(-5, None))])
    assert found.verdict is Verdict.EXPLAINED


def test_what_was_not_on_record_yet_cannot_be_told() -> None:
    found = cause(exited(0), NO_POD, (device(since=60),))
    assert found.verdict is Verdict.CANNOT_TELL
    assert cause(exited(0), NO_POD, (device(since=-60),)).verdict is Verdict.UNRELATED


def test_an_exit_without_a_time_cannot_be_told() -> None:
    assert cause(Exit("train", 1), NO_POD, (device(fault(-5, None)),)).verdict is Verdict.CANNOT_TELL


moments = st.integers(-400, 400).map(float)


@given(moments, st.none() | st.floats(0, 300), moments, st.floats(1, 300))
def test_an_unhealthy_device_that_covers_the_exit_always_explains_it_and_one_far_from_the_run_never_does(
    start: float, length: float | None, finished: float, ran: float
) -> None:
    end = None if length is None else start + length
    ended = exited(finished, finished - ran)
    verdict = cause(ended, NO_POD, (device(fault(start, end)),)).verdict
    if start <= finished and (end is None or end >= finished):
        assert verdict is Verdict.EXPLAINED
    if start > finished + LAG or (end is not None and end < finished - ran):
        assert verdict is Verdict.UNRELATED
