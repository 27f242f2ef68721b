"""The board: what several detectors said, and what follows."""

from hypothesis import given, settings
from hypothesis import strategies as st

from podvitals.detect.board import Board, Source
from podvitals.detect.detector import Device, Reading
from podvitals.detect.inventory import Listing, listing
from podvitals.device.health import Health

OK, BAD = Reading.healthy(), Reading.unhealthy("Xid 79", action="power-cycle")


def board(*leases: float) -> Board:
    return Board("d.example.com", "n1", [Source("ABC"[i], lease) for i, lease in enumerate(leases)])


def listed(*names: str) -> Listing:
    return Listing({name: Device(name) for name in names})


def said(board: Board, name: str = "g0") -> tuple[Health, str]:
    verdict = board.verdict(name)
    assert verdict is not None
    return verdict.health, verdict.message


def test_a_listed_device_says_nothing_until_it_was_read() -> None:
    b = board(15)
    assert b.take(0, listed("g0"), 0, 1000) == frozenset()
    assert b.verdict("g0") is None
    assert b.read(0, "g0", OK, 1, 1001) == {"g0"}
    verdict = b.verdict("g0")
    assert verdict is not None
    assert (verdict.health, verdict.checked_at, verdict.lease) == (Health.HEALTHY, 1001, 15)


def test_a_device_never_read_is_unknown_at_its_first_deadline() -> None:
    b = board(15)
    b.take(0, listed("g0"), 0, 1000)
    assert b.next_deadline() == 15
    assert b.expire(14.9) == frozenset()
    assert b.expire(15) == {"g0"}
    assert said(b) == (Health.UNKNOWN, "A has not read this device within its lease of 15 s")


def test_the_same_reading_again_is_no_change_but_renews() -> None:
    b = board(15)
    b.take(0, listed("g0"), 0, 1000)
    b.read(0, "g0", OK, 1, 1001)
    assert b.read(0, "g0", OK, 10, 1010) == frozenset()
    assert b.expire(16) == frozenset()
    assert b.next_deadline() == 25
    assert b.expire(25) == {"g0"}
    assert said(b) == (Health.UNKNOWN, "A has not read this device again within its lease of 15 s (last known: Healthy)")


def test_a_failed_check_is_unknown_with_its_reason_and_what_was_last_known_and_renews_nothing() -> None:
    b = board(15)
    b.take(0, listed("g0"), 0, 1000)
    b.read(0, "g0", BAD, 1, 1001)
    assert b.fail(0, "g0", "check failed: OSError") == {"g0"}
    assert b.fail(0, "g0", "check failed: OSError") == frozenset()
    assert said(b) == (Health.UNKNOWN, "check failed: OSError (last known: Unhealthy: Xid 79)")
    verdict = b.verdict("g0")
    assert verdict is not None
    assert verdict.checked_at == 1001


def test_of_two_detectors_the_worse_counts_and_both_reasons_are_kept() -> None:
    b = board(15, 6)
    b.take(0, listed("g0"), 0, 1000)
    b.take(1, listed("g0"), 0, 1000)
    b.read(0, "g0", Reading.healthy("link at half width"), 1, 1001)
    b.read(1, "g0", BAD, 1, 1001)
    verdict = b.verdict("g0")
    assert verdict is not None
    assert (verdict.health, verdict.message, verdict.action) == (Health.UNHEALTHY, "Xid 79; link at half width", "power-cycle")
    assert verdict.lease == 6


def test_of_two_detectors_that_find_a_fault_the_action_is_that_which_mends_both() -> None:
    for actions in (("reset-gpu", "power-cycle"), ("power-cycle", "reset-gpu"), ("", "power-cycle")):
        b = board(15, 15)
        for source, action in enumerate(actions):
            b.take(source, listed("g0"), 0, 1000)
            b.read(source, "g0", Reading.unhealthy("broken", action=action), 1, 1001)
        verdict = b.verdict("g0")
        assert verdict is not None
        assert verdict.action == "power-cycle"


def test_a_device_the_inventory_lost_is_unhealthy_and_stays() -> None:
    b = board(15)
    b.take(0, listed("g0", "g1"), 0, 1000)
    b.read(0, "g0", OK, 1, 1001)
    b.read(0, "g1", OK, 1, 1001)
    assert b.take(0, listed("g1"), 5, 1005) == {"g0"}
    assert said(b) == (Health.UNHEALTHY, "missing: A listed this device before and does not find it now")
    assert set(b.devices) == {"g0", "g1"}
    assert said(b, "g1") == (Health.HEALTHY, "")
    assert b.take(0, listed("g0", "g1"), 10, 1010) == {"g0"}
    assert said(b) == (Health.HEALTHY, "")


