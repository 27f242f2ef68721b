"""What the log says of what changed: one line a thing, with names a person can look for."""

import dataclasses
import logging
from collections.abc import Callable

import pytest

from podvitals.agent.account import BURST, MOST_NAMES, Account
from podvitals.agent.metrics import Metrics
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState, Fault
from podvitals.pod.book import Book
from podvitals.testing import ManualClock
from tests.pod.make import START, holding, key, pod, state


class Stage:
    def __init__(self) -> None:
        self.states: dict[DeviceKey, DeviceState] = {}
        self.metrics = Metrics(self.states.values, tuple, tuple)
        self.book = Book("node-1", "0.1.0", lambda _pod, held: self.states[held.key])
        self.clock = ManualClock()
        self.account = Account(self.metrics, self.clock, self.states.__getitem__, self.book.holders)

    def says(self, *states: DeviceState) -> None:
        self.states.update((one.key, one) for one in states)
        self.account.changed([one.key for one in states])

    def pod(self, name: str, *devices: str) -> None:
        self.book.see(pod(name), START)
        self.book.hold(f"uid-{name}", tuple(holding(device) for device in devices))


@pytest.fixture
def stage(caplog: pytest.LogCaptureFixture) -> Stage:
    caplog.set_level(logging.INFO)
    return Stage()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, object]]]:
    """The lines so far, as message and fields."""
    names = ("driver", "pool", "device", "devices", "count", "pods", "pod", "health", "was", "reason", "unsaid")
    return lambda: [
        {"msg": record.getMessage()} | {name: value for name, value in vars(record).items() if name in names and value}
        for record in caplog.records
    ]


def broken(device: str, reason: str = "Xid 79") -> DeviceState:
    return state(device, Health.UNHEALTHY, reason, Fault(Health.UNHEALTHY, reason, "", START), since=START)


def test_a_line_names_driver_device_pods_and_reason(stage: Stage, lines: Callable[[], list[dict[str, object]]]) -> None:
    stage.pod("a", "gpu-0")
    stage.pod("b", "gpu-0")
    stage.says(state("gpu-0"))
    assert lines() == []  # healthy from the start is no news
    stage.says(broken("gpu-0"))
    assert lines() == [
        {
            "msg": "device changed",
            "driver": "gpu.example.com",
            "pool": "node-1",
            "device": "gpu-0",
            "pods": "ml/a,ml/b",
            "health": "Unhealthy",
            "was": "Healthy",
            "reason": "Xid 79",
        }
    ]


def test_a_driver_that_falls_silent_with_all_its_devices_is_one_line(stage: Stage, lines: Callable[[], list[dict[str, object]]]) -> None:
    names = [f"gpu-{n:04}" for n in range(4096)]
    stage.pod("a", *names)
    stage.says(*(state(name) for name in names))
    stage.says(*(state(name, Health.UNKNOWN, "nothing heard", since=START) for name in names))
    (line,) = lines()
    assert (line["msg"], line["count"], line["pods"], line["reason"]) == ("devices changed", 4096, "ml/a", "nothing heard")
    assert str(line["devices"]).endswith(f"node-1/gpu-{MOST_NAMES - 1:04} and {4096 - MOST_NAMES} more")


def test_a_change_that_was_taken_back_before_anybody_could_tell_is_no_line(
    stage: Stage, lines: Callable[[], list[dict[str, object]]]
) -> None:
    stage.says(broken("gpu-0"))
    stage.says(broken("gpu-0"))
    assert len(lines()) == 1


def test_a_fault_that_came_and_went_before_anybody_could_tell_is_told(stage: Stage, lines: Callable[[], list[dict[str, object]]]) -> None:
    stage.says(state("gpu-0"))
    stage.says(state("gpu-0", Health.HEALTHY, "", Fault(Health.UNHEALTHY, "Xid 79", "", START, START + 0.001), since=START))
    (line,) = lines()
    assert (line["health"], line["was"], line["reason"]) == ("Healthy", "Unhealthy", "Xid 79")


def test_devices_that_break_each_for_a_reason_of_its_own_have_a_line_each(
    stage: Stage, lines: Callable[[], list[dict[str, object]]]
) -> None:
    stage.says(*(broken(f"gpu-{n}", f"Xid {n}") for n in range(20)))
    assert len(lines()) == 20


async def test_a_driver_that_never_says_the_same_twice_cannot_fill_the_log_and_what_is_left_out_is_counted(
    stage: Stage, lines: Callable[[], list[dict[str, object]]]
) -> None:
    for n in range(10_000):
        stage.says(broken("gpu-0", f"Xid {n}"))
    assert len(lines()) == BURST
    await stage.clock.advance(1.0)
    stage.says(broken("gpu-0", "at last"))
    assert (lines()[-1]["reason"], lines()[-1]["unsaid"]) == ("at last", 10_000 - BURST)
    stage.says(dataclasses.replace(broken("gpu-0"), key=key("gpu-0", "other.example.com")))
    assert lines()[-1]["driver"] == "other.example.com"


def test_what_was_forgotten_is_not_kept(stage: Stage) -> None:
    for n in range(100):
        stage.says(broken(f"gpu-{n}"))
        stage.says(DeviceState(key(f"gpu-{n}"), Health.UNKNOWN, "no driver", "", 0.0, 0.0, None, ()))
    assert stage.account._said == {}


def test_a_pod_that_ended_is_said_with_its_health(stage: Stage, lines: Callable[[], list[dict[str, object]]]) -> None:
    stage.says(broken("gpu-0"))
    stage.pod("a", "gpu-0")
    stage.book.see(pod("a", ended=START + 100), START + 100)
    record = stage.book.get("uid-a")
    assert record is not None
    stage.account.ended(record)
    assert lines()[-1] == {"msg": "pod ended", "pod": "ml/a", "health": "Unhealthy", "count": 1}
