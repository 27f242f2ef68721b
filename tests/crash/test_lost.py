"""Which faults must be found on a pod, on cases made by hand."""

from datetime import UTC, datetime

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.pod.entry import DeviceEntry, FaultEntry
from tests.crash.lost import Hold, Life, Register, Told
from tests.crash.truth import State, Truth, text_of

KEY = DeviceKey("gpu.crash.example", "crash", "s0")
AGENT, NEXT_AGENT, KUBELET = 10, 11, 20
HOLD = Hold("u", "p", frozenset({KEY}), 0.0)


class Case:
    """One agent that lives, and a pod that held the device from second 0 on."""

    def __init__(self) -> None:
        self.truth = Truth(1.5)
        self.truth.add(KEY, 0.0)
        self.register = Register(self.truth, 0.0)
        self.register.lives[AGENT] = Life(AGENT, 0.0)

    def fault(self, at: float, serial: int, to: int = AGENT, lasts: float = 1.0) -> None:
        """The device breaks and is mended, and `to` is told of both."""
        self.truth.write(KEY, State(at, Health.UNHEALTHY, serial))
        self.register.tell(Told(at, to, KEY, Health.UNHEALTHY, serial))
        if lasts:
            self.truth.write(KEY, State(at + lasts, Health.HEALTHY))
            self.register.tell(Told(at + lasts, to, KEY, Health.HEALTHY, 0))

    def lost(self, *shown: tuple[int, float]) -> list[str]:
        """What is wrong where the annotation has these faults (serial, beginning)."""
        wrong, _ = self.register.missing(HOLD, [self.entry(*shown)])
        return [one.text for one in wrong]

    @staticmethod
    def entry(*shown: tuple[int, float]) -> DeviceEntry:
        faults = tuple(FaultEntry(Health.UNHEALTHY, text_of(n), start=datetime.fromtimestamp(at, UTC)) for n, at in shown)
        return DeviceEntry("main", KEY.driver, KEY.pool, KEY.device, Health.HEALTHY, faults=faults)


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_fault_told_to_an_agent_that_lives_must_be_there(case: Case) -> None:
    case.fault(10.0, 1)
    assert not case.lost((1, 10.0))
    assert case.lost()


def test_a_fault_told_to_the_kubelet_alone_need_not(case: Case) -> None:
    case.fault(10.0, 1, to=KUBELET)
    assert not case.lost()


def test_an_agent_killed_at_once_cannot_have_kept_it(case: Case) -> None:
    case.fault(10.0, 1)
    case.register.lives[AGENT].end = 10.5
    assert not case.lost()


def test_an_agent_that_ran_for_a_while_must_have_kept_it(case: Case) -> None:
    case.fault(10.0, 1)
    case.register.lives[AGENT].end = 11.5
    assert case.lost()


def test_time_in_which_the_agent_was_stopped_does_not_count(case: Case) -> None:
    case.fault(10.0, 1)
    life = case.register.lives[AGENT]
    life.stopped.begin(10.1)
    life.stopped.end(11.4)
    life.end = 11.5
    assert not case.lost()


@pytest.mark.parametrize("how", ["full", "damaged"])
def test_a_disk_that_kept_nothing_excuses_an_agent_that_died(case: Case, how: str) -> None:
    case.fault(10.0, 1)
    case.register.lives[AGENT].end = 15.0
    if how == "full":
        case.register.disk_wrong.begin(9.0)
        case.register.disk_wrong.end(12.0)
    else:
        case.register.damaged.append(15.1)
    assert not case.lost()


def test_nothing_excuses_the_loss_of_a_fault_that_a_reader_saw(case: Case) -> None:
    case.fault(10.0, 1)
    faults = (FaultEntry(Health.UNHEALTHY, text_of(1), start=datetime.fromtimestamp(10.0, UTC)),)
    case.register.seen("u", [DeviceEntry("main", KEY.driver, KEY.pool, KEY.device, Health.HEALTHY, faults=faults)])
    case.register.lives[AGENT].end = 10.2
    case.register.damaged.append(10.3)
    assert case.lost()


def test_what_was_found_once_is_looked_for_again_and_what_was_lost_is_told_once(case: Case) -> None:
    case.fault(10.0, 1)
    assert not case.lost((1, 10.0))
    case.register.looked(HOLD, [case.entry((1, 10.0))])
    case.register.forget()
    assert case.lost()
    case.register.looked(HOLD, [case.entry()])
    assert not case.lost()


def test_a_fault_that_became_another_without_an_end_is_one_episode(case: Case) -> None:
    case.fault(10.0, 1, lasts=0.0)
    case.fault(11.0, 2)
    assert not case.lost((2, 10.0))
    assert case.lost((1, 10.0))


def test_three_later_faults_displace_it_and_two_do_not(case: Case) -> None:
    for serial in range(1, 5):
        case.fault(10.0 * serial, serial)
    assert case.lost((3, 30.0), (4, 40.0))
    assert not case.lost((2, 20.0), (3, 30.0), (4, 40.0))


def test_a_fault_before_or_after_the_pods_life_is_not_its(case: Case) -> None:
    case.fault(0.5, 1)
    assert not case.lost()


def test_a_fault_that_was_over_when_the_kubelet_took_the_pod_need_not_stay(case: Case) -> None:
    case.fault(10.0, 1)
    case.register.seen("u", [case.entry((1, 10.0))])
    wrong, due = case.register.missing(Hold("u", "p", frozenset({KEY}), 12.0), [case.entry()])
    assert (wrong, due) == ([], 0)


def test_what_the_next_agent_took_for_the_same_episode_is_excused(case: Case) -> None:
    """It saw the fault lasting on the pod, and the device broken, and could not know of the moment in between."""
    case.fault(10.0, 1)
    case.register.seen("u", [case.entry((1, 10.0))])
    case.fault(20.0, 2, to=NEXT_AGENT)
    assert not case.lost((2, 10.0))
    assert case.lost((2, 20.0))


def test_a_quoted_fault_is_no_fault(case: Case) -> None:
    """`last known: Unhealthy: broken n=1` in the message of an Unknown is not the record of it."""
    case.fault(10.0, 1)
    quoted = FaultEntry(Health.UNKNOWN, f"nothing heard; last known: Unhealthy: {text_of(1)}", start=datetime.fromtimestamp(12.0, UTC))
    entry = DeviceEntry("main", KEY.driver, KEY.pool, KEY.device, Health.HEALTHY, faults=(quoted,))
    wrong, due = case.register.missing(HOLD, [entry])
    assert (len(wrong), due) == (1, 1)
