"""A device's own record of faults, and what somebody else remembers of the time before it."""

from hypothesis import given
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.node.record import Fault, with_change, with_history

HOT = Fault(Health.UNHEALTHY, "hot", "reset-gpu", 100.0, 200.0)
XID = Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0)


def test_a_fault_goes_on_where_the_first_verdict_says_the_same() -> None:
    own = (Fault(Health.UNHEALTHY, "Xid 79 again", "", 400.0),)
    assert with_history(own, (HOT, XID), 400.0) == (HOT, Fault(Health.UNHEALTHY, "Xid 79 again", "", 300.0))


def test_a_fault_ended_at_the_latest_when_the_first_verdict_said_otherwise() -> None:
    assert with_history((), (HOT, XID), 400.0) == (HOT, Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0, 400.0))


def test_what_the_record_has_is_not_counted_twice() -> None:
    own = (Fault(Health.UNHEALTHY, "Xid 79", "", 300.4, 350.0),)
    assert with_history(own, (XID,), 300.4) == own


def test_three_faults_stay_and_an_unknown_goes_first() -> None:
    silent = Fault(Health.UNKNOWN, "silent", "", 150.0, 160.0)
    own = (Fault(Health.UNHEALTHY, "now", "", 400.0),)
    assert [fault.message for fault in with_history(own, (HOT, silent, Fault(Health.UNHEALTHY, "then", "", 250.0, 260.0)), 400.0)] == [
        "hot",
        "then",
        "now",
    ]


CHANGES = st.lists(st.tuples(st.sampled_from(Health), st.integers(0, 9)), max_size=6)


def record(changes: list[tuple[Health, int]], wall: float) -> tuple[tuple[Fault, ...], float]:
    faults: tuple[Fault, ...] = ()
    before = None
    for health, seconds in changes:
        wall += seconds
        faults, before = with_change(faults, before, health, "", "", wall), health
    return faults, wall


@given(earlier=CHANGES, own=CHANGES)
def test_a_joined_record_is_a_record(earlier: list[tuple[Health, int]], own: list[tuple[Health, int]]) -> None:
    before, wall = record(earlier, 100.0)
    after, _ = record(own, wall + 1)
    faults = with_history(after, before, wall + 1 + (own[0][1] if own else 0))
    assert len(faults) <= 3
    assert [fault.start for fault in faults] == sorted(fault.start for fault in faults)
    assert all(fault.end is not None and fault.end >= fault.start for fault in faults[:-1])
    assert (bool(faults) and faults[-1].end is None) == (bool(after) and after[-1].end is None)
