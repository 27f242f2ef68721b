"""When which pod's status is written: newest first, nothing dropped, bounded, and no two kubelets in step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.lab.kubelet.writes import IN_FLIGHT, LONGEST_PAUSE, Outcome, Writes


def writes(jitter: float = 1.0) -> Writes:
    return Writes(lambda: jitter)


def test_a_marked_pod_is_written_at_once_and_once() -> None:
    core = writes()
    core.mark("a", 0.0)
    core.mark("a", 0.0)
    assert (core.take(0.0), core.take(0.0)) == ("a", None)
    core.done("a", Outcome.WRITTEN, 0.0)
    assert (core.take(0.0), core.next_deadline(), core.waiting) == (None, None, 0)


def test_a_change_during_a_write_is_written_after_it() -> None:
    core = writes()
    core.mark("a", 0.0)
    core.take(0.0)
    core.mark("a", 0.1)
    assert core.take(0.1) is None
    core.done("a", Outcome.WRITTEN, 0.2)
    assert core.take(0.2) == "a"


def test_no_more_than_eight_are_under_way() -> None:
    core = writes()
    for number in range(20):
        core.mark(f"p{number}", 0.0)
    taken = [uid for _ in range(20) if (uid := core.take(0.0)) is not None]
    assert len(taken) == IN_FLIGHT
    core.done(taken[0], Outcome.WRITTEN, 0.0)
    assert core.take(0.0) == "p8"


def test_a_server_in_trouble_is_asked_by_one_with_growing_pauses_and_all_at_once_when_it_answers() -> None:
    core, now, pauses = writes(), 0.0, []
    for number in range(20):
        core.mark(f"p{number}", now)
    for uid in [uid for _ in range(20) if (uid := core.take(now)) is not None]:
        core.done(uid, Outcome.TROUBLE, now)
    for _ in range(12):
        deadline = core.next_deadline()
        assert deadline is not None
        pauses.append(deadline - now)
        now = deadline
        uid = core.take(now)
        assert uid is not None
        assert core.take(now) is None, "one at a time"
        core.done(uid, Outcome.TROUBLE, now)
    assert pauses == pytest.approx([min(LONGEST_PAUSE, 0.1 * 2**number) for number in range(12)])
    now = core.next_deadline() or now
    uid = core.take(now)
    assert uid is not None
    core.done(uid, Outcome.WRITTEN, now)
    assert len([uid for _ in range(20) if core.take(now) is not None]) == IN_FLIGHT


def test_the_pause_that_a_server_asks_for_is_kept() -> None:
    core = writes()
    core.mark("a", 0.0)
    core.take(0.0)
    core.done("a", Outcome.TROUBLE, 0.0, retry_after=7.0)
    assert (core.next_deadline() or 0.0) >= 7.0
    assert core.take(6.9) is None


def test_pauses_are_drawn_so_that_kubelets_do_not_come_back_together() -> None:
    deadlines = set()
    for draw in (0.0, 0.3, 1.0):
        core = writes(draw)
        core.mark("a", 0.0)
        core.take(0.0)
        core.done("a", Outcome.TROUBLE, 0.0)
        deadlines.add(core.next_deadline())
    assert len(deadlines) == 3


def test_a_pod_that_is_refused_does_not_hold_up_the_others() -> None:
    core = writes()
    core.mark("a", 0.0)
    core.mark("b", 0.0)
    core.take(0.0)
    core.done("a", Outcome.AGAIN, 0.0)
    assert core.take(0.0) == "b"
    core.done("b", Outcome.WRITTEN, 0.0)
    assert core.next_deadline() is not None
    assert core.take(LONGEST_PAUSE) == "a"


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["mark", "written", "again", "trouble"])), max_size=60), st.floats(0, 1))
def test_whatever_happens_no_pod_is_forgotten_and_none_is_written_twice_at_a_time(story: list[tuple[int, str]], draw: float) -> None:
    core, now = writes(draw), 0.0
    wanted: set[str] = set()
    in_flight: list[str] = []

    def take() -> None:
        while (uid := core.take(now)) is not None:
            assert uid not in in_flight
            in_flight.append(uid)
            wanted.discard(uid)

    for number, what in story:
        if what == "mark":
            core.mark(f"p{number}", now)
            wanted.add(f"p{number}")
        elif in_flight:
            uid = in_flight.pop(0)
            core.done(uid, Outcome(what), now)
            if what != "written":
                wanted.add(uid)
        take()
        assert len(in_flight) <= IN_FLIGHT
    for _ in range(200):
        for uid in list(in_flight):
            in_flight.remove(uid)
            core.done(uid, Outcome.WRITTEN, now)
        take()
        if not in_flight and not wanted:
            break
        now = max(now, core.next_deadline() or now)
    assert not wanted
    assert core.waiting == 0
