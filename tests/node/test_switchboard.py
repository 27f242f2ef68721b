"""From bytes to changed devices: what is recognised unread means what it means when read; late news counts from when it came."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.hearing import Hearing
from podvitals.node.ledger import RETENTION
from podvitals.node.limits import Limits
from podvitals.node.record import DeviceState, SourceKey
from podvitals.node.session import Event
from podvitals.node.switchboard import Switchboard
from podvitals.node.told import Told
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import DeviceReport

GPU = SourceKey("gpu.example.com")
WALL = 1_700_000_000.0


def key(device: str) -> DeviceKey:
    return DeviceKey("gpu.example.com", "node1", device)


def raw(*devices: DeviceReport) -> bytes:
    return b"".join(encode_report(devices))


def said(device: str = "gpu-0", health: Health = Health.HEALTHY, message: str = "", lease: float = 30.0, at: float = WALL) -> DeviceReport:
    return DeviceReport("node1", device, health, at, lease, message)


class Node:
    """A switchboard with time and endpoints 1 and 2 of one driver."""

    def __init__(self, board: Switchboard | None = None) -> None:
        self.board = board or Switchboard(Limits(devices_per_driver=6))
        self.now = 100.0
        self.part: int | None = None
        for number in (1, 2):
            self.board.register(number, GPU, f"/dra{number}.sock", number, serves_health=True, now=self.now, wall=self.wall)

    @property
    def wall(self) -> float:
        return WALL + self.now

    def event(self, number: int, event: Event) -> frozenset[DeviceKey]:
        return self.board.event(number, event, self.now, self.wall).changed

    def hear(self, number: int, *devices: DeviceReport, arrived: float | None = None) -> frozenset[DeviceKey]:
        changed: frozenset[DeviceKey] = frozenset()
        hearing = self.board.begin(number, raw(*devices), self.now, self.wall, arrived)
        while hearing is not None and not hearing.done:
            if not hearing.step():
                changed |= self.board.finish(hearing, self.now, self.wall, self.part).changed
        return changed

    def wait(self, seconds: float) -> frozenset[DeviceKey]:
        self.now += seconds
        return self.board.expire(self.now, self.wall).changed

    def health(self, device: str = "gpu-0") -> Health:
        return self.board.state(key(device)).health


@pytest.fixture
def node() -> Node:
    node = Node()
    node.event(1, Event.CONNECT)
    return node


SMALL = Limits(devices_per_driver=6, remembered_reports=99)


class Reads(Switchboard):
    """Recognises nothing."""

    def _recognise(self, hearing: Hearing, now: float) -> None:
        pass


ENTRY = st.builds(
    DeviceReport,
    st.just("node1"),
    st.sampled_from([f"gpu-{number}" for number in range(8)]),
    st.sampled_from([*Health, Health.HEALTHY]),
    st.sampled_from([0.0, WALL, WALL + 1]),
    st.sampled_from([5.0, 5.0, 5.0, 30.0]),
    st.sampled_from(["", "", "hot"]),
)
REPORT = st.lists(ENTRY, max_size=6, unique_by=lambda entry: entry.device)
OTHER: st.SearchStrategy[dict[str, object]] = st.builds(
    dict, health=st.sampled_from(Health), message=st.sampled_from(["", "hot"]), lease=st.sampled_from([5.0, 5.0, 30.0])
)
CHANGE = st.dictionaries(st.integers(0, 5), OTHER, max_size=2)
EVENTS = [Event.CONNECT, Event.CONNECT, Event.STREAM_END, Event.DISCONNECT]
LATE = st.sampled_from([0, 0, 0, 3, 20])
STEP = st.one_of(
    st.tuples(st.just("same"), st.sampled_from([1, 1, 2]), LATE),
    st.tuples(st.just("hear"), st.sampled_from([1, 1, 2]), REPORT, LATE),
    st.tuples(st.just("again"), st.sampled_from([1, 1, 2]), CHANGE, LATE),
    st.tuples(st.just("again"), st.sampled_from([1, 1, 2]), CHANGE, st.just(0)),
    st.tuples(st.just("event"), st.sampled_from([1, 2]), st.sampled_from(EVENTS)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 4.0, 6.0])),
)


def told(node: Node, waited: bool) -> dict[DeviceKey, DeviceState]:
    return {key: replace(state, faults=(), since=0.0) if waited else state for key, state in node.board.states().items()}


def words(how: str, rest: Sequence[object], spoken: Sequence[list[DeviceReport]]) -> list[DeviceReport]:
    match how, *rest:
        case "hear", list(report):
            return report
        case ("same",):
            return spoken[-1]
        case "back", int(ago):
            return spoken[-min(ago, len(spoken))]
        case "again", dict(change):
            return [one._replace(checked_at=one.checked_at + 1, **change.get(at, {})) for at, one in enumerate(spoken[-1])]
        case "turned", dict(change):
            return [one._replace(**change.get(at, {})) for at, one in enumerate(reversed(spoken[-1]))]
    raise AssertionError(how)


BOTH = [said("gpu-0", lease=5.0, at=0.0), said("gpu-1", Health.UNHEALTHY, lease=5.0, at=0.0)]
LATE_TWICE = [("hear", 2, BOTH[:1], 0), ("hear", 1, BOTH, 0), ("again", 1, {}, 0), ("wait", 6.0), ("event", 2, Event.STREAM_END)]
AND_BACK = [("hear", 2, BOTH, 0), ("turned", 2, {0: {"health": Health.HEALTHY}}, 0), ("back", 2, 2, 0)]


@given(st.lists(STEP, min_size=4, max_size=30), st.sampled_from([None, 1, 2]))
@example(LATE_TWICE, None)
@example(AND_BACK, None)
@settings(max_examples=300)
def test_what_is_recognised_means_what_it_means_when_read_and_taken_in_parts(steps: Sequence[tuple[object, ...]], part: int | None) -> None:
    nodes = [Node(Switchboard(SMALL)), Node(Reads(SMALL))]
    nodes[1].part = part
    spoken: dict[int, list[list[DeviceReport]]] = {1: [[]], 2: [[]]}
    before: dict[tuple[object, ...], list[DeviceReport]] = {}
    waited = False
    for node in nodes:
        node.event(1, Event.CONNECT)
        node.event(2, Event.CONNECT)
    for step in steps:
        match step:
            case ("event", int(number), Event() as event):
                changed = [node.event(number, event) for node in nodes]
            case ("wait", float(seconds)):
                changed = [node.wait(seconds) for node in nodes]
            case (str(how), int(number), *rest, int(late)):
                report = words(how, rest, spoken[number])
                of = number, *(one.device for one in report)
                if nodes[0].board.session.generation(number) is None and of in before:
                    # What one that waits says again or takes back before it has the floor is no part of any record.
                    waited = True
                    report = [old._replace(checked_at=one.checked_at) for old, one in zip(before[of], report, strict=True)]
                spoken[number].append(report)
                before[of] = report
                changed = [node.hear(number, *report, arrived=node.now - late) for node in nodes]
            case _:
                raise AssertionError(step)
        kept = [set(node.board.states()) for node in nodes]
        if waited and kept[0] != kept[1]:
            # Which of more devices than there is room for are kept depends on which of them are looked at first.
            assert len(kept[0]) == len(kept[1]) == SMALL.devices_per_driver
            return
        assert changed[0] <= changed[1]
        assert changed[0] == changed[1] or waited
        assert told(nodes[0], waited) == told(nodes[1], waited)
        assert nodes[0].board.next_deadline() == nodes[1].board.next_deadline()


def test_a_fault_said_twice_and_read_after_its_lease_was_checked_when_it_was_said_last(node: Node) -> None:
    node.now += 9
    for seconds in (9, 7):
        node.hear(1, said(health=Health.UNHEALTHY, lease=5, at=node.wall - seconds), arrived=node.now - seconds)
    state = node.board.state(key("gpu-0"))
    assert state.checked_at == node.wall - 7
    assert [fault.health for fault in state.faults] == [Health.UNHEALTHY, Health.UNKNOWN]
    node.event(2, Event.CONNECT)
    assert node.hear(2, said(health=Health.UNHEALTHY, lease=30, at=node.wall), arrived=node.now - 8) == frozenset(), "older news"


@pytest.mark.parametrize("last", [Health.UNHEALTHY, Health.UNKNOWN])
def test_what_was_said_last_ends_what_was_said_before_though_it_is_read_after_its_lease(node: Node, last: Health) -> None:
    node.now += 10
    for health, lease, seconds in ((last, 5, 9), (Health.HEALTHY, 30, 8), (last, 5, 7)):
        node.hear(1, said(health=health, lease=lease), arrived=node.now - seconds)
    assert node.health() is Health.UNKNOWN


def test_of_a_report_with_new_times_and_one_change_only_the_change_is_read(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [said(f"gpu-{number}") for number in range(6)]
    node.hear(1, *devices)
    monkeypatch.setattr("podvitals.node.switchboard.Decoder", None)
    node.now += 1
    devices = [one._replace(checked_at=WALL + 7) for one in devices]
    assert node.hear(1, *devices) == frozenset()
    assert node.board.state(key("gpu-5")).checked_at == WALL + 7
    assert node.hear(1, *devices[:5], devices[5]._replace(checked_at=WALL + 1e6)) == frozenset()
    assert node.board.state(key("gpu-5")).checked_at == node.wall, "nobody has looked tomorrow"
    devices[3] = devices[3]._replace(health=Health.UNHEALTHY, message="Xid 79")
    node.now += 1
    assert node.hear(1, *devices) == {key("gpu-3")}
    assert node.board.state(key("gpu-2")).deadline == node.now + 30


def test_one_that_waits_remembers_what_it_said_last_not_each_time_it_said_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a hand-over reads one report, not eight."""
    node.event(2, Event.CONNECT)
    node.hear(2, said(message="new"))
    for second in range(20):
        node.now += 1
        node.hear(1, said(message="old", at=WALL + second))
    place = node.board.place(1)
    assert place is not None
    assert len(place.memory.not_taken()) == 1
    node.event(2, Event.DISCONNECT)
    assert node.board.state(key("gpu-0")).message == "old"


