"""What a watcher is told, and when."""

from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect.board import Board, Source
from podvitals.detect.detector import Device, Reading
from podvitals.detect.inventory import Listing
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.verdict import Verdict
from podvitals.driver.report import Teller


def verdict(health: Health = Health.HEALTHY, *, at: float = 100.0, message: str = "", lease: float = 20.0, device: str = "g0") -> Verdict:
    return Verdict(DeviceKey("d", "n", device), health, message, "", at, lease)


def test_the_first_report_holds_every_device_and_when_it_was_read() -> None:
    reports = Teller().due([verdict(device="g0"), verdict(Health.UNHEALTHY, message="x", device="g1")], 0)
    assert [(r.device, r.health, r.message, r.checked_at, r.lease) for r in reports] == [
        ("g0", Health.HEALTHY, "", 100.0, 20.0),
        ("g1", Health.UNHEALTHY, "x", 100.0, 20.0),
    ]


def test_a_change_is_told_at_once_and_alone() -> None:
    teller = Teller()
    teller.due([verdict(device="g0"), verdict(device="g1")], 0)
    reports = teller.due([verdict(device="g0"), verdict(Health.UNHEALTHY, device="g1")], 0.001)
    assert [r.device for r in reports] == ["g1"]


def test_a_device_read_again_is_told_again_within_its_lease() -> None:
    teller = Teller()
    teller.due([verdict(at=100)], 0)
    assert teller.due([verdict(at=104)], 3.9) == []
    assert len(teller.due([verdict(at=104)], 5)) == 1


def test_a_device_not_read_since_is_never_told_again() -> None:
    teller = Teller()
    teller.due([verdict(at=100)], 0)
    for now in (5, 10, 19.9, 1000):
        assert teller.due([verdict(at=100)], now) == []


def test_unknown_is_repeated_so_that_its_reason_lasts() -> None:
    teller = Teller()
    teller.due([verdict(Health.UNKNOWN, message="check hangs")], 0)
    assert len(teller.due([verdict(Health.UNKNOWN, message="check hangs")], 5)) == 1


def test_a_wall_clock_set_back_stops_no_renewal() -> None:
    teller = Teller()
    teller.due([verdict(at=100)], 0)
    assert len(teller.due([verdict(at=50)], 5)) == 1


def test_all_watchers_are_told_again_at_the_same_time_whenever_they_came() -> None:
    """A hung driver's leases end together for agent and kubelet."""
    assert {Teller().next_look(now, 8.0) for now in (100.0, 100.1, 101.9)} == {102.0}
    assert Teller().next_look(102.0, 8.0) == 104.0


LEASE = 9.0
STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "read bad", "fail", "nothing"]), st.floats(0.01, 4.0)),
    max_size=40,
)


@given(STEPS)
def test_a_watcher_never_believes_healthy_longer_than_the_hardware_was_read(steps: list[tuple[str, float]]) -> None:
    """Board, teller and a kubelet's own lease together: whatever the detector does, the watcher's Healthy rests on a reading of at most a
    lease and a renewal ago; and as long as the detector reads in time, the watcher's lease never ends."""
    board = Board("d", "n", [Source("A", LEASE)])
    teller, now, read_at, good_until = Teller(), 1000.0, 0.0, 0.0
    board.take(0, Listing({"g0": Device("g0")}), now, now)
    watcher: Health | None = None
    heard, reads, look_at = 0.0, 0, now
    for what, wait in steps:
        if what.startswith("read"):
            board.read(0, "g0", Reading.unhealthy("x") if "bad" in what else Reading.healthy(), now, now)
            read_at, good_until, reads = now, now + LEASE, reads + 1
        elif what == "fail":
            board.fail(0, "g0", "hangs")
        end = now + wait
        while now < end:
            board.expire(now)
            for report in teller.due(board.verdicts.values(), now):
                watcher, heard = report.health, now
            if watcher is Health.HEALTHY and now - heard < LEASE:
                assert now - read_at < LEASE
            if watcher is not None and now < good_until:
                assert now - heard < LEASE, "a device that is read in time decayed at the watcher"
            look_at = teller.next_look(now, LEASE)
            deadline = board.next_deadline()
            now = min(end, look_at, deadline if deadline is not None and deadline > now else end)
