"""Whatever is said, in whatever order, and wherever the process was restarted: the promises of evidence.py hold."""

import json
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from podvitals.detect.damping import Damping
from podvitals.detect.detector import Reading
from podvitals.detect.evidence import Evidence
from podvitals.detect.rules.rule import Class
from podvitals.detect.signal import Code, Count, Level, Signal, State, Unread
from podvitals.device.health import Health
from tests.detect.rulesets import toys

RULES = toys()
DAMPING = Damping(changes=6, window=300.0, hold=10.0)


@dataclass(frozen=True)
class Step:
    pause: float
    device: str
    signals: tuple[Signal, ...]
    whole: bool
    restart: bool


CODES = ("dead", "stuck", "worn", "bug", "off", "on", "old", "yields", "4711")
codes = st.builds(Code, st.just("toy"), st.sampled_from(CODES), age=st.sampled_from([0.0, 0.0, 30.0, 5000.0]))
lives = st.builds(Code, st.just("life"), st.sampled_from(["reset", "service"]))
states = st.builds(
    State,
    st.sampled_from(["toy.link", "toy.asked", "toy.frozen"]),
    st.sampled_from(["up", "down", "reset", "0", "1"]),
    st.sampled_from("01"),
)
counts = st.builds(
    Count, st.sampled_from(["toy.errors", "toy.corrected"]), st.sampled_from([0, 1, 2, 50, 120, 400, 2**64]), st.sampled_from("01")
)
levels = st.builds(Level, st.sampled_from(["toy.width", "toy.max_width", "toy.temperature"]), st.sampled_from([4.0, 8.0, 100.0]))
unread = st.builds(Unread, st.sampled_from(["toy.link", "toy.width", "toy.asked"]), st.just("busy"), st.sampled_from("01"))
signals = st.lists(st.one_of(codes, states, counts, levels, unread, lives), max_size=4).map(tuple)
pauses = st.sampled_from([0.0, 0.5, 5.0, 5.0, 31.0, 61.0, 400.0, 3700.0])
walks = st.lists(st.builds(Step, pauses, st.sampled_from("ab"), signals, st.booleans(), st.booleans()), max_size=40)


def walked(walk: list[Step], evidence: Evidence) -> list[tuple[float, str, Reading]]:
    now, said = 100.0, []
    for step in walk:
        now += step.pause
        said.append((now, step.device, evidence.take(step.device, step.signals, now, whole=step.whole)))
    return said


@given(walks)
def test_no_device_is_ever_healthy_while_a_fatal_condition_is_there(walk: list[Step]) -> None:
    evidence, now = Evidence(RULES, DAMPING), 100.0
    for step in walk:
        now += step.pause
        reading = evidence.take(step.device, step.signals, now, whole=step.whole)
        fatal = [reason for reason in evidence.reasons(step.device) if reason.rank == Class.FATAL.rank]
        if fatal:
            assert reading.health is Health.UNHEALTHY
            assert fatal[0].text in reading.message


@given(walks)
def test_no_device_changes_more_often_than_the_damping_allows(walk: list[Step]) -> None:
    shown: dict[str, Health] = {}
    changes: dict[str, list[float]] = {}
    for now, device, reading in walked(walk, Evidence(RULES, DAMPING)):
        if shown.get(device, reading.health) is not reading.health:
            changes.setdefault(device, []).append(now)
        shown[device] = reading.health
    for times in changes.values():
        assert all(sum(1 for at in times if first <= at < first + DAMPING.window) <= DAMPING.changes for first in times)


@given(walks)
def test_each_transition_carries_evidence_and_each_fault_a_message(walk: list[Step]) -> None:
    evidence = Evidence(RULES, DAMPING)
    for _, device, reading in walked(walk, evidence):
        assert reading.message or reading.health is Health.HEALTHY
        assert len(reading.message.encode()) <= 1024
        assert all(transition.because for transition in evidence.transitions(device))


@given(walks)
@settings(max_examples=200)
def test_a_snapshot_restored_goes_on_as_if_it_had_never_been_interrupted(walk: list[Step]) -> None:
    evidence, now, said = Evidence(RULES, DAMPING), 100.0, []
    for step in walk:
        now += step.pause
        if step.restart:
            document = json.loads(json.dumps(evidence.snapshot(now, now + 1e9, "boot")))
            evidence = Evidence(RULES, DAMPING)
            evidence.restore(document, now, now + 1e9, "boot")
        said.append((now, step.device, evidence.take(step.device, step.signals, now, whole=step.whole)))
    assert said == walked(walk, Evidence(RULES, DAMPING))


@given(walks)
def test_silence_and_a_service_mend_everything_that_can_be_mended(walk: list[Step]) -> None:
    evidence = Evidence(RULES, DAMPING)
    walked(walk, evidence)
    now = 1e6
    for _ in range(3):
        evidence.take("a", [Code("life", "service"), Code("toy", "on")], now, whole=True)
        now += 1e5
    pushed: list[Signal] = []
    pushed += [State("toy.link", "up", part) for part in "01"] + [State("toy.asked", "none", part) for part in "01"]
    pushed += [State("toy.frozen", "0", part) for part in "01"] + [Count("toy.corrected", 0, part) for part in "01"]
    levels = [Level("toy.width", 16), Level("toy.max_width", 16), Level("toy.temperature", 20)]
    unread = [Level("toy.width", 16, part) for part in "01"]
    for _ in range(2):
        evidence.take("a", [*pushed, *levels, *unread], now, whole=False)
        now += 1e4
    assert evidence.take("a", [], now, whole=True) == Reading.healthy()
