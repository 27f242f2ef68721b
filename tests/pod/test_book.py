"""Who holds what, and what stays to be said of pods that ended."""

import dataclasses
from collections.abc import Iterable

import msgspec
import pytest

from podvitals.claim.pod import Pod, PodStatus
from podvitals.claim.times import rfc3339
from podvitals.device.health import Health
from podvitals.node.record import DeviceState, Fault
from podvitals.pod.book import Book, Memo
from podvitals.pod.end import NOT_KNOWN_AT_END, as_of
from podvitals.pod.entry import DeviceEntry, Omitted, PodDevices, moment
from podvitals.pod.status import entries
from tests.pod.make import START, holding, key, pod, state
from tests.pod.test_desk import asking

END = START + 100


class Node:
    """A node whose device states a test sets."""

    def __init__(self, *states: DeviceState) -> None:
        self.states = {one.key: one for one in states}

    def book(self, memos: Iterable[Memo] = ()) -> Book:
        book = Book("node-1", "0.1.0", lambda _pod, held: self.states[held.key])
        book.restore(memos)
        return book

    def set(self, book: Book, to: DeviceState, wall: float) -> list[str]:
        self.states[to.key] = to
        return list(book.change({to.key}, wall))


def a_pod(book: Book, name: str, *devices: str) -> Pod:
    seen = pod(name)
    book.see(seen, START)
    book.synced()
    book.hold(seen.metadata.uid, tuple(holding(device) for device in devices))
    return seen


def the_entry(book: Book, uid: str) -> DeviceEntry:
    said = book.devices(uid)
    assert said is not None
    (entry,) = said.entries
    return entry


def broken(start: float, end: float | None = None, message: str = "Xid 79") -> DeviceState:
    health = Health.UNHEALTHY if end is None else Health.HEALTHY
    return state("gpu-0", health, message, Fault(Health.UNHEALTHY, message, "", start, end), since=start if end is None else end)


def saved(book: Book) -> list[Memo]:
    memos = [memo for memo in book.drain().values() if memo is not None]
    return [msgspec.json.decode(msgspec.json.encode(memo), type=Memo) for memo in memos]


