"""Whose turn it is to be written: nothing dropped, bounded, a server in trouble left in peace, and no two writers in step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.pod.turns import IN_FLIGHT, LONGEST_PAUSE, Ending, Turns


def turns(jitter: float = 1.0) -> Turns:
    return Turns(lambda: jitter)


def test_a_marked_pod_is_written_at_once_and_once() -> None:
    core = turns()
    core.want("a", 0.0, 0.0)
    core.want("a", 0.0, 0.0)
    assert (core.take(0.0), core.take(0.0)) == ("a", None)
    core.done("a", Ending.DONE, 0.0)
    assert (core.take(0.0), core.next_deadline(), core.waiting) == (None, None, 0)


def test_a_change_during_a_write_is_written_after_it() -> None:
    core = turns()
    core.want("a", 0.0, 0.0)
    core.take(0.0)
    core.want("a", 0.1, 0.1)
    assert core.take(0.1) is None
    core.done("a", Ending.DONE, 0.2)
    assert core.take(0.2) == "a"


def test_no_more_than_eight_are_under_way() -> None:
    core = turns()
    for number in range(20):
        core.want(f"p{number}", 0.0, 0.0)
    taken = [uid for _ in range(20) if (uid := core.take(0.0)) is not None]
    assert len(taken) == IN_FLIGHT
    core.done(taken[0], Ending.DONE, 0.0)
    assert core.take(0.0) == "p8"


def test_a_server_in_trouble_is_asked_by_one_with_growing_pauses_and_all_at_once_when_it_answers() -> None:
    core, now, pauses = turns(), 0.0, []
    for number in range(20):
        core.want(f"p{number}", now, now)
    for uid in [uid for _ in range(20) if (uid := core.take(now)) is not None]:
        core.done(uid, Ending.TROUBLE, now)
    for _ in range(12):
        deadline = core.next_deadline()
        assert deadline is not None
        pauses.append(deadline - now)
        now = deadline
        uid = core.take(now)
        assert uid is not None
        assert core.take(now) is None, "one at a time"
        core.done(uid, Ending.TROUBLE, now)
    assert pauses == pytest.approx([min(LONGEST_PAUSE, 0.1 * 2**number) for number in range(12)])
    now = core.next_deadline() or now
    uid = core.take(now)
    assert uid is not None
    core.done(uid, Ending.DONE, now)
    assert len([uid for _ in range(20) if core.take(now) is not None]) == IN_FLIGHT


def test_the_pause_that_a_server_asks_for_is_kept() -> None:
    core = turns()
    core.want("a", 0.0, 0.0)
    core.take(0.0)
    core.done("a", Ending.TROUBLE, 0.0, retry_after=7.0)
    assert (core.next_deadline() or 0.0) >= 7.0
    assert core.take(6.9) is None


def test_those_that_were_told_the_same_moment_to_come_back_come_spread_after_it_and_none_before() -> None:
    deadlines = []
    for draw in (0.0, 0.3, 1.0):
        core = turns(draw)
        core.want("a", 0.0, 0.0)
        core.take(0.0)
        core.done("a", Ending.AGAIN, 0.0, retry_after=10.0)
        deadlines.append(core.next_deadline() or 0.0)
    assert deadlines == sorted(set(deadlines))
    assert deadlines[0] >= 10.0
    assert deadlines[-1] - deadlines[0] >= 2.0


def test_one_that_is_to_be_written_later_has_its_turn_then_and_not_before() -> None:
    core = turns()
    core.want("a", 5.0, 0.0)
    assert (core.take(4.9), core.next_deadline()) == (None, 5.0)
    core.want("a", 3.0, 1.0)
    assert (core.next_deadline(), core.take(3.0)) == (3.0, "a")
    core.want("a", 9.0, 3.0)
    core.done("a", Ending.DONE, 3.5)
    assert (core.take(8.9), core.next_deadline(), core.take(9.0)) == (None, 9.0, "a")


def test_one_with_nothing_to_write_tells_nothing_of_the_server() -> None:
    core = turns()
    for uid in "ab":
        core.want(uid, 0.0, 0.0)
        core.take(0.0)
    core.done("a", Ending.TROUBLE, 0.0)
    core.give_back("b", 0.0)
    assert (core.waiting, core.take(0.05), core.take(0.1)) == (1, None, "a")


def test_one_that_is_not_taken_as_it_was_may_try_otherwise_at_once() -> None:
    core = turns()
    core.want("a", 0.0, 0.0)
    core.take(0.0)
    core.done("a", Ending.OTHERWISE, 0.0)
    assert core.take(0.0) == "a"


def test_one_that_is_forgotten_under_way_leaves_its_place_to_others() -> None:
    core = turns()
    for number in range(IN_FLIGHT + 1):
        core.want(f"p{number}", 0.0, 0.0)
    taken = [uid for _ in range(IN_FLIGHT) if (uid := core.take(0.0)) is not None]
    core.forget(taken[0])
    assert core.take(0.0) == f"p{IN_FLIGHT}"
    core.done(taken[0], Ending.AGAIN, 0.0)
    assert core.waiting == IN_FLIGHT


def test_pauses_are_drawn_so_that_kubelets_do_not_come_back_together() -> None:
    deadlines = set()
    for draw in (0.0, 0.3, 1.0):
        core = turns(draw)
        core.want("a", 0.0, 0.0)
        core.take(0.0)
        core.done("a", Ending.TROUBLE, 0.0)
        deadlines.add(core.next_deadline())
    assert len(deadlines) == 3


def test_a_pod_that_is_refused_does_not_hold_up_the_others() -> None:
    core = turns()
    core.want("a", 0.0, 0.0)
    core.want("b", 0.0, 0.0)
    core.take(0.0)
    core.done("a", Ending.AGAIN, 0.0)
    assert core.take(0.0) == "b"
    core.done("b", Ending.DONE, 0.0)
    assert core.next_deadline() is not None
    assert core.take(LONGEST_PAUSE) == "a"


STEPS = ["mark", "later", "wait", "done", "otherwise", "again", "trouble", "nothing"]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(STEPS)), max_size=60), st.floats(0, 1))
def test_whatever_happens_no_pod_is_forgotten_and_none_is_written_twice_at_a_time(story: list[tuple[int, str]], draw: float) -> None:
    core, now = turns(draw), 0.0
    wanted: set[str] = set()
    in_flight: list[str] = []

    def take() -> None:
        while (uid := core.take(now)) is not None:
            assert uid not in in_flight
            in_flight.append(uid)
            wanted.discard(uid)

    for number, what in story:
        if what == "mark":
            core.want(f"p{number}", now, now)
            wanted.add(f"p{number}")
        elif what == "later":
            core.want(f"p{number}", now + 0.3 * number, now)
            wanted.add(f"p{number}")
        elif what == "wait":
            now += 0.1 * number
        elif in_flight and what == "nothing":
            core.give_back(in_flight.pop(0), now)
        elif in_flight:
            uid = in_flight.pop(0)
            core.done(uid, Ending(what), now)
            if what != "done":
                wanted.add(uid)
        take()
        assert len(in_flight) <= IN_FLIGHT
    for _ in range(200):
        for uid in list(in_flight):
            in_flight.remove(uid)
            core.done(uid, Ending.DONE, now)
        take()
        if not in_flight and not wanted:
            break
        now = max(now, core.next_deadline() or now)
    assert not wanted
    assert core.waiting == 0
