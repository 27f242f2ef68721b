"""The log: the same of the same party once a minute, and few of one kind whoever it is of."""

from podvitals.node.sayings import MOST_A_MINUTE, Sayings


def test_the_same_of_the_same_party_is_said_once_a_minute_with_the_count_since() -> None:
    sayings = Sayings()
    assert sayings.may("invalid entry", "gpu", 0.0) == 1
    assert [sayings.may("invalid entry", "gpu", 1.0 + second, 2) for second in range(5)] == [0] * 5
    assert sayings.may("invalid entry", "nic", 5.0) == 1
    assert sayings.may("stream", "gpu", 5.0) == 1
    assert sayings.may("invalid entry", "gpu", 60.0) == 11


def test_a_party_that_changes_its_name_fills_no_log() -> None:
    sayings = Sayings()
    said = sum(bool(sayings.may("registration", f"/socket-{number}", number / 1000)) for number in range(50_000))
    assert said == MOST_A_MINUTE
    assert sayings.may("stream", "gpu", 50.0) == 1
    assert sayings.may("registration", "/socket-x", 61.0) == 1
    assert len(sayings._said) + len(sayings._unsaid) < 3000