def test_news_that_lay_in_the_socket_count_from_when_they_may_have_come(node: Node) -> None:
    node.hear(1, said(lease=5))
    node.wait(35)
    assert node.health() is Health.UNKNOWN
    assert node.hear(1, said(lease=5), arrived=node.now - 34) == frozenset()
    assert node.health() is Health.UNKNOWN
    node.hear(1, said(lease=5), arrived=node.now - 2)
    assert node.health() is Health.HEALTHY
    assert node.board.next_deadline() == node.now + 3


def test_what_comes_later_on_one_stream_is_newer_whenever_it_came(node: Node) -> None:
    node.hear(1, said(health=Health.UNHEALTHY))
    node.hear(1, said(at=WALL + 3), arrived=node.now - 10)
    assert node.health() is Health.HEALTHY
    assert node.board.next_deadline() == node.now + 30


def test_old_news_of_another_stream_are_no_news_where_newer_were_heard(node: Node) -> None:
    node.hear(1, said(health=Health.UNHEALTHY))
    node.event(2, Event.CONNECT)
    node.hear(2, said(at=WALL + 3), arrived=node.now - 10)
    assert node.health() is Health.UNHEALTHY


def test_what_came_too_late_counts_when_it_is_said_again(node: Node) -> None:
    """The old endpoint of a rolling update repeated itself unheard for longer than its lease; then the new one is gone."""
    node.hear(1, said(message="old", lease=5))
    node.event(2, Event.CONNECT)
    node.hear(2, said(message="new", lease=5))
    node.hear(1, said(message="old", lease=5))
    node.wait(6)
    node.event(2, Event.DISCONNECT)
    assert node.health() is Health.UNKNOWN
    assert node.hear(1, said(message="old", lease=5)) == {key("gpu-0")}
    assert node.health() is Health.HEALTHY


