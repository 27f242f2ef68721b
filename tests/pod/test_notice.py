"""What is announced, and how seldom."""

from itertools import pairwise

from podvitals.device.health import Health
from podvitals.node.record import Fault
from podvitals.pod.entry import DeviceEntry
from podvitals.pod.notice import BURST, REMEMBERED, REPEAT_PACE, Notice, Notices, Reason
from podvitals.pod.status import began, entries
from tests.pod.make import START, holding, pod, state


def held(*healths: Health) -> tuple[DeviceEntry, ...]:
    states = {
        f"gpu-{n}": state(f"gpu-{n}", health, "Xid 79", Fault(Health.UNHEALTHY, "Xid 79", "", START)) for n, health in enumerate(healths)
    }
    return entries(began(pod()), [holding(name) for name in states], lambda key: states[key.device])


H, K, U = Health.HEALTHY, Health.UNKNOWN, Health.UNHEALTHY


class Telling:
    def __init__(self) -> None:
        self.notices, self.now = Notices(), 0.0

    def says(self, *healths: Health, name: str = "a") -> list[Notice]:
        """Tells a pod's health, and writes what may be written at once."""
        self.notices.tell(pod(name), held(*healths), self.now, START + self.now)
        return self.written()

    def written(self) -> list[Notice]:
        written = []
        while (notice := self.notices.take(self.now)) is not None:
            written.append(notice)
            self.notices.done(notice, self.now, written=True)
        return written


def test_a_device_is_announced_when_it_breaks_and_when_it_recovers() -> None:
    telling = Telling()
    assert telling.says(H) == []
    (broke,) = telling.says(U)
    assert (broke.reason, broke.reason.kind, broke.subject) == (Reason.UNHEALTHY, "Warning", "gpu.example.com/node-1/gpu-0")
    assert broke.message == "gpu.example.com/node-1/gpu-0, held by container train: Xid 79"
    (back,) = telling.says(H)
    assert (back.reason.kind, back.message) == ("Normal", "gpu.example.com/node-1/gpu-0 is healthy again (was Unhealthy: Xid 79)")


def test_a_device_that_was_never_known_is_not_announced_as_unknown() -> None:
    telling = Telling()
    assert telling.says(K) == []
    assert [notice.reason for notice in telling.says(U)] == [Reason.UNHEALTHY]
    assert [notice.reason for notice in telling.says(K)] == [Reason.UNKNOWN]


def test_the_same_state_is_announced_once() -> None:
    telling = Telling()
    assert len(telling.says(U)) == 1
    assert telling.says(U) == []


def test_a_flapping_device_costs_one_write_in_ten_seconds_and_every_flap_is_counted() -> None:
    telling = Telling()
    telling.says(H)
    counts = []
    for _ in range(300):
        counts += [notice.count for notice in telling.says(U) if notice.reason is Reason.UNHEALTHY]
        telling.now += 0.1
        telling.says(H)
    telling.now += REPEAT_PACE
    counts += [notice.count for notice in telling.written() if notice.reason is Reason.UNHEALTHY]
    assert len(counts) <= 5
    assert counts[-1] == 300


def test_many_devices_that_break_together_are_one_event() -> None:
    telling = Telling()
    telling.says(*[H] * 20)
    (notice,) = telling.says(*[U] * 20)
    assert notice.message.startswith("20 devices: gpu.example.com/node-1/gpu-0")
    assert len(notice.message.encode()) <= 1024


def test_a_node_keeps_to_its_budget_and_loses_nothing() -> None:
    telling = Telling()
    names = [f"p{n}" for n in range(300)]
    written = [notice for name in names for notice in telling.says(U, name=name)]
    assert len(written) == BURST
    while (deadline := telling.notices.next_deadline(telling.now)) is not None:
        telling.now = deadline + 1e-6
        written += telling.written()
    assert sorted(notice.pod for notice in written) == sorted(names)
    assert telling.now >= 100 / 5 - 1


def test_what_an_earlier_agent_announced_is_not_announced_again() -> None:
    telling = Telling()
    telling.notices.begin("uid-a", held(K))
    assert telling.says(K) == []
    assert [notice.reason for notice in telling.says(H)] == [Reason.RECOVERED]


def test_a_write_that_failed_is_tried_again_with_its_count() -> None:
    telling = Telling()
    telling.notices.tell(pod(), held(U), 0.0, START)
    notice = telling.notices.take(0.0)
    assert notice is not None
    telling.notices.done(notice, 0.0, written=False, pause=5.0)
    assert telling.written() == []
    telling.now = 5.0
    assert [again.count for again in telling.written()] == [1]


def test_nothing_is_announced_of_a_pod_that_is_gone() -> None:
    telling = Telling()
    telling.notices.tell(pod(), held(U), 0.0, START)
    telling.notices.forget("uid-a")
    assert telling.written() == []


def test_an_event_has_one_name_for_a_pod_device_and_reason() -> None:
    names = {telling.says(U)[0].name for telling in (Telling(), Telling())}
    assert len(names) == 1
    telling = Telling()
    assert len({notice.name for notice in (*telling.says(U, U), *telling.says(U, U, name="b"))}) == 4


def test_what_was_written_long_ago_is_not_kept() -> None:
    telling = Telling()
    for n in range(100):
        telling.says(U, name=f"p{n}")
        telling.now += 1.0
    assert sum(len(known.notices) for known in telling.notices._pods.values()) <= REMEMBERED + 1


def test_what_an_earlier_agent_may_have_left_unannounced_is_written_if_it_is_not_there() -> None:
    telling = Telling()
    telling.notices.begin("uid-a", held(U))
    (notice,) = telling.says(U)
    assert (notice.reason, notice.surely) == (Reason.UNHEALTHY, True)
    assert telling.says(U) == []


def test_while_the_server_has_trouble_events_rest_longer_and_longer() -> None:
    telling = Telling()
    for n in range(10):
        telling.notices.tell(pod(f"p{n}"), held(U), 0.0, START)
    tried = []
    for _ in range(6):
        notice = telling.notices.take(telling.now)
        assert notice is not None
        tried.append(telling.now)
        telling.notices.done(notice, telling.now, written=False, pause=5.0, trouble=True)
        assert telling.notices.take(telling.now + 4.9) is None
        telling.now = telling.notices.next_deadline(telling.now) or 0.0
    assert [later - earlier for earlier, later in pairwise(tried)] == [5.0, 10.0, 20.0, 40.0, 60.0]
    assert len(telling.written()) == 10