def test_a_change_concerns_only_the_pods_that_hold_the_device() -> None:
    node = Node(state("gpu-0"), state("gpu-1"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    a_pod(book, "b", "gpu-1")
    assert node.set(book, broken(START), START) == ["uid-a"]
    assert book.devices("uid-none") is None


def test_a_deleted_pod_is_forgotten_whole() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.forget("uid-a")
    assert node.set(book, broken(START), START) == []
    assert (len(book), book.holders(key("gpu-0")), book.drain()) == (0, [], {"uid-a": None})


def test_a_recreated_pod_of_the_same_name_inherits_nothing() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.forget("uid-a")
    book.see(pod("a", "uid-new"), START)
    assert book.devices("uid-new") is None


def test_health_stays_as_of_the_end() -> None:
    node = Node(broken(END - 5))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    assert book.see(pod("a", ended=END), END)
    assert node.set(book, broken(END - 5, END + 5), END + 5) == []
    assert the_entry(book, "uid-a").health is Health.UNHEALTHY


def test_the_claims_of_an_ended_pod_may_go() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.see(pod("a", ended=END), END)
    assert not book.hold("uid-a", ())
    assert the_entry(book, "uid-a").device == "gpu-0"


def test_what_broke_in_the_second_of_the_exit_broke_before_it() -> None:
    node = Node(broken(END + 0.7))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.see(pod("a", ended=END), END + 0.9)
    entry = the_entry(book, "uid-a")
    assert (entry.health, entry.faults[0].after_end) == (Health.UNHEALTHY, False)


def test_what_breaks_in_the_second_of_the_exit_after_it_was_seen_is_not_lost() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.see(pod("a", ended=END), END + 0.2)
    assert node.set(book, broken(END + 0.5, END + 0.6), END + 0.6) == ["uid-a"]
    assert [(fault.message, fault.after_end) for fault in the_entry(book, "uid-a").faults] == [("Xid 79", True)]


@pytest.mark.parametrize(("late", "found"), [(10.0, True), (599.0, True), (700.0, False)])
def test_a_fault_found_within_the_window_is_added_and_marked(late: float, *, found: bool) -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.see(pod("a", ended=END), END)
    assert (node.set(book, broken(END + late), END + late) == ["uid-a"]) is found
    entry = the_entry(book, "uid-a")
    assert entry.health is Health.HEALTHY
    assert [fault.after_end for fault in entry.faults] == [True] * found


def test_a_late_fault_that_ends_is_told_once_with_its_end() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.see(pod("a", ended=END), END)
    node.set(book, broken(END + 10), END + 10)
    assert node.set(book, broken(END + 10, END + 20), END + 20) == ["uid-a"]
    (fault,) = the_entry(book, "uid-a").faults
    assert fault.until is not None


def test_a_fault_is_not_added_once_the_device_serves_another_pod() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.see(pod("a", ended=END), END)
    a_pod(book, "b", "gpu-0")
    assert node.set(book, broken(END + 10), END + 10) == ["uid-b"]
    book.forget("uid-b")
    assert node.set(book, broken(END + 20), END + 20) == []
    assert the_entry(book, "uid-a").faults == ()


def test_a_watcher_with_admin_access_is_not_another_pod_served() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.see(pod("m"), START)
    book.hold("uid-m", (dataclasses.replace(holding("gpu-0"), admin=True),))
    book.see(pod("a", ended=END), END)
    assert set(node.set(book, broken(END + 10), END + 10)) == {"uid-a", "uid-m"}


def test_a_watcher_that_comes_after_the_end_closes_nothing() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.see(pod("a", ended=END), END)
    book.see(pod("m"), END)
    book.hold("uid-m", (dataclasses.replace(holding("gpu-0"), admin=True),))
    assert set(node.set(book, broken(END + 10), END + 10)) == {"uid-a", "uid-m"}


def test_an_ended_pod_is_remembered_over_a_restart() -> None:
    node = Node(broken(END - 5))
    first = node.book()
    a_pod(first, "a", "gpu-0")
    first.see(pod("a", ended=END), END)
    node.states[key("gpu-0")] = broken(END - 5, END + 5)
    second = node.book(saved(first))
    second.see(pod("a", ended=END), END + 60)
    assert the_entry(second, "uid-a") == the_entry(first, "uid-a")


def test_a_pod_that_ended_while_nobody_watched_is_judged_by_the_record() -> None:
    node = Node(state("gpu-0"))
    first = node.book()
    a_pod(first, "a", "gpu-0")
    memos = saved(first)
    node.states[key("gpu-0")] = broken(END - 5, END + 5)
    second = node.book(memos)
    assert second.see(pod("a", ended=END), END + 60)
    assert the_entry(second, "uid-a").health is Health.UNHEALTHY


def test_what_is_remembered_of_pods_that_are_gone_is_dropped() -> None:
    first = Node(state("gpu-0")).book()
    a_pod(first, "a", "gpu-0")
    second = Node(state("gpu-0")).book(saved(first))
    second.synced()
    assert second.drain() == {"uid-a": None}


def twice(start: float, end: float, again: float) -> DeviceState:
    faults = (Fault(Health.UNHEALTHY, "", "", start, end), Fault(Health.UNHEALTHY, "", "", again))
    return state("gpu-0", Health.UNHEALTHY, "", *faults, since=again)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (state("gpu-0", since=END - 1), Health.HEALTHY),
        (broken(END - 5, END + 5), Health.UNHEALTHY),
        (broken(END + 5), Health.UNKNOWN),
        (twice(END - 50, END - 40, END + 5), Health.UNKNOWN),
        (state("gpu-0", since=END + 1), Health.UNKNOWN),
    ],
)
def test_the_past_is_healthy_only_where_that_is_on_record(now: DeviceState, expected: Health) -> None:
    assert as_of(now, END - 1, END + 60).health is expected


@pytest.mark.parametrize(("stood", "ended"), [(START - 3490, START - 3490.0004), (None, START - 3480)])
@pytest.mark.parametrize("wall", [START - 3400, START + 50])
def test_a_fault_that_stands_on_a_pod_stays_though_the_clock_was_set_back_for_it(stood: float | None, ended: float, wall: float) -> None:
    node = Node(broken(START - 3500, ended))
    book = node.book()
    (told,) = entries(0.0, (holding("gpu-0"),), lambda _key: broken(START - 3500, stood))
    book.see(pod("a"), wall, PodDevices("node-1", "0.1.0", (told,)))
    book.hold("uid-a", (holding("gpu-0"),))
    assert [fault.message for fault in the_entry(book, "uid-a").faults] == ["Xid 79"]