def test_the_detectors_own_fault_says_more_about_a_missing_device_than_that_it_is_missing() -> None:
    b = board(15)
    b.take(0, listed("g0"), 0, 1000)
    b.take(0, listed(), 5, 1005)
    b.read(0, "g0", Reading.unhealthy("/dev/g0 is gone"), 5, 1005)
    assert said(b) == (Health.UNHEALTHY, "/dev/g0 is gone")


def test_missing_is_believed_only_while_the_inventory_is_read() -> None:
    b = board(15)
    b.take(0, listed("g0"), 0, 1000)
    b.take(0, listed(), 5, 1005)
    assert b.expire(19.9) == frozenset()
    assert b.expire(20) == {"g0"}
    assert said(b)[0] is Health.UNKNOWN


def test_a_contradiction_makes_one_device_unknown_and_leaves_its_neighbours_alone() -> None:
    b = board(15, 15)
    both = {name: Device(name, {"model": "T1"}) for name in ("g0", "g1")}
    b.take(0, Listing(both), 0, 1000)
    b.take(1, Listing({"g0": Device("g0", {"model": "T2"}), "g1": Device("g1", {"numa": 1})}), 0, 1000)
    for source in (0, 1):
        for name in both:
            b.read(source, name, OK, 1, 1001)
    assert said(b) == (Health.UNKNOWN, "A and B contradict each other about device g0: attribute model is 'T1' and 'T2'")
    assert said(b, "g1") == (Health.HEALTHY, "")
    assert b.devices["g1"].attributes == {"model": "T1", "numa": 1}


NAMES = st.sampled_from(["g0", "g1"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 1), NAMES, st.sampled_from([OK, BAD, Reading.unknown("?")])),
        st.tuples(st.just("fail"), st.integers(0, 1), NAMES),
        st.tuples(st.just("list"), st.integers(0, 1), st.sets(NAMES)),
        st.tuples(st.just("wait"), st.floats(0.1, 20)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_healthy_is_said_only_while_every_detector_read_so_within_its_lease(events: list[tuple]) -> None:  # type: ignore[type-arg]
    leases = (5.0, 12.0)
    b, now = board(*leases), 100.0
    b.take(0, listed("g0", "g1"), now, now)
    healthy_until: dict[tuple[int, str], float] = {}
    seen: dict[str, tuple[Health, str] | None] = {"g0": None, "g1": None}
    for kind, *rest in events:
        if kind == "wait":
            # A shell sleeps to the next deadline: never past it.
            end = now + rest[0]
            changed: frozenset[str] = frozenset()
            while (at := b.next_deadline()) is not None and at <= end:
                now = max(now, at)
                changed |= b.expire(now)
            now = end
        elif kind == "read":
            source, name, reading = rest
            changed = b.read(source, name, reading, now, now)
            healthy_until[source, name] = now + leases[source] if reading is OK else 0.0
        elif kind == "fail":
            source, name = rest
            changed = b.fail(source, name, "hangs")
            healthy_until[source, name] = 0.0
        else:
            source, names = rest
            changed = b.take(source, listed(*names), now, now)
        for name in seen:
            verdict = b.verdict(name)
            meaning = (verdict.health, verdict.message) if verdict is not None else None
            assert (meaning != seen[name]) <= (name in changed), "a change nobody was told of"
            seen[name] = meaning
            if verdict is not None and verdict.health is Health.HEALTHY:
                said_so = [until for (_, device), until in healthy_until.items() if device == name]
                assert said_so
                assert all(until > now for until in said_so)
        assert (b.next_deadline() or 1e9) > now or not b.expire(now)


def test_a_device_that_was_never_read_is_not_last_known_as_unread() -> None:
    board = Board("toys.example.com", "node-1", [Source("toys", 15.0)])
    board.take(0, listing("toys", [Device("d")]), 0.0, 0.0)
    board.fail(0, "d", "no answer")
    first = board.verdicts["d"]
    board.fail(0, "d", "no answer")
    assert board.verdicts["d"] == first
    assert first.message == "no answer"


def test_a_fault_that_is_known_all_the_same_stays_while_its_device_cannot_be_read_and_renews_nothing() -> None:
    board = Board("toys.example.com", "node-1", [Source("toys", 15.0)])
    board.take(0, listing("toys", [Device("d")]), 0.0, 100.0)
    board.read(0, "d", Reading.unhealthy("Xid 79", action="power-cycle"), 1.0, 101.0)
    board.fail(0, "d", "no answer", Reading.unhealthy("Xid 79; no answer", action="power-cycle"))
    verdict = board.verdicts["d"]
    assert (verdict.health, verdict.message, verdict.action) == (Health.UNHEALTHY, "Xid 79; no answer", "power-cycle")
    assert verdict.checked_at == 101.0
    board.fail(0, "d", "no answer", Reading.healthy())
    assert board.verdicts["d"].health is Health.UNKNOWN, "only a fault outlives a failed reading"
