"""Faults that others remember, where the node's own memory is lost: history and nothing better, whoever speaks first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.ledger import Fault, Ledger, SourceKey
from podvitals.node.limits import Limits
from podvitals.node.past import sound
from podvitals.node.record import with_history
from podvitals.node.switchboard import Switchboard
from podvitals.wire.messages import DeviceReport

GPU = SourceKey("gpu.example.com")
KEY = DeviceKey("gpu.example.com", "node1", "gpu-0")
HOT = Fault(Health.UNHEALTHY, "hot", "reset-gpu", 100.0, 200.0)
XID = Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0)


def report(ledger: Ledger, health: Health, wall: float, message: str = "") -> None:
    ledger.report(GPU, 1, [DeviceReport("node1", "gpu-0", health, 0.0, 60.0, message)], wall, wall)


def faults(ledger: Ledger) -> tuple[Fault, ...]:
    state = ledger.state(KEY)
    assert state is not None
    return state.faults


def test_a_device_that_only_others_remember_is_unknown_and_keeps_its_faults() -> None:
    board = Switchboard()
    assert board.seed(KEY, (HOT, XID), 400.0).changed == {KEY}
    state = board.state(KEY)
    assert (state.health, state.message) == (Health.UNKNOWN, "no driver gpu.example.com is registered on this node")
    assert state.faults == (HOT, Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0, 400.0)), "nobody knows that it lasts"
    assert board.seed(KEY, (HOT, XID), 500.0).changed == frozenset()
    assert KEY not in board.states()


@pytest.mark.parametrize("seed_first", [True, False])
def test_a_fault_goes_on_where_the_first_verdict_says_the_same_whoever_comes_first(seed_first: bool) -> None:
    ledger = Ledger()
    if seed_first:
        ledger.seed(KEY, (HOT, XID), 390.0)
    report(ledger, Health.UNHEALTHY, 400.0, "Xid 79 again")
    if not seed_first:
        assert ledger.seed(KEY, (HOT, XID), 410.0) == {KEY}
    assert faults(ledger) == (HOT, Fault(Health.UNHEALTHY, "Xid 79 again", "", 300.0))
    assert ledger.states()[KEY].since == 300.0


@pytest.mark.parametrize("seed_first", [True, False])
def test_a_fault_ended_at_the_latest_when_the_first_verdict_says_otherwise(seed_first: bool) -> None:
    ledger = Ledger()
    if seed_first:
        ledger.seed(KEY, (HOT, XID), 390.0)
    report(ledger, Health.HEALTHY, 400.0)
    if not seed_first:
        ledger.seed(KEY, (HOT, XID), 500.0)
    assert faults(ledger) == (HOT, Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0, 400.0))
    assert ledger.states()[KEY].health is Health.HEALTHY
    assert ledger.states()[KEY].since == 400.0


def test_what_the_ledger_knows_itself_is_not_counted_twice() -> None:
    ledger = Ledger()
    report(ledger, Health.UNHEALTHY, 300.4, "Xid 79")
    report(ledger, Health.HEALTHY, 350.0)
    before = faults(ledger)
    assert ledger.seed(KEY, (XID,), 400.0) == frozenset()
    assert faults(ledger) == before


def test_seeded_faults_survive_a_restart_reported_or_not() -> None:
    before = Ledger()
    before.seed(KEY, (HOT, XID), 390.0)
    rows = before.drain()
    assert rows.devices == before.everything().devices
    after = Ledger()
    after.restore(rows, 400.0, 400.0)
    assert after.states() == {}
    assert after.remembered(KEY) == before.remembered(KEY)
    report(after, Health.UNHEALTHY, 400.0, "Xid 79")
    rows.lay_over(after.drain())
    assert rows.devices == after.everything().devices
    again = Ledger()
    again.restore(rows, 410.0, 410.0)
    assert faults(again) == (HOT, Fault(Health.UNHEALTHY, "Xid 79", "", 300.0))


def test_what_others_remember_is_bounded() -> None:
    ledger = Ledger(4)
    keys = [KEY._replace(device=f"gpu-{number}") for number in range(10)]
    for key in keys:
        ledger.seed(key, (HOT,), 400.0)
    assert [bool(ledger.remembered(key)) for key in keys] == [False] * 6 + [True] * 4
    assert {key for key, row in ledger.drain().devices.items() if row is not None} == set(keys[6:])


def test_three_faults_stay_and_an_unknown_goes_first() -> None:
    lost = Fault(Health.UNKNOWN, "silent", "", 150.0, 160.0)
    ledger = Ledger()
    ledger.seed(KEY, (Fault(Health.UNHEALTHY, "first", "", 50.0, 60.0), HOT, lost, XID), 390.0)
    assert [fault.message for fault in ledger.remembered(KEY)] == ["first", "hot", "Xid 79"]


TIMES = st.one_of(st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.integers(0, 40).map(float))
FAULTS = st.lists(st.builds(Fault, st.sampled_from(Health), st.text(max_size=5), st.just(""), TIMES, st.none() | TIMES), max_size=6)
REPORTS = st.lists(st.tuples(st.sampled_from(Health), st.integers(1, 9)), max_size=6)


@given(before=REPORTS, planted=FAULTS, after=REPORTS)
def test_whatever_is_planted_health_is_the_drivers_and_history_stays_sane(
    before: list[tuple[Health, int]], planted: list[Fault], after: list[tuple[Health, int]]
) -> None:
    board, now = Switchboard(Limits(devices_per_driver=2)), 20.0
    truth = Ledger()
    for part in (before, after):
        for health, seconds in part:
            now += seconds
            for ledger in (board.ledger, truth):
                report(ledger, health, now)
        if part is before:
            board.seed(KEY, tuple(planted), now)
            board.seed(KEY, tuple(planted), now)
    told, told_without = board.state(KEY), truth.state(KEY)
    assert told.health is (Health.UNKNOWN if told_without is None else told_without.health)
    assert len(told.faults) <= 3
    assert all(fault.health is not Health.HEALTHY for fault in told.faults)
    assert [fault.end is None for fault in told.faults[:-1]] == [False] * len(told.faults[:-1])
    lasting = bool(told.faults) and told.faults[-1].end is None
    assert lasting == (told_without is not None and told.health is not Health.HEALTHY)
    assert all(fault.end is None or fault.end >= fault.start for fault in told.faults)


@given(planted=FAULTS)
def test_what_was_planted_adds_nothing_the_second_time(planted: list[Fault]) -> None:
    once = with_history((), sound(planted), 50.0)
    assert sound(sound(planted)) == sound(planted)
    assert len(once) == len(sound(planted))