@pytest.mark.parametrize("wall", [START - 3400, START + 50])
def test_that_the_clock_was_set_back_in_a_pods_life_is_remembered_over_a_restart(wall: float) -> None:
    node = Node(state("gpu-0"))
    first = node.book()
    a_pod(first, "a", "gpu-0")
    saved(first)
    first.set_back(START - 3550, START + 50)
    node.set(first, broken(START - 3500), START - 3500)
    node.set(first, broken(START - 3500, START - 3490), START - 3490)
    second = node.book(saved(first))
    second.see(pod("a"), wall)
    assert [fault.message for fault in the_entry(second, "uid-a").faults] == ["Xid 79"]


def test_a_pod_first_seen_after_the_clock_was_set_back_by_nobody_knows_how_much_has_every_fault_on_record() -> None:
    book = Node(broken(START - 3500, START - 3490)).book()
    book.see(pod("a"), START - 1600)
    book.hold("uid-a", (holding("gpu-0"),))
    assert [fault.message for fault in the_entry(book, "uid-a").faults] == ["Xid 79"]


def test_a_node_behind_the_api_servers_clock_was_not_set_back() -> None:
    book = Node(broken(START - 3500, START - 3490)).book()
    created = msgspec.structs.replace(pod("a").metadata, creation_timestamp=rfc3339(START))
    book.see(msgspec.structs.replace(pod("a"), metadata=created, status=PodStatus(phase="Pending")), START - 600)
    book.hold("uid-a", (holding("gpu-0"),))
    assert the_entry(book, "uid-a").faults == ()


def test_of_a_pod_that_ended_before_the_clock_was_set_back_and_was_seen_after_it_the_health_is_not_known() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    node.set(book, broken(END - 3590), END - 3590)
    book.see(pod("a", ended=END), END - 3585)
    assert (the_entry(book, "uid-a").health, the_entry(book, "uid-a").message) == (Health.UNKNOWN, NOT_KNOWN_AT_END)


@pytest.mark.parametrize(("seen", "health"), [(END + 1, Health.UNHEALTHY), (END + 60, Health.UNKNOWN)])
def test_where_the_clock_was_set_back_before_an_end_or_after_it_the_health_is_known_only_if_that_is_seen_at_once(
    seen: float, health: Health
) -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.set_back(START - 3550, END + 50)
    node.set(book, broken(START - 3500), START - 3500)
    book.see(pod("a", ended=END), seen)
    assert the_entry(book, "uid-a").health is health


def test_an_end_later_than_any_time_before_the_clock_was_set_back_is_in_order_whenever_it_is_seen() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    book.set_back(START - 3550, START + 50)
    node.set(book, broken(START - 3500), START - 3500)
    book.see(pod("a", ended=END), END + 60)
    assert the_entry(book, "uid-a").health is Health.UNHEALTHY


@pytest.mark.parametrize("first", [START - 3490, START - 100])
@pytest.mark.parametrize("restarted", [False, True])
def test_the_health_at_an_end_between_two_settings_back_of_the_clock_is_not_known(first: float, restarted: bool) -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    saved(book)
    book.set_back(first, START + 110)
    book.set_back(START - 7080, START - 3430)
    if restarted:
        book = node.book(saved(book))
        book.see(pod("a"), START - 7075)
    node.set(book, broken(START - 7070), START - 7070)
    book.see(pod("a", ended=START - 3475 if first < START - 3000 else START + 5), START + 700)
    assert (the_entry(book, "uid-a").health, the_entry(book, "uid-a").message) == (Health.UNKNOWN, NOT_KNOWN_AT_END)


def test_what_began_before_the_clock_was_set_back_began_before_an_end_after_it() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    a_pod(book, "a", "gpu-0")
    node.set(book, broken(START + 50), START + 50)
    book.see(pod("a", ended=END - 3600), END - 3599)
    entry = the_entry(book, "uid-a")
    assert (entry.health, [(fault.message, fault.after_end) for fault in entry.faults]) == (Health.UNHEALTHY, [("Xid 79", False)])


