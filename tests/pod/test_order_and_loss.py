"""Ten thousand changes a second, and an API server that is slow, in trouble, or gone for ten minutes."""

import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from podvitals.device.health import Health
from podvitals.node.record import DeviceState, Fault
from podvitals.pod.desk import Desk, Patch
from podvitals.pod.outbox import Outcome
from podvitals.pod.turns import IN_FLIGHT, LONGEST_PAUSE
from tests.pod.make import START, holding, key, pod, state
from tests.pod.world import World

PODS, STEP = 110, 0.01
CHANGES_A_STEP = 100


class Slow(World):
    """Each request is answered a second after it came. `answer` decides what becomes of it."""

    def __post_init__(self) -> None:
        self.under_way: list[tuple[float, Patch]] = []
        self.answer: Callable[[float], Outcome] = lambda _now: Outcome.SENT
        self.sent: list[tuple[float, str]] = []
        self.serial = 0
        super().__post_init__()
        for n in range(PODS):
            self.states[key(f"gpu-{n}")] = DeviceState(key(f"gpu-{n}"), Health.HEALTHY, "", "", START, START, None, ())
            self.a_pod(pod(f"p{n}"), f"gpu-{n}")

    def go(self) -> None:
        while self.under_way and self.under_way[0][0] <= self.now:
            _, patch = self.under_way.pop(0)
            outcome = self.answer(self.now)
            done = self.apply(patch) if outcome is Outcome.SENT else None
            if done is not None:
                self.sent.append((self.now, patch.uid))
            self.desk.done(patch.uid, outcome, self.now, pod=done)
        while (patch_ := self.desk.take(self.now, self.wall)) is not None:
            self.under_way.append((self.now + 1.0, patch_))
        assert len(self.under_way) <= IN_FLIGHT

    def change(self) -> None:
        """A device of some pod says something it never said before."""
        self.serial += 1
        device = f"gpu-{self.serial % PODS}"
        health = Health.UNHEALTHY if self.serial % 3 else Health.UNKNOWN
        fault = Fault(health, f"Xid {self.serial}", "", self.wall)
        self.states[key(device)] = DeviceState(key(device), health, f"Xid {self.serial}", "", self.wall, self.wall, None, (fault,))
        self.desk.change([key(device)], self.now, self.wall)

    def seconds(self, count: float, changes: int = CHANGES_A_STEP) -> None:
        for _ in range(round(count / STEP)):
            for _ in range(changes):
                self.change()
            self.go()
            self.now += STEP

    def true(self) -> bool:
        """Whether every pod says the last that its device said."""
        return all(self.entry(f"uid-p{n}").message == self.states[key(f"gpu-{n}")].message for n in range(PODS))


def test_at_ten_thousand_changes_a_second_the_last_of_each_pod_arrives() -> None:
    world = Slow()
    world.seconds(5)
    assert world.serial == 50_000
    world.seconds(PODS / IN_FLIGHT * 2 + 3, changes=0)
    assert world.true()


def test_what_waits_does_not_grow_with_what_happens() -> None:
    world = Slow()
    world.seconds(1)
    tracemalloc.start()
    try:
        world.seconds(0.5)
        before, _ = tracemalloc.get_traced_memory()
        world.seconds(5)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200 * PODS * 10, "some bytes for each change, of which there were 50,000"


@pytest.mark.parametrize("gone", [60.0, 600.0])
def test_after_an_outage_each_pod_is_told_once_and_the_newest(gone: float) -> None:
    world = Slow()
    world.seconds(20, changes=0)
    back = world.now + gone
    world.answer = lambda now: Outcome.SENT if now >= back else Outcome.TROUBLE
    world.seconds(5, changes=20)
    while world.now < back:
        world.seconds(1, changes=0)
    world.sent.clear()
    world.change()
    newest = f"uid-p{world.serial % PODS}"
    world.seconds(LONGEST_PAUSE + PODS / IN_FLIGHT + 5, changes=0)
    assert world.true()
    assert max(Counter(uid for _, uid in world.sent).values()) == 1
    assert newest in {uid for _, uid in world.sent}


def test_an_agent_that_comes_back_to_ten_thousand_changes_a_second_is_believed_once_each_pod_was_told() -> None:
    world = Slow()
    world.seconds(20, changes=0)
    world.under_way.clear()
    world.restart(world.memory())
    for n in range(PODS):
        world.desk.hold(f"uid-p{n}", (holding(f"gpu-{n}"),), world.now, world.wall)
    world.desk.synced(world.now, world.wall)
    world.seconds(1)
    assert world.desk.vouch(world.now, standing=False).withheld
    for _ in range(PODS // IN_FLIGHT):
        world.seconds(2, changes=20)
        vouch = world.desk.vouch(world.now, standing=False)
    assert (vouch.withheld, vouch.untold) == ("", {})


def a_desk(seed: int) -> Desk:
    """One with something to tell, whose jitter is its own."""
    healthy = lambda one: DeviceState(one, Health.HEALTHY, "", "", START, START, None, ())  # noqa: E731
    desk = Desk("node-1", "0.1.0", healthy, random.Random(seed).random)
    desk.see(pod("a"), 0.0, START)
    desk.hold("uid-a", (holding("gpu-0"),), 0.0, START)
    return desk


def outages(seed: int) -> Iterator[float]:
    """When an agent asks a server that is gone, for 700 seconds."""
    desk, now = a_desk(seed), 0.0
    while now < 700.0:
        while (patch := desk.take(now, START)) is not None:
            yield now
            desk.done(patch.uid, Outcome.TROUBLE, now)
        now = max(now, desk.next_deadline() or 700.0)


def test_a_thousand_agents_do_not_come_back_together() -> None:
    firsts = [next(at for at in outages(seed) if at >= 600.0) for seed in range(300)]
    assert max(Counter(int(at) for at in firsts).values()) <= 60, "of 300, in one second of the ten"


def test_agents_that_were_told_the_same_moment_come_back_spread_after_it_and_none_before() -> None:
    after = []
    for seed in range(300):
        desk = a_desk(seed)
        patch = desk.take(0.0, START)
        assert patch is not None
        desk.done(patch.uid, Outcome.TROUBLE, 0.0, retry_after=20.0)
        after.append(desk.next_deadline() or 0.0)
    assert min(after) >= 20.0
    assert max(Counter(map(int, after)).values()) <= 60


def test_an_agent_asks_a_server_that_is_gone_seldom_and_ever_more_so() -> None:
    assert len([at for at in outages(1) if at < 600.0]) < 100


def test_pods_that_have_nothing_to_say_are_looked_at_a_few_at_a_time() -> None:
    healthy = state("gpu-0")
    world = World(states={healthy.key: healthy})
    for number in range(5):
        world.a_pod(pod(f"p{number}"), "gpu-0")
    assert world.desk.next_deadline() is None
    for number in range(5):
        world.desk.outbox.mark(f"uid-p{number}", world.now)
    looks = 0
    while (due := world.desk.next_deadline()) is not None and due <= world.now:
        assert world.desk.take(world.now, world.wall, 2) is None
        looks += 1
    assert looks == 3