def test_a_report_read_in_steps_is_lost_if_its_endpoint_goes_meanwhile(node: Node) -> None:
    hearing = node.board.begin(1, raw(*(said(f"gpu-{number}") for number in range(6))), node.now, node.wall)
    assert hearing is not None
    node.event(1, Event.REMOVE)
    while hearing.step():
        pass
    assert not node.board.finish(hearing, node.now, node.wall).changed
    assert node.board.states() == {}


def test_reading_a_large_report_lets_others_in_between() -> None:
    board = Switchboard()
    board.register(1, GPU, "/dra.sock", 1, serves_health=True, now=0.0, wall=WALL)
    board.event(1, Event.CONNECT, 0.0, WALL)
    hearing = board.begin(1, raw(*(said(f"gpu-{number}") for number in range(4096))), 0.0, WALL)
    assert hearing is not None
    steps, taken = 0, []
    while hearing.step():
        steps += 1
    assert steps == 31
    while not hearing.done:
        taken.append(len(board.finish(hearing, 1.0, WALL, 1024).changed))
    assert taken == [1024] * 4
    assert board.next_deadline() == 30.0, "all count from when it came"
    assert board.heard(1, hearing.raw, 10.0, WALL).changed == frozenset()
    assert {state.deadline for state in board.states().values()} == {40.0}


