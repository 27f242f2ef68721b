"""How often within a time: exact, against counting everything."""

from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect.tally import Tally

events = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 7.0, 30.0, 61.0]), st.sampled_from([1.0, 2.0, 50.0, 0.5])), max_size=80)


@given(events, st.sampled_from([1, 3, 101]), st.sampled_from([0.0, 60.0]))
def test_it_is_reached_exactly_when_the_window_holds_enough(walk: list[tuple[float, float]], enough: int, within: float) -> None:
    tally, now, all_of_them = Tally(enough, within), 0.0, []
    for pause, weight in walk:
        now += pause
        tally.add(now, weight)
        all_of_them.append((now, weight))
        for at in (now, now + 13.0):
            true = sum(weight for when, weight in all_of_them if not within or when + within > at)
            assert Tally(enough, within, tally.seen.copy()).reached(at) == (true >= enough)
    assert len(tally.seen) <= 2 * enough + 2


def test_a_weight_of_nothing_is_nothing() -> None:
    tally = Tally(1, 60.0)
    tally.add(0.0, 0.0)
    assert not tally.reached(0.0)
