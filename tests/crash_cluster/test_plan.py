"""Plans: the same for the same seed; a hundred have every kind of fault; what a twin replaces is there."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.crash_cluster import plan, twins
from tests.crash_cluster.report import ClusterReport
from tests.crash_cluster.table import line_of, story_of, table
from tests.crash_cluster.world import PARTS


def test_a_seed_is_a_plan() -> None:
    assert plan.make(17) == plan.make(17)
    assert plan.make(17) != plan.make(18)


def test_a_hundred_rounds_have_every_fault_to_every_driver_and_every_end_of_a_pod() -> None:
    plans = [plan.make(seed) for seed in range(100)]
    kinds = Counter(act.kind for one in plans for act in one.acts)
    assert set(kinds) == set(plan.KINDS)
    assert {act.part for one in plans for act in one.acts} == set(PARTS)
    assert {pod.ends for one in plans for pod in one.pods} == set(plan.ENDS)
    assert {pod.uses for one in plans for pod in one.pods} == set(plan.USES)


def test_no_part_is_taken_twice_and_no_driver_is_away_for_longer_than_calls_are_held() -> None:
    for seed in range(300):
        acts = plan.make(seed).acts
        assert len({act.part for act in acts}) == len(acts)
        assert all(act.lasts <= 30 for act in acts if act.driver)


def test_a_fault_that_is_asked_for_is_there_alone_and_as_long_as_it_ever_is() -> None:
    (act,) = plan.make(3, "relay-stop").acts
    assert (act.kind, act.lasts) == ("relay-stop", plan.KINDS["relay-stop"][2])


def test_the_short_rounds_have_the_faults_they_are_there_for() -> None:
    for seed, kinds in plan.SHORT.items():
        acts = plan.make(seed).acts
        assert {act.kind for act in acts} == kinds
        assert max(act.at + act.lasts for act in acts) < 3.0


def test_every_twin_has_a_fault_that_shows_it() -> None:
    assert set(twins.RELAYS) | {twins.WITHOUT_KEEPER} == set(twins.ALL)
    assert set(twins.KINDS.values()) <= set(plan.KINDS)


@pytest.mark.parametrize("name", twins.RELAYS)
def test_what_a_twin_replaces_is_there(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = f"from tests.crash_cluster import twins; twins.become({name!r})"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_person_reads_what_was_wrong_and_how_to_see_it_again() -> None:
    good = ClusterReport(1, ["relay-kill"], took=4.0, settled=1.0, pods=3, starts=[0.2, 9.0], calls=6, excused=1)
    bad = ClusterReport(2, ["driver-stop:go"], wrong=[("false Healthy", "field of pod a: d0 Healthy, 4.0 s after its end")], took=5.0)
    assert line_of(good, 1, 2).startswith("round   1/2  seed    1    4.0 s  ok")
    assert "WRONG: false Healthy" in line_of(bad, 2, 2)
    assert "make crash-cluster SEED=2" in story_of(bad)
    told = table([good, bad, ClusterReport(-1, ["the end"])], {"does-not-hold": 1, "delivers-late": 0}, 9.0)
    for words in ("rounds                   2, 1 of them wrong", "1 false Healthy", "1 of 2 found; NOT delivers-late", "9.0 s (longest)"):
        assert words in told