def test_of_several_reports_that_lay_in_the_socket_the_last_is_the_newest(node: Node) -> None:
    node.now += 60
    for health in (Health.HEALTHY, Health.UNHEALTHY):
        node.hear(1, said(health=health, lease=300), arrived=node.now - 50)
    assert node.health() is Health.UNHEALTHY


@pytest.mark.parametrize("end", [Event.STREAM_END, Event.DISCONNECT])
def test_what_is_read_after_its_stream_ended_is_late_and_means_nothing(node: Node, end: Event) -> None:
    hearing = node.board.begin(1, raw(said(health=Health.UNHEALTHY)), node.now, node.wall)
    node.event(1, end)
    node.event(1, Event.CONNECT)
    assert hearing is not None
    while hearing.step():
        pass
    assert not node.board.finish(hearing, node.now, node.wall).changed
    node.event(1, Event.DISCONNECT)
    assert node.hear(1, said(health=Health.UNHEALTHY)) == frozenset()
    node.event(1, Event.CONNECT)
    node.hear(1, said("gpu-1"))
    assert set(node.board.states()) == {key("gpu-1")}, "nothing was kept of it"


def test_a_fault_read_after_its_lease_is_on_record_and_the_device_unknown(node: Node) -> None:
    node.hear(1, said(lease=2))
    node.now += 3
    for health, message in ((Health.UNHEALTHY, "n=4"), (Health.HEALTHY, ""), (Health.UNHEALTHY, "n=8")):
        node.hear(1, said(health=health, message=message, lease=2), arrived=node.now - 3)
        assert node.health() is not Health.UNHEALTHY
        assert node.health() is not Health.HEALTHY or message == ""
    node.wait(0)
    state = node.board.state(key("gpu-0"))
    assert state.health is Health.UNKNOWN
    assert state.message.endswith("last known: Unhealthy: n=8")
    assert [(fault.health, fault.message) for fault in state.faults[:-1]] == [(Health.UNHEALTHY, "n=4"), (Health.UNHEALTHY, "n=8")]
    assert state.faults[0].start == node.wall - 3
    assert state.faults[0].end == node.wall - 1


