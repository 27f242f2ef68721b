"""Pace, order and failure of what is sent, against a model of the API server."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from podvitals.device.key import DeviceKey
from podvitals.pod.outbox import ANNOTATION_PACE, NUDGES, Letter, Outbox, Outcome, Shown, Wanted
from podvitals.pod.status import Said
from podvitals.pod.turns import IN_FLIGHT, LONGEST_PAUSE
from tests.pod.make import key

FAILURES = [Outcome.AGAIN, Outcome.TROUBLE, Outcome.DENIED, Outcome.REFUSED]


def said(text: str) -> Said:
    return Said("False", "DeviceUnhealthy", text)


@dataclass
class World:
    """The truth, the server's pods, and what is under way; checks after each step what must always hold."""

    jitter: Callable[[], float] = lambda: 1.0
    now: float = 100.0
    truth: dict[str, tuple[str, str]] = field(default_factory=dict)
    unknown: dict[str, frozenset[DeviceKey]] = field(default_factory=dict)
    server: dict[str, Shown] = field(default_factory=dict)
    under_way: dict[str, Letter] = field(default_factory=dict)
    annotated: dict[str, float] = field(default_factory=dict)
    sent: list[tuple[str, Letter]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.jitter)

    def change(self, uid: str, condition: str, annotation: str) -> None:
        self.truth[uid] = (condition, annotation)
        self.outbox.mark(uid, self.now)
        self.go()

    def go(self) -> None:
        while (uid := self.outbox.take(self.now)) is not None:
            assert uid not in self.under_way
            condition, annotation = self.truth.get(uid, ("", ""))
            wanted = Wanted(said(condition), lambda text=annotation: text, self.unknown.get(uid, frozenset()))  # type: ignore[misc]
            letter = self.outbox.compose(uid, wanted if uid in self.truth else None, self.now)
            if letter is not None:
                assert letter.condition is not None or letter.annotation is not None
                self.under_way[uid] = letter
        assert len(self.under_way) <= IN_FLIGHT

    def answer(self, uid: str, outcome: Outcome = Outcome.SENT) -> Letter:
        letter = self.under_way.pop(uid)
        shown = None
        if outcome is Outcome.SENT:
            before = self.server.get(uid, Shown())
            shown = self.server[uid] = Shown.of(letter.condition or before.condition, letter.annotation)
            if letter.annotation is None:
                shown = self.server[uid] = Shown(shown.condition, before.annotation)
            self.sent.append((uid, letter))
        self.outbox.done(uid, outcome, self.now, shown=shown)
        self.go()
        return letter

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (deadline := self.outbox.next_deadline()) is not None and deadline <= until:
            assert deadline > self.now, "a deadline in the past would make the loop spin"
            self.now = deadline
            self.go()
        self.now = until
        self.go()

    def tamper(self, uid: str) -> None:
        self.server[uid] = Shown()
        self.outbox.observe(uid, Shown(), self.now)
        self.go()

    def settle(self) -> None:
        for _ in range(40):
            while self.under_way:
                self.answer(next(iter(self.under_way)))
            self.wait(LONGEST_PAUSE)
        for uid, (condition, annotation) in self.truth.items():
            assert self.server[uid] == Shown.of(said(condition), annotation)
        assert (self.outbox.dirty, self.outbox.untold(self.now)) == (0, {})


uids = st.sampled_from(["a", "b", "c", *map(str, range(10))])
steps = st.one_of(
    st.tuples(st.just("change"), uids, st.sampled_from("xyz"), st.sampled_from("pqr")),
    st.tuples(st.just("answer"), st.integers(0, 9), st.sampled_from([Outcome.SENT, Outcome.SENT, *FAILURES])),
    st.tuples(st.just("wait"), st.floats(0, 3)),
    st.tuples(st.just("tamper"), uids),
    st.tuples(st.just("lease"), uids, st.booleans()),
)


@settings(max_examples=500)
@given(st.lists(steps, max_size=40), st.floats(0, 1))
def test_whatever_fails_the_latest_truth_arrives(story: list[tuple[object, ...]], jitter: float) -> None:
    world = World(lambda: jitter)
    for step in story:
        match step:
            case ("change", str(uid), str(condition), str(annotation)):
                world.change(uid, condition, annotation)
            case ("answer", int(n), Outcome() as outcome) if world.under_way:
                world.answer(sorted(world.under_way)[n % len(world.under_way)], outcome)
            case ("wait", float(seconds)):
                world.wait(seconds)
            case ("tamper", str(uid)) if uid in world.truth and uid not in world.under_way:
                world.tamper(uid)
            case ("tamper", str(uid)) if uid in world.under_way and uid in world.server:
                world.server[uid] = Shown.of(said("a late patch"), "a late patch")  # seen only in the answer to what is under way
            case ("lease", str(uid), bool(ended)):
                world.unknown[uid] = frozenset({key("gpu-0")}) if ended else frozenset()
            case _:
                pass
    world.settle()
    sent = len(world.sent)
    world.settle()
    assert len(world.sent) == sent, "an unchanged status is written again"


def test_what_an_answer_shows_beside_what_was_sent_is_put_right() -> None:
    """A patch of which nobody heard any more arrives after all, while the next one, which leaves the condition alone, is under way: the
    answer shows the old condition, and no watch will show it again."""
    world = World()
    world.change("a", "healthy", "1")
    world.answer("a")
    world.wait(ANNOTATION_PACE)
    world.change("a", "healthy", "2")
    assert world.under_way["a"] == Letter(None, "2")
    world.server["a"] = Shown.of(said("broken"), "1")
    world.answer("a")
    assert world.under_way["a"] == Letter(said("healthy"), None)
    world.settle()


