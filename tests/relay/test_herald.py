"""What a watcher of a stand-in is told, held against a model of the kubelet's cache (pkg/kubelet/cm/dra/healthinfo.go, 1.37)."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState
from podvitals.relay.herald import HEARTBEAT, LEASE, OTHER_LEASE, Herald, next_heartbeat
from podvitals.wire.messages import DeviceReport

G0, G1 = DeviceKey("d", "n", "g0"), DeviceKey("d", "n", "g1")


class World:
    def __init__(self, *keys: DeviceKey) -> None:
        self.states = {key: self.make(key, Health.HEALTHY) for key in keys or (G0, G1)}
        self.herald = Herald(lambda: self.states, self.states.__getitem__)

    @staticmethod
    def make(key: DeviceKey, health: Health, message: str = "") -> DeviceState:
        return DeviceState(key, health, message, "", 0.0, 0.0, None, ())


def names(reports: list[DeviceReport] | None) -> list[str]:
    return [one.device for one in reports or ()]


def test_the_first_report_is_the_whole_state_and_what_is_wrong_comes_first() -> None:
    world = World()
    world.states[G1] = world.make(G1, Health.UNHEALTHY, "broken")
    assert names(world.herald.due((), 101.0)) == ["g1", "g0"]


def test_a_change_is_told_alone_and_at_once() -> None:
    world = World()
    world.herald.due((), 101.0)
    world.states[G1] = world.make(G1, Health.UNHEALTHY, "broken")
    assert world.herald.due((), 101.1) is None
    assert names(world.herald.due((G1,), 101.1)) == ["g1"]


def test_heartbeats_come_at_the_same_instants_for_all_and_are_equal() -> None:
    world, other = World(), World()
    first = world.herald.due((), 101.0)
    other.herald.due((), 103.0)
    assert world.herald.next_look() == other.herald.next_look() == 105.0
    assert world.herald.due((), 105.0) == first
    assert world.herald.next_look() == 110.0
    assert next_heartbeat(105.0) == 110.0


def test_the_whole_state_is_told_again_when_another_watcher_went() -> None:
    world = World()
    world.herald.due((), 101.0)
    world.herald.retell()
    assert world.herald.next_look() is None
    assert names(world.herald.due((G1,), 101.5)) == ["g0", "g1"]
    assert world.herald.next_look() == 105.0


def test_after_a_late_heartbeat_the_lease_is_another_and_stays_so() -> None:
    world = World()
    world.herald.due((), 101.0)
    leases = [{one.lease for one in world.herald.due((), now) or ()} for now in (105.0, 119.9, 135.0, 140.0, 160.0)]
    assert leases == [{LEASE}, {LEASE}, {OTHER_LEASE}, {OTHER_LEASE}, {LEASE}]


def test_a_device_that_flaps_is_told_in_its_newest_state_ten_times_a_second_at_most() -> None:
    world = World(G0)
    world.herald.due((), 101.0)
    told = []
    for step in range(1000):
        now = 101.0 + step / 500
        world.states[G0] = world.make(G0, Health.UNHEALTHY if step % 2 else Health.HEALTHY, f"n={step}")
        if reports := world.herald.due((G0,), now):
            assert [one.message for one in reports] == [f"n={step}"]
            told.append(now)
    assert 20 + 18 <= len(told) <= 20 + 21
    look = world.herald.next_look()
    assert look is not None
    assert look <= 103.1
    assert names(world.herald.due((), look)) == ["g0"]
    assert world.herald.due((), look + 0.2) is None


@dataclass
class Kubelet:
    """One driver's cache, and what its pods were last told."""

    cache: dict[str, tuple[DeviceReport, float]] = field(default_factory=dict)
    pods: dict[str, Health] = field(default_factory=dict)

    def take(self, reports: list[DeviceReport] | None, now: float) -> None:
        told = {one.device for one in reports or ()}
        changed = set()
        for one in reports or ():
            known = self.cache.get(one.device)
            if known is None or (known[0].health, known[0].message, known[0].lease) != (one.health, one.message, one.lease):
                changed.add(one.device)
            self.cache[one.device] = (one, now)
        for name in [name for name, (one, at) in self.cache.items() if reports and name not in told and now - at > one.lease]:
            changed.add(name)
            del self.cache[name]
        self.sync(changed, now)

    def sync(self, names: set[str], now: float) -> None:
        """What a pod sync reads: for its own reasons, or because a change was announced."""
        for name in names:
            known = self.cache.get(name)
            self.pods[name] = known[0].health if known and now - known[1] <= known[0].lease else Health.UNKNOWN


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["tick", "tick", "change", "stream ends", "relay hangs", "pods sync"]),
        st.floats(0.0, 4.0),
        st.sampled_from([Health.HEALTHY, Health.UNHEALTHY]),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_kubelets_pods_say_what_the_ledger_says_after_each_report_whatever_happened_before(
    steps: list[tuple[str, float, Health]],
) -> None:
    world, kubelet, now, asleep = World(), Kubelet(), 1000.0, 0.0
    for what, seconds, health in steps:
        if what == "relay hangs":
            asleep = 40.0
        now += seconds + asleep
        if what in ("pods sync", "relay hangs"):
            kubelet.sync({"g0", "g1"}, now)
        elif what == "stream ends":
            kubelet.cache.clear()
            world.herald.retell()
        changed = []
        if what == "change" and world.states[G0].health is not health:
            world.states[G0] = world.make(G0, health)
            changed = [G0]
        look = world.herald.next_look()
        if changed or look is None or now >= look:
            kubelet.take(world.herald.due(changed, now), now)
            told_all = look is None or now >= look
            assert kubelet.pods["g0"] is world.states[G0].health
            if told_all:
                assert kubelet.pods["g1"] is world.states[G1].health
        asleep = 0.0
    assert HEARTBEAT * 2 < LEASE