def test_what_is_due_ends_before_anything_else_is_heard_of(node: Node) -> None:
    """After a sleep messages may be read before the timer of the leases: nothing may be told of one device while another is of long ago."""
    node.hear(1, said("gpu-0", lease=5.0), said("gpu-1", lease=300.0))
    node.now += 60
    assert node.hear(1, said("gpu-1", lease=300.0)) == {key("gpu-0")}
    assert node.health("gpu-0") is Health.UNKNOWN
    node.now += 600
    assert key("gpu-1") in node.event(1, Event.STREAM_END)
    assert node.health("gpu-1") is Health.UNKNOWN


def test_what_ended_while_a_report_was_read_is_told_though_the_report_came_to_nothing(node: Node) -> None:
    node.hear(1, said("gpu-0", lease=5.0))
    node.now += 60
    hearing = node.board.begin(1, raw(*(said(f"gpu-{n}") for n in range(5))), node.now, node.wall)
    assert hearing is not None
    assert node.event(1, Event.STREAM_END) == {key("gpu-0")}
    assert node.board.finish(hearing, node.now, node.wall).changed == frozenset()


def register(board: Switchboard, number: int, source: SourceKey, endpoint: str = "", now: float = 0.0) -> Told | int | str:
    return board.register(number, source, endpoint or f"/{number}.sock", number, serves_health=True, now=now, wall=WALL + now)


def test_a_driver_has_a_bounded_number_of_auxiliary_sources_and_those_it_has_stay() -> None:
    board = Switchboard(Limits(sources_per_driver=2))
    assert isinstance(register(board, 1, GPU), Told)
    for number, name in ((2, "xid"), (3, "kmsg")):
        assert isinstance(register(board, number, SourceKey("gpu.example.com", name)), Told)
    assert (
        register(board, 4, SourceKey("gpu.example.com", "more")) == "driver gpu.example.com has 2 other health sources: no more are heard"
    )
    assert isinstance(register(board, 5, SourceKey("gpu.example.com", "xid")), Told)
    assert isinstance(register(board, 6, SourceKey("nic.example.com", "more")), Told)


def test_where_a_source_has_as_many_endpoints_as_may_be_the_oldest_unconnected_has_to_show_that_it_lives() -> None:
    board = Switchboard(Limits(endpoints_per_source=3))
    for number in (1, 2, 3):
        register(board, number, GPU)
    board.event(1, Event.CONNECT, 0.0, WALL)
    assert register(board, 4, GPU) == 2
    board.event(2, Event.REMOVE, 0.0, WALL)
    assert isinstance(register(board, 4, GPU), Told)
    assert register(board, 5, GPU, "/3.sock") == 3, "who has its very endpoint comes first"


def test_the_drivers_of_a_node_are_bounded_and_one_gone_for_a_day_makes_room() -> None:
    board = Switchboard(Limits(drivers=2))
    for number, driver in ((1, "a.example"), (2, "b.example")):
        register(board, number, SourceKey(driver))
        board.event(number, Event.CONNECT, 0.0, WALL)
        board.heard(number, raw(said()), 0.0, WALL)
    assert register(board, 3, SourceKey("c.example")) == "2 drivers are known on this node: no more are heard"
    board.event(1, Event.REMOVE, 1.0, WALL)
    board.expire(40.0, WALL)
    assert register(board, 3, SourceKey("c.example"), now=40.0) == "2 drivers are known on this node: no more are heard"
    board.expire(RETENTION + 99, WALL)
    assert isinstance(register(board, 3, SourceKey("c.example"), now=RETENTION + 99), Told)
    assert {key.driver for key in board.states()} == {"b.example"}
    rows = board.drain()
    assert rows.devices[DeviceKey("a.example", "node1", "gpu-0")] is None