def test_what_was_over_before_the_clock_was_set_back_was_over_at_an_end_after_it() -> None:
    over = Fault(Health.UNHEALTHY, "Xid 79", "", START + 50, START + 60)
    now = state("gpu-0", Health.HEALTHY, "", over, since=END - 3599)
    at_end = as_of(now, END - 3601, END - 3540)
    assert (at_end.health, at_end.faults) == (Health.UNKNOWN, (over,))


@pytest.mark.parametrize(("said", "health"), [(END, Health.UNHEALTHY), (END + 30, Health.UNKNOWN)])
def test_what_stands_on_an_ended_pod_is_its_memory_where_ours_is_lost(said: float, health: Health) -> None:
    node = Node(broken(START + 50))
    first = node.book()
    a_pod(first, "a", "gpu-0")
    first.see(pod("a", ended=END), END + 0.5)
    stood = first.devices("uid-a")
    assert stood is not None
    second = node.book()
    second.see(asking(pod("a", ended=END)), END + 60, msgspec.structs.replace(stood, ended=moment(said)))
    second.synced()
    entry = the_entry(second, "uid-a")
    assert (entry.health, [fault.message for fault in entry.faults]) == (health, ["Xid 79"])
    assert node.set(second, broken(END + 70, message="of another pod, perhaps"), END + 70) == []


def test_what_an_ended_pods_annotation_had_no_room_for_stays_counted() -> None:
    node = Node(broken(START + 50))
    listed = entries(START, (holding("gpu-0"),), node.states.__getitem__)
    stood = PodDevices("node-1", entries=listed, omitted=Omitted(healthy=700), ended=moment(END))
    first = node.book()
    first.see(asking(pod("a", ended=END)), END + 60, stood)
    second = node.book(saved(first))
    second.see(asking(pod("a", ended=END)), END + 90)
    told = [book.devices("uid-a") for book in (first, second)]
    assert [one.omitted.healthy for one in told if one is not None] == [700, 700]


def test_a_fault_is_of_a_pods_life_though_the_clock_was_set_back_before_its_claims_were_read() -> None:
    node = Node(state("gpu-0"))
    book = node.book()
    book.see(asking(pod("a")), START + 1)
    book.set_back(START - 3550, START + 50)
    node.set(book, broken(START - 3500), START - 3500)
    node.set(book, broken(START - 3500, START - 3490), START - 3490)
    book.see(asking(pod("a")), START - 3000)
    book.hold("uid-a", (holding("gpu-0"),))
    assert [fault.message for fault in the_entry(book, "uid-a").faults] == ["Xid 79"]


@pytest.mark.parametrize(("began", "faults"), [(START, ["Xid 79"]), (START + 60, [])])
def test_a_pod_that_may_have_begun_before_the_clock_was_set_back_has_what_was_after(began: float, faults: list[str]) -> None:
    book = Node(broken(START - 3500, START - 3490)).book()
    book.set_back(START - 3550, START + 50)
    seen = pod("a")
    book.see(msgspec.structs.replace(seen, status=msgspec.structs.replace(seen.status, start_time=rfc3339(began))), START + 100)
    book.hold("uid-a", (holding("gpu-0"),))
    assert [fault.message for fault in the_entry(book, "uid-a").faults] == faults


def test_a_pod_that_ended_without_saying_when_ended_at_the_latest_when_that_was_first_seen_also_after_a_restart() -> None:
    node = Node(state("gpu-0"))
    first = node.book()
    stranger = asking(pod("stranger"))
    evicted = msgspec.structs.replace(stranger, status=msgspec.structs.replace(stranger.status, phase="Failed", reason="Evicted"))
    first.see(evicted, START + 1)
    a_pod(first, "a", "gpu-0")
    first.see(pod("a", ended=END), END + 0.5)
    second = node.book(saved(first))
    second.see(evicted, END + 60)
    second.see(pod("a", ended=END), END + 60)
    second.synced()
    assert node.set(second, broken(END + 70), END + 70) == ["uid-a"]