def test_the_condition_goes_at_once_and_the_annotation_once_a_second() -> None:
    world = World()
    world.change("a", "0", "0")
    assert world.answer("a") == Letter(said("0"), "0")
    for n in range(1, 10):
        world.wait(0.05)
        world.change("a", str(n), str(n))
        assert world.answer("a") == Letter(said(str(n)), None)
    world.wait(ANNOTATION_PACE - 0.46)
    assert not world.under_way
    world.wait(0.02)
    assert world.answer("a") == Letter(None, "9")


def test_at_a_leases_end_and_return_the_annotation_goes_with_the_condition() -> None:
    world = World()
    world.change("a", "healthy", "1")
    world.answer("a")
    world.unknown["a"] = frozenset({key("gpu-0")})
    world.change("a", "unknown", "2")
    assert world.answer("a") == Letter(said("unknown"), "2")
    world.unknown["a"] = frozenset()
    world.change("a", "healthy", "3")
    assert world.answer("a") == Letter(said("healthy"), "3")


def test_leases_that_end_and_return_all_the_time_do_not_keep_the_kubelet_busy() -> None:
    world = World()
    world.change("a", "0", "0")
    world.answer("a")
    for n in range(1, 1001):
        world.wait(0.01)
        world.unknown["a"] = frozenset({key("gpu-0")}) if n % 2 else frozenset()
        world.change("a", str(n), str(n))
        if world.under_way:
            world.answer("a")
    annotations = sum(letter.annotation is not None for _, letter in world.sent)
    assert annotations <= 1 + NUDGES + 2 * 10


def test_a_change_during_a_write_is_written_after_it_and_only_its_last_state() -> None:
    world = World()
    for text in "012":
        world.change("a", text, "x")
    world.answer("a")
    assert world.answer("a").condition == said("2")
    assert not world.under_way


def test_what_the_api_shows_already_is_not_written() -> None:
    world = World()
    world.outbox.observe("a", Shown.of(said("0"), "0"), world.now)
    world.change("a", "0", "0")
    assert not world.under_way


def test_what_somebody_else_removed_is_written_again() -> None:
    world = World()
    world.change("a", "0", "0")
    world.answer("a")
    world.wait(1)
    world.tamper("a")
    assert world.answer("a") == Letter(said("0"), "0")


def test_a_server_in_trouble_gets_one_request_at_a_time_with_growing_pauses() -> None:
    world = World()
    for n in range(20):
        world.change(str(n), "x", "x")
    assert len(world.under_way) == IN_FLIGHT
    for uid in list(world.under_way):
        world.answer(uid, Outcome.TROUBLE)
    pauses = []
    for _ in range(10):
        assert not world.under_way
        before = world.now
        world.wait((world.outbox.next_deadline() or 0) - world.now)
        pauses.append(world.now - before)
        (uid,) = world.under_way
        world.answer(uid, Outcome.TROUBLE)
    assert [round(pause, 6) for pause in pauses] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    world.wait(LONGEST_PAUSE)
    world.answer(next(iter(world.under_way)))
    assert len(world.under_way) == IN_FLIGHT


def test_the_server_is_not_asked_before_it_said() -> None:
    world = World()
    world.change("a", "x", "x")
    del world.under_way["a"]
    world.outbox.done("a", Outcome.TROUBLE, world.now, retry_after=5.0)
    assert (world.outbox.next_deadline() or 0) >= world.now + 5.0


def test_one_pod_that_cannot_be_written_does_not_hold_up_the_others() -> None:
    world = World()
    world.change("bad", "x", "x")
    for _ in range(8):
        world.answer("bad", Outcome.AGAIN)
        world.wait(LONGEST_PAUSE)
    world.answer("bad", Outcome.AGAIN)
    world.change("good", "x", "x")
    assert "good" in world.under_way


def test_a_refused_annotation_does_not_cost_the_condition() -> None:
    world = World()
    world.change("a", "0", "too large")
    world.answer("a", Outcome.REFUSED)
    assert world.answer("a") == Letter(said("0"), None)
    assert world.outbox.untold(world.now) == {}


def test_a_refused_condition_is_not_tried_again_without_a_pause() -> None:
    world = World()
    world.change("a", "0", "0")
    world.answer("a", Outcome.REFUSED)
    world.answer("a", Outcome.REFUSED)
    assert not world.under_way
    assert world.outbox.next_deadline() is not None


def test_what_an_admission_rule_takes_away_is_not_sent_in_a_circle() -> None:
    world = World()
    world.change("a", "0", "0")
    del world.under_way["a"]
    world.outbox.done("a", Outcome.SENT, world.now, shown=Shown(said("0"), None))
    world.go()
    assert not world.under_way
    assert (world.outbox.next_deadline() or 0) > world.now


def test_a_pod_that_is_gone_is_dropped() -> None:
    world = World()
    world.change("a", "0", "0")
    world.answer("a", Outcome.GONE)
    assert (world.outbox.dirty, world.outbox.next_deadline()) == (0, None)


def test_an_annotation_whose_time_comes_while_a_letter_is_under_way_is_not_lost() -> None:
    world = World()
    world.change("a", "0", "0")
    world.answer("a")
    world.change("a", "1", "1")
    world.wait(ANNOTATION_PACE)
    assert world.answer("a") == Letter(said("1"), None)
    assert world.answer("a") == Letter(None, "1")


def test_what_could_not_be_told_and_is_no_longer_so_is_nothing_untold() -> None:
    world = World()
    world.change("a", "0", "0")
    world.answer("a")
    world.change("a", "1", "0")
    world.answer("a", Outcome.AGAIN)
    assert world.outbox.untold(world.now) == {"a": 100.0}
    world.change("a", "0", "0")
    world.wait(LONGEST_PAUSE)
    assert world.outbox.untold(world.now) == {}
