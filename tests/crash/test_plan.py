"""Plans: the same for the same seed, every kind of fault in as many rounds as there are kinds, nothing undone by something else."""

from collections import defaultdict
from itertools import pairwise

import pytest

from tests.crash import plan, times, twins
from tests.crash.acts import Acts


def test_a_seed_is_a_plan() -> None:
    assert plan.make(17) == plan.make(17)
    assert plan.make(17) != plan.make(18)


def test_as_many_rounds_as_there_are_kinds_have_them_all() -> None:
    seen = {act.kind for seed in range(len(plan.KINDS)) for act in plan.make(seed).acts}
    assert seen == set(plan.KINDS)


def test_a_fault_that_is_asked_for_is_there() -> None:
    assert "net-hold" in {act.kind for act in plan.make(3, "net-hold").acts}


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_two_faults_at_one_place_follow_each_other(first: int) -> None:
    for seed in range(first, first + 50):
        places = defaultdict(list)
        for act in plan.make(seed).acts:
            places[plan.KINDS[act.kind][0], act.driver].append((act.at, act.at + act.lasts))
        for spans in places.values():
            assert all(end < begin for (_, end), (begin, _) in pairwise(spans))


def test_a_device_never_changes_to_what_it_is() -> None:
    for seed in range(100):
        last = dict.fromkeys(plan.DEVICES, "Healthy")
        for change in (change for change in plan.make(seed).changes if change.device != plan.WITNESS):
            assert (last[change.device], change.health) not in {("Healthy", "Healthy"), ("Unknown", "Unknown")}
            last[change.device] = change.health


def test_one_device_changes_as_the_rounds_own_fault_begins_and_then_no_more() -> None:
    for seed in range(100):
        made = plan.make(seed, "net-hold")
        begins = next(act.at for act in made.acts if act.kind == "net-hold")
        changes = [change for change in made.changes if change.device == plan.WITNESS]
        assert [change.at for change in changes] == [0.05, begins + 0.3]
        assert changes[0].health != changes[1].health


def test_every_kind_can_be_done() -> None:
    assert set(Acts.__new__(Acts)._table()) == set(plan.KINDS)


def test_every_twin_has_a_fault_that_shows_it() -> None:
    assert set(twins.KINDS) == set(twins.ALL)
    assert set(twins.KINDS.values()) <= set(plan.KINDS)


def test_a_constant_that_is_gone_is_not_shortened_in_silence() -> None:
    with pytest.raises(SystemExit, match="is not there any more"):
        times.shorten({"podvitals.node.fact": {"NO_SUCH_NAME": 1.0}})
    with pytest.raises(SystemExit, match="GONE_AFTER"):
        times.shorten({"podvitals.node.ledger": {"GONE_AFTER": 1.0}})  # imported there, not made there
