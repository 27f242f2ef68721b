"""The oracle on cases made by hand: what it must condemn, and what it must let pass."""

from math import inf

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from tests.crash.oracle import ALLOWANCE, BLIP, Claim, Judge, Ways, Wrong, named
from tests.crash.truth import Driver, Path, State, Truth

KEY = DeviceKey("gpu.crash.example", "crash", "s0")
LEASE, GONE, WORST = 2.0, 1.5, 4.0
LATE = ALLOWANCE + BLIP + 0.3
"""Surely late: claims are looked at each 0.1 s here."""


class Case:
    """A device Healthy since second 0, whose driver speaks and whose ways are in order."""

    def __init__(self) -> None:
        self.truth = Truth(GONE)
        self.driver = self.truth.drivers[KEY.driver] = Driver(LEASE)
        self.driver.started(1, -1.0)
        self.truth.add(KEY, 0.0)
        self.ways = Ways(Path(8.0), Path(8.0), {KEY.driver: Path(6.0)})
        self.judge = Judge(self.truth, self.ways, WORST)

    def breaks(self, at: float, serial: int = 1) -> None:
        self.truth.write(KEY, State(at, Health.UNHEALTHY, serial))

    def mends(self, at: float) -> None:
        self.truth.write(KEY, State(at, Health.HEALTHY))

    def shown(self, begin: float, end: float, health: Health = Health.HEALTHY, serial: int = 0, where: str = "annotation") -> list[Wrong]:
        """What is wrong with a claim that is made all the time from `begin` to `end`, and not after."""
        claim = Claim("u", "default/p", KEY, health, serial, where)
        steps = round((end - begin) / 0.1)
        found = [one for step in range(steps + 1) for one in self.judge.judge([claim], begin + step * 0.1, 0.0)]
        return found + self.judge.judge([], end + 0.1, 0.0)


@pytest.fixture
def case() -> Case:
    return Case()


def kinds(wrong: list[Wrong]) -> list[str]:
    return [one.kind for one in wrong]


def test_the_truth_may_be_said_for_ever(case: Case) -> None:
    assert not case.shown(0.0, 100.0)


def test_a_healthy_that_outlives_the_truth_is_false_at_once_where_all_is_in_order(case: Case) -> None:
    case.breaks(10.0)
    assert not case.shown(0.0, 10.0 + ALLOWANCE)
    assert kinds(case.shown(10.0, 10.0 + LATE)) == ["false Healthy"]


def test_it_is_condemned_once_however_long_it_stays(case: Case) -> None:
    case.breaks(10.0)
    assert len(case.shown(0.0, 60.0)) == 1


def test_an_agent_that_cannot_write_is_believed_until_its_own_lease_must_have_ended(case: Case) -> None:
    case.ways.agent.broke("net")
    case.breaks(10.0)
    assert not case.shown(10.0, 10.0 + LEASE + WORST + ALLOWANCE)
    assert kinds(case.shown(10.0, 10.0 + LEASE + WORST + LATE)) == ["false Healthy"]


def test_a_driver_that_went_silent_is_believed_for_its_lease(case: Case) -> None:
    case.ways.drivers[KEY.driver].broke("stopped")
    case.driver.stopped(1, 10.0)
    assert not case.shown(10.0, 10.0 + LEASE + ALLOWANCE)
    assert kinds(case.shown(10.0, 10.0 + LEASE + LATE)) == ["false Healthy"], "although it is still Healthy: nobody knows"


def test_a_driver_that_is_gone_is_believed_for_less_than_a_long_lease(case: Case) -> None:
    case.driver.lease = 20.0
    case.ways.drivers[KEY.driver].broke("process")
    case.driver.died(1, 10.0)
    assert not case.shown(10.0, 10.0 + GONE + ALLOWANCE)
    assert kinds(case.shown(10.0, 10.0 + GONE + LATE)) == ["false Healthy"]


def test_another_instance_of_a_rolling_update_keeps_the_lease_alive(case: Case) -> None:
    case.driver.started(2, 9.0)
    case.driver.died(1, 10.0)
    assert not case.shown(10.0, 60.0)


def test_a_way_that_was_mended_has_time_to_settle_and_no_more(case: Case) -> None:
    case.ways.agent.broke("net")
    case.breaks(10.0)
    case.ways.agent.mended("net", 11.0)
    assert not case.shown(11.0, 10.0 + LEASE + WORST)
    assert kinds(case.shown(11.0 + 8.0, 11.0 + 8.0 + LATE)) == ["false Healthy"]


def test_a_way_has_settled_once_it_was_seen_to_work_and_not_because_what_it_shows_is_true() -> None:
    """An agent that was started a moment ago is not there yet, and what the last one wrote may be true still."""
    way = Path(8.0)
    way.broke("process")
    way.worked(10.5)
    way.mended("process", 11.0)
    way.settled()
    assert way.good_from == 19.0
    way.worked(11.4)
    way.settled()
    assert way.good_from == -inf


def test_a_claim_that_comes_back_for_a_moment_is_counted_and_not_condemned(case: Case) -> None:
    case.breaks(10.0)
    assert not case.shown(20.0, 20.0 + BLIP / 2)
    assert len(case.judge.blips) == 1
    assert kinds(case.shown(30.0, 30.0 + 2 * BLIP)) == ["false Healthy"]


def test_a_fault_of_another_device_is_invented(case: Case) -> None:
    assert kinds(case.shown(1.0, 1.0, Health.UNHEALTHY, serial=7)) == ["invented"]


def test_a_fault_that_outlives_the_truth_is_stale(case: Case) -> None:
    case.breaks(10.0, serial=7)
    case.mends(12.0)
    assert not case.shown(10.0, 12.0 + ALLOWANCE, Health.UNHEALTHY, serial=7)
    assert kinds(case.shown(12.0, 12.0 + LATE, Health.UNHEALTHY, serial=7)) == ["stale fault"]


def test_the_field_is_judged_by_the_way_of_the_kubelet(case: Case) -> None:
    case.breaks(10.0)
    case.ways.kubelet.broke("process")
    assert not case.shown(10.0, 60.0, where="field")
    case.ways.kubelet.mended("process", 60.0)
    case.ways.agent.broke("net")
    assert kinds(case.shown(60.0, 68.0 + LATE, where="field")) == ["false Healthy"]


def test_time_in_which_the_oracle_had_no_turn_is_forgiven(case: Case) -> None:
    case.breaks(10.0)
    claim = Claim("u", "default/p", KEY, Health.HEALTHY, 0, "annotation")
    found = [one for step in range(40) for one in case.judge.judge([claim], 10.0 + step * 0.1, 5.0)]
    assert not found


def test_the_kubelets_names_are_told_apart() -> None:
    assert named("gpu.crash.example/claim=0f-1-device-s0", KEY)
    assert named("gpu.crash.example/crash/s0", KEY)
    assert not named("gpu.crash.example/claim=0f-1-device-s01", KEY)
    assert not named("other.crash.example/claim=0f-1-device-s0", KEY)


def test_what_is_true_now_has_not_ceased(case: Case) -> None:
    case.breaks(1.0)
    case.mends(2.0)
    assert case.truth.ceased(KEY, Health.HEALTHY, 0, 1.5) == 1.0
    assert case.truth.ceased(KEY, Health.HEALTHY, 0, 2.5) == inf
