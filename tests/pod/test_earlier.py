"""The faults that stood on a pod, joined to a ledger's record of the time after it."""

from hypothesis import given
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.ledger import Ledger
from podvitals.node.record import DeviceState, Fault, SourceKey, with_change
from podvitals.pod.earlier import Earlier
from podvitals.wire.messages import DeviceReport
from tests.pod.make import key

HOT = Fault(Health.UNHEALTHY, "hot", "reset-gpu", 100.0, 200.0)
XID = Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0)


def joined(own: tuple[Fault, ...], *earlier: Fault, since: float, at: float = 380.0, began: float = 0.0) -> tuple[Fault, ...]:
    health = own[-1].health if own and own[-1].end is None else Health.HEALTHY
    state = DeviceState(key("gpu-0"), health, "", "", since, since, None, own, began)
    return Earlier(earlier, at).settle(state).joined(state).faults


def test_a_fault_goes_on_where_the_first_verdict_says_the_same() -> None:
    own = (Fault(Health.UNHEALTHY, "Xid 79 again", "", 400.0),)
    assert joined(own, HOT, XID, since=400.0) == (HOT, Fault(Health.UNHEALTHY, "Xid 79 again", "", 300.0))


def test_a_fault_ended_at_the_latest_when_the_first_verdict_said_otherwise() -> None:
    assert joined((), HOT, XID, since=400.0) == (HOT, Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0, 400.0))


def test_a_fault_that_the_first_verdict_ended_does_not_go_on_in_a_later_one() -> None:
    """The pod was seen late, and between the first verdict and that moment the device broke again."""
    own = (Fault(Health.UNHEALTHY, "row remap", "", 450.0),)
    assert joined(own, XID, since=450.0, began=400.0) == (Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0, 400.0), *own)
    assert joined(own, XID, since=450.0, began=450.0) == (Fault(Health.UNHEALTHY, "row remap", "", 300.0),)


def test_a_full_record_of_which_nobody_knows_the_beginning_goes_on_from_nothing() -> None:
    """It was displaced from it together with its end: the oldest that is left is another."""
    own = tuple(Fault(Health.UNHEALTHY, text, "", start, start + 1) for text, start in (("a", 400.0), ("b", 410.0), ("c", 420.0)))
    assert joined(own, XID, since=421.0) == own


def test_a_ledger_knows_its_first_verdict_of_a_device_and_none_of_a_restored_one() -> None:
    source, ledger, restored = SourceKey("gpu.example.com"), Ledger(), Ledger()
    gpu = DeviceKey("gpu.example.com", "node1", "gpu-0")
    for at, health in ((10.0, Health.HEALTHY), (20.0, Health.UNHEALTHY), (30.0, Health.HEALTHY)):
        ledger.report(source, 1, [DeviceReport("node1", "gpu-0", health, 0.0, 15.0)], at, 1000.0 + at)
    restored.restore(ledger.everything(), 31.0, 1031.0)
    restored.report(source, 1, [DeviceReport("node1", "gpu-0", Health.UNHEALTHY, 0.0, 15.0)], 40.0, 1040.0)
    assert [one.states()[gpu].began for one in (ledger, restored)] == [1010.0, 0.0]


def test_before_the_first_verdict_it_ended_when_it_was_taken_over() -> None:
    assert joined((), XID, since=0.0, at=380.0) == (Fault(Health.UNHEALTHY, "Xid 79", "power-cycle", 300.0, 380.0),)


def test_what_the_record_has_is_not_counted_twice() -> None:
    own = (Fault(Health.UNHEALTHY, "Xid 79", "", 300.0004, 350.0),)
    assert joined(own, XID, since=350.0) == own


def test_two_faults_within_a_second_are_two() -> None:
    own = (Fault(Health.UNHEALTHY, "Xid 79", "", 300.4, 300.6),)
    assert len(joined(own, Fault(Health.UNHEALTHY, "Xid 79", "", 300.0, 300.2), since=300.6)) == 2


def test_three_faults_stay_and_an_unknown_goes_first() -> None:
    silent, then = Fault(Health.UNKNOWN, "silent", "", 210.0, 220.0), Fault(Health.UNHEALTHY, "then", "", 250.0, 260.0)
    own = (Fault(Health.UNHEALTHY, "now", "", 400.0),)
    assert [fault.message for fault in joined(own, HOT, silent, then, since=400.0)] == ["hot", "then", "now"]


def test_what_came_after_it_was_taken_over_is_newer_though_the_clock_was_set_back_since() -> None:
    own = tuple(Fault(Health.UNHEALTHY, text, "", start, start + 1) for text, start in (("a", 5.0), ("b", 7.0), ("c", 9.0)))
    taken = Earlier((HOT,), 205.0).settle(DeviceState(key("gpu-0"), Health.HEALTHY, "", "", 210.0, 210.0, None, ()))
    state = DeviceState(key("gpu-0"), Health.HEALTHY, "", "", 10.0, 10.0, None, own)
    assert [fault.message for fault in taken.joined(state).faults] == ["a", "b", "c"]


CHANGES = st.lists(st.tuples(st.sampled_from(Health), st.integers(1, 9)), max_size=6)


def record(changes: list[tuple[Health, int]], wall: float) -> tuple[tuple[Fault, ...], float, float]:
    """The faults, since when the last health, and the time then."""
    faults: tuple[Fault, ...] = ()
    before, since = None, 0.0
    for health, seconds in changes:
        wall += seconds
        since = wall if health is not before else since
        faults, before = with_change(faults, before, health, "", "", wall), health
    return faults, since, wall


@given(earlier=CHANGES, own=CHANGES, later=CHANGES)
def test_a_joined_record_is_a_record_and_stays_one_as_it_goes_on(
    earlier: list[tuple[Health, int]], own: list[tuple[Health, int]], later: list[tuple[Health, int]]
) -> None:
    before, _, wall = record(earlier, 100.0)
    taken = Earlier(before, wall + 1)
    for changes in (own, own + later):
        after, since, _ = record(changes, wall + 1)
        state = DeviceState(key("gpu-0"), changes[-1][0] if changes else Health.UNKNOWN, "", "", since, since, None, after)
        taken = taken.settle(state)
        faults = taken.joined(state).faults
        assert len(faults) <= 3
        assert [fault.start for fault in faults] == sorted(fault.start for fault in faults)
        assert all(fault.end is not None and fault.end >= fault.start for fault in faults[:-1])
        assert (bool(faults) and faults[-1].end is None) == (bool(after) and after[-1].end is None)
        known = {fault.start for fault in before} | {fault.start for fault in after}
        assert {fault.start for fault in faults} <= known
        if len(after) == 3 and all(fault.health is Health.UNHEALTHY for fault in (*before, *after)) and taken.goes_on is None:
            assert faults == after
