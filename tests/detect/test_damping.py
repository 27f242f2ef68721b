"""The one state machine between evidence and verdict: worse at once, better only as often as the window lets it."""

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect.damping import STEPS, WORST, Damper, Damping, Step, Trend

DAMPING = Damping(changes=8, window=600.0)
HELD = Damping(changes=8, window=600.0, hold=30.0)


def test_the_table_has_a_step_for_every_case() -> None:
    assert set(STEPS) == set(product(Trend, (False, True), (False, True)))


def test_what_got_worse_or_stayed_is_shown_always_and_what_got_better_only_if_it_lasted_and_may() -> None:
    for (trend, lasted, left), step in STEPS.items():
        assert (step is Step.SHOW) == (trend is not Trend.BETTER or (lasted and left))


def test_a_single_fault_comes_and_goes_without_delay() -> None:
    damper = Damper(DAMPING)
    assert [damper.step(rank, at) for at, rank in enumerate([0, 3, 0])] == [Step.SHOW] * 3
    assert damper.shown == 0


def test_a_link_that_flaps_is_held_at_its_worst_and_freed_when_the_window_has_passed() -> None:
    damper = Damper(DAMPING)
    for at in range(0, 100, 10):
        damper.step(3 if at % 20 else 0, at)
    damper.step(0, 100.0)
    assert damper.shown == 3
    assert damper.comes_and_goes(100.0)
    assert damper.step(0, 609.9) is Step.KEEP
    assert damper.step(0, 610.0) is Step.SHOW


def test_hold_keeps_the_worse_state_until_the_better_one_has_lasted() -> None:
    damper = Damper(HELD)
    damper.step(3, 0.0)
    assert damper.step(0, 1.0) is Step.HOLD
    assert damper.step(0, 30.9) is Step.HOLD
    assert damper.step(3, 30.95) is Step.SHOW, "worse again: the hold begins anew"
    assert damper.step(0, 31.0) is Step.HOLD
    assert damper.step(0, 61.0) is Step.SHOW


steps = st.lists(st.tuples(st.floats(0.0, 200.0), st.integers(0, WORST)), max_size=120)


@given(steps, st.sampled_from([DAMPING, HELD, Damping(4, 60.0), Damping(5, 300.0, 5.0)]))
def test_there_are_never_more_changes_in_a_window_and_never_anything_better_shown(walk: list[tuple[float, int]], damping: Damping) -> None:
    damper, now, changes, before = Damper(damping), 0.0, [], None
    for pause, rank in walk:
        now += pause
        damper.step(rank, now)
        assert damper.shown is not None
        assert damper.shown >= rank
        if before is not None and damper.shown != before:
            changes.append(now)
        before = damper.shown
    for first in changes:
        assert sum(1 for at in changes if first <= at < first + damping.window) <= damping.changes


@given(steps, st.sampled_from([DAMPING, HELD]))
def test_what_stays_as_it_is_is_shown_in_the_end(walk: list[tuple[float, int]], damping: Damping) -> None:
    damper, now = Damper(damping), 0.0
    for pause, rank in walk:
        now += pause
        damper.step(rank, now)
    for _ in range(damping.changes + 2):  # one change after the other leaves the window
        if damper.step(1, now) is Step.SHOW:
            break
        now += damping.window
    assert damper.shown == 1 or not walk


@given(steps, st.integers(0, 100))
def test_a_damper_that_was_saved_goes_on_as_if_nothing_had_happened(walk: list[tuple[float, int]], where: int) -> None:
    straight, saved, now = Damper(HELD), Damper(HELD), 0.0
    for number, (pause, rank) in enumerate(walk):
        now += pause
        if number == where:
            document = saved.snapshot()
            saved = Damper(HELD)
            saved.restore(document, 0.0, rebooted=False)
        assert straight.step(rank, now) is saved.step(rank, now)
        assert straight.shown == saved.shown


def test_the_shape_of_the_walks_is_one_that_flaps() -> None:
    """The test of the test: without damping the same walk has more changes than the window allows."""
    ranks = [3 if number % 2 else 0 for number in range(40)]
    assert sum(a != b for a, b in pairwise(ranks)) > DAMPING.changes
