"""The restart back-off has upstream's shape."""

import pytest

from podvitals.errors import InvalidInput
from podvitals.lab.kubelet.backoff import Backoff, BackoffSettings

UPSTREAM = BackoffSettings(10.0, 300.0)


def waits(settings: BackoffSettings, crashes: int, run_for: float = 0.0) -> list[float]:
    now, state, seen = 0.0, Backoff(), []
    for _ in range(crashes):
        now += run_for
        ended = now
        wait = state.wait(settings, ended)
        seen.append(wait)
        now += wait
        state = state.next(settings, ended, now)
    return seen


def test_the_first_restart_is_immediate_and_each_wait_doubles_up_to_the_cap() -> None:
    assert waits(UPSTREAM, 8) == [0, 10, 20, 40, 80, 160, 300, 300]


def test_the_lab_waits_less_with_the_same_shape() -> None:
    assert waits(BackoffSettings(), 7) == [0, 1, 2, 4, 8, 10, 10]


def test_a_run_longer_than_ten_minutes_starts_over() -> None:
    state = Backoff(160.0, granted=1000.0)
    assert state.wait(UPSTREAM, ended=1599.0) == 160
    assert state.wait(UPSTREAM, ended=1601.0) == 0
    assert state.next(UPSTREAM, 1601.0, 1601.0) == Backoff(10.0, 1601.0)


def test_back_off_is_read_as_base_and_cap() -> None:
    assert BackoffSettings.parse("2:30") == BackoffSettings(2.0, 30.0)
    assert BackoffSettings.parse("0.5") == BackoffSettings(0.5, 10.0)
    assert BackoffSettings.parse("upstream") == UPSTREAM


@pytest.mark.parametrize("text", ["", "fast", "0:5", "5:1", "1:1e9", "-1", "nan"])
def test_a_back_off_that_makes_no_sense_is_refused_with_what_would(text: str) -> None:
    with pytest.raises(InvalidInput, match="back-off"):
        BackoffSettings.parse(text)
