"""The frame: threads, timeouts, failures, pushes. Real threads and the real clock, with gates instead of sleeps."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect import run
from podvitals.detect.detector import Detector, Device, Reading
from podvitals.detect.run import LONGEST_PAUSE, next_pause, next_start
from podvitals.detect.schedule import Schedule
from podvitals.device.health import Health
from podvitals.errors import InvalidInput
from tests.detect.kit import running


class Toys(Detector):
    interval, timeout = 0.05, 0.2

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.readings: dict[str, Callable[[], Any]] = {}
        self.calls: dict[str, int] = {}

    def devices(self) -> Iterable[Device]:
        return [Device(name) for name in self.names]

    def check(self, device: Device) -> Reading:
        self.calls[device.name] = self.calls.get(device.name, 0) + 1
        reading: Reading = self.readings.get(device.name, Reading.healthy)()
        return reading


async def test_checks_run_and_changes_are_told() -> None:
    toys = Toys("t1", "t2")
    async with running(toys) as frame:
        await frame.says("t1", Health.HEALTHY)
        toys.readings["t1"] = lambda: Reading.unhealthy("device node is gone", action="power-cycle")
        verdict = await frame.says("t1", Health.UNHEALTHY)
        assert (verdict.message, verdict.action, str(verdict.key)) == ("device node is gone", "power-cycle", "toys.example.com/node-1/t1")
        await frame.says("t2", Health.HEALTHY)


async def test_an_exception_is_unknown_with_its_text_and_its_neighbours_are_untouched() -> None:
    toys = Toys("t1", "t2")

    def broken() -> Reading:
        raise OSError(5, "Input/output error")

    toys.readings["t1"] = broken
    async with running(toys) as frame:
        await frame.says("t1", Health.UNKNOWN, "Toys: check failed: OSError: [Errno 5] Input/output error")
        await frame.says("t2", Health.HEALTHY)


@pytest.mark.parametrize("answer", [None, "fine", Health.HEALTHY])
async def test_an_answer_that_is_no_reading_is_unknown(answer: object) -> None:
    toys = Toys("t1")
    toys.readings["t1"] = lambda: answer
    async with running(toys) as frame:
        await frame.says("t1", Health.UNKNOWN, "which is not a Reading")


@pytest.mark.filterwarnings("error")
async def test_what_is_said_of_an_answer_that_is_no_reading_is_the_same_each_time() -> None:
    async def read() -> Reading:
        return Reading.healthy()

    toys = Toys("t1", "t2", "t3")
    toys.readings |= {"t1": read, "t2": object, "t3": lambda: "fine"}
    async with running(toys) as frame:
        await frame.says("t1", Health.UNKNOWN, "it returned an object of type coroutine, which is not a Reading")
        await frame.says("t2", Health.UNKNOWN, "it returned an object of type object, which is not a Reading")
        await frame.says("t3", Health.UNKNOWN, "it returned 'fine', which is not a Reading")


@pytest.mark.parametrize("error", [SystemExit("bye"), StopIteration(), KeyboardInterrupt()])
async def test_whatever_a_check_raises_neither_ends_the_process_nor_its_thread(error: BaseException) -> None:
    toys = Toys("t1", "t2")

    def broken() -> Reading:
        raise error

    toys.readings["t1"] = broken
    async with running(toys) as frame:
        await frame.says("t1", Health.UNKNOWN, type(error).__name__)
        toys.readings["t1"] = Reading.healthy
        await frame.says("t1", Health.HEALTHY)


async def test_a_hung_check_is_unknown_blocks_nobody_is_not_doubled_and_counts_when_it_returns() -> None:
    toys = Toys("hangs", "works")
    gate = threading.Event()

    def hang() -> Reading:
        gate.wait(30)
        return Reading.unhealthy("answered late")

    toys.readings["hangs"] = hang
    try:
        async with running(toys) as frame:
            await frame.says("hangs", Health.UNKNOWN, "Toys: check has not answered within 0.2 s")
            await frame.says("works", Health.HEALTHY)
            before = toys.calls["works"]
            toys.readings["works"] = lambda: Reading.unhealthy("still read")
            await frame.says("works", Health.UNHEALTHY, "still read")
            assert toys.calls["works"] > before
            assert toys.calls["hangs"] == 1
            toys.readings["hangs"] = Reading.healthy
            gate.set()
            await frame.says("hangs", Health.HEALTHY)
    finally:
        gate.set()


async def test_many_that_hang_do_not_keep_the_last_one_from_being_read_in_time() -> None:
    toys, gate = Toys(*(f"a{number}-hangs" for number in range(9)), "works"), threading.Event()
    for name in toys.names[:-1]:
        toys.readings[name] = lambda: gate.wait(30) and Reading.healthy()
    try:
        async with running(toys) as frame:
            began = time.monotonic()
            await frame.says("works", Health.HEALTHY)
            assert time.monotonic() - began < 7 * toys.timeout, "nine timeouts were waited for one after the other"
            for name in toys.names[:-1]:
                await frame.says(name, Health.UNKNOWN, "has not answered")
    finally:
        gate.set()


async def test_a_hung_check_does_not_delay_the_end() -> None:
    toys = Toys("hangs")
    gate, entered = threading.Event(), threading.Event()

    def hang() -> Reading:
        entered.set()
        gate.wait(30)
        return Reading.healthy()

    toys.readings["hangs"] = hang
    toys.timeout = 20
    try:
        async with running(toys):
            await asyncio.to_thread(entered.wait, 5)
            began = time.monotonic()
        assert time.monotonic() - began < 1
    finally:
        gate.set()


async def test_a_hung_inventory_leaves_the_known_devices_checked() -> None:
    toys = Toys("t1")
    gate = threading.Event()
    async with running(toys) as frame:
        await frame.says("t1", Health.HEALTHY)
        toys.devices = lambda: [Device(str(gate.wait(30)))]  # type: ignore[method-assign]
        toys.readings["t1"] = lambda: Reading.unhealthy("seen all the same")
        await frame.says("t1", Health.UNHEALTHY, "seen all the same")
        gate.set()


async def test_an_inventory_that_fails_keeps_the_devices_and_is_asked_again() -> None:
    toys = Toys("t1")
    asked = threading.Event()

    def fails() -> Iterable[Device]:
        asked.set()
        raise RuntimeError("library not initialised")

    async with running(toys) as frame:
        await frame.says("t1", Health.HEALTHY)
        toys.devices = fails  # type: ignore[method-assign]
        await asyncio.to_thread(asked.wait, 5)
        assert set(frame.schedule.devices) == {"t1"}
        toys.devices = lambda: [Device("t1"), Device("t2")]  # type: ignore[method-assign]
        await frame.says("t2", Health.HEALTHY)


async def test_a_driver_starts_even_when_the_first_inventory_fails_or_hangs() -> None:
    toys, gate = Toys(), threading.Event()
    toys.devices = lambda: [Device(str(gate.wait(30)))]  # type: ignore[method-assign]
    async with running(toys) as frame:
        assert not frame.schedule.devices
        toys.devices = lambda: [Device("t1")]  # type: ignore[method-assign]
        gate.set()
        await frame.says("t1", Health.HEALTHY)


async def test_a_device_that_vanishes_from_the_inventory_is_a_fault_and_heals_when_it_is_back() -> None:
    toys = Toys("t1", "t2")
    async with running(toys) as frame:
        await frame.says("t1", Health.HEALTHY)
        toys.names.remove("t1")
        await frame.says("t1", Health.UNHEALTHY, "missing: Toys listed this device before")
        assert set(frame.schedule.devices) == {"t1", "t2"}
        toys.names.append("t1")
        await frame.says("t1", Health.HEALTHY)


class Pushed(Toys):
    interval, timeout, lease = 30.0, 5.0, 60.0

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.queue: asyncio.Queue[tuple[str, Reading] | Exception] = asyncio.Queue()

    async def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        while True:
            item = await self.queue.get()
            if isinstance(item, Exception):
                raise item
            yield item


async def test_a_pushed_reading_is_told_at_once_and_a_check_that_began_before_it_is_ignored() -> None:
    toys = Pushed("t1", "t2")
    gate, entered = threading.Event(), threading.Event()

    def slow() -> Reading:
        entered.set()
        gate.wait(30)
        return Reading.healthy("read before the push")

    toys.readings["t1"] = slow
    async with running(toys) as frame:
        await asyncio.to_thread(entered.wait, 5)
        toys.queue.put_nowait(("t1", Reading.unhealthy("no carrier")))
        await frame.says("t1", Health.UNHEALTHY, "no carrier")
        gate.set()
        await frame.says("t2", Health.HEALTHY)  # read after t1, by the same thread
        await frame.says("t1", Health.UNHEALTHY, "no carrier")


async def test_the_late_answer_of_a_hung_check_is_a_reading() -> None:
    toys, gate = Toys("t1"), threading.Event()
    toys.interval = 600

    def hang() -> Reading:
        gate.wait(30)
        return Reading.unhealthy("answered late")

    toys.readings["t1"] = hang
    try:
        async with running(toys) as frame:
            await frame.says("t1", Health.UNKNOWN, "has not answered")
            gate.set()
            await frame.says("t1", Health.UNHEALTHY, "answered late")
    finally:
        gate.set()


async def test_a_pushed_reading_of_a_new_device_makes_the_inventory_be_read_and_counts() -> None:
    toys = Pushed("t1")
    async with running(toys) as frame:
        await frame.says("t1", Health.HEALTHY)
        toys.names.append("t2")
        toys.readings["t2"] = lambda: Reading.unhealthy("seen")
        toys.queue.put_nowait(("t2", Reading.unhealthy("seen")))
        await frame.says("t2", Health.UNHEALTHY, "seen")


async def test_a_pushed_reading_of_nobodys_device_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    toys = Pushed("t1")
    async with running(toys) as frame:
        toys.queue.put_nowait(("stranger", Reading.unhealthy("x")))
        toys.queue.put_nowait(("t1", Reading.unhealthy("mine")))
        await frame.says("t1", Health.UNHEALTHY, "mine")
        async with asyncio.timeout(5):
            while "no detector lists this device" not in caplog.text:
                await asyncio.sleep(0.005)
        assert set(frame.schedule.devices) == {"t1"}


class WatchOnly(Detector):
    interval, lease = 0.2, 1.0

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, Reading] | Exception] = asyncio.Queue()

    def devices(self) -> Iterable[Device]:
        return [Device("t1"), Device("t2")]

    async def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        while True:
            item = await self.queue.get()
            if isinstance(item, Exception):
                raise item
            yield item


async def test_a_watch_that_fails_makes_its_devices_unknown_and_is_started_anew() -> None:
    toys = WatchOnly()
    async with running(toys) as frame:
        toys.queue.put_nowait(("t1", Reading.healthy()))
        await frame.says("t1", Health.HEALTHY)
        toys.queue.put_nowait(ConnectionError("lost the bus"))
        await frame.says("t1", Health.UNKNOWN, "WatchOnly: watch() failed: ConnectionError: lost the bus (last known: Healthy)")
        toys.queue.put_nowait(("t1", Reading.healthy()))
        await frame.says("t1", Health.HEALTHY)


@pytest.mark.parametrize(("lasts", "told"), [(0.0, 2), (60.0, 1)])
async def test_a_watch_that_fails_as_before_is_told_again_only_if_it_had_lasted(
    lasts: float, told: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "NEWS_AFTER", lasts)
    toys = WatchOnly()
    async with running(toys) as frame:
        for _ in range(2):
            toys.queue.put_nowait(("t1", Reading.healthy()))
            await frame.says("t1", Health.HEALTHY)
            toys.queue.put_nowait(ConnectionError("lost the bus"))
            await frame.says("t1", Health.UNKNOWN, "lost the bus")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["WatchOnly: watch() failed: ConnectionError: lost the bus"] * told


async def test_a_silent_watch_renews_nothing_and_is_unknown_at_the_leases_end() -> None:
    toys = WatchOnly()
    async with running(toys) as frame:
        toys.queue.put_nowait(("t1", Reading.healthy()))
        await frame.says("t1", Health.HEALTHY)
        began = time.monotonic()
        await frame.says("t1", Health.UNKNOWN, "WatchOnly has not read this device again within its lease of 1 s")
        assert 0.8 < time.monotonic() - began < 1.5
        await frame.says("t2", Health.UNKNOWN, "has not read this device within")
        toys.queue.put_nowait(("t1", Reading.healthy()))
        await frame.says("t1", Health.HEALTHY)
        await frame.says("t1", Health.UNKNOWN, seconds=2)


async def test_what_an_author_has_to_mend_is_said_at_the_start_all_of_it() -> None:
    twice, named = Toys("t1", "t1"), Toys("Not_A_Name")
    with pytest.raises(InvalidInput, match=r"Toys lists device t1 twice.*device name 'Not_A_Name' is not a DNS label"):
        await Schedule("toys.example.com", "n", [twice, named]).start()


async def test_detectors_that_contradict_each_other_are_refused_at_the_start() -> None:
    a, b = Toys(), Toys()
    a.devices = lambda: [Device("t1", {"model": "T1"})]  # type: ignore[method-assign]
    b.devices = lambda: [Device("t1", {"model": "T2"})]  # type: ignore[method-assign]
    with pytest.raises(InvalidInput, match="Toys and Toys contradict each other about device t1: attribute model is 'T1' and 'T2'"):
        await Schedule("toys.example.com", "n", [a, b]).start()


def test_a_driver_without_detectors_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"driver toys\.example\.com has no detector"):
        Schedule("toys.example.com", "n", [])


@given(st.floats(0, 1e6), st.floats(0, 100), st.floats(0.05, 3600), st.floats(0, 1))
def test_the_next_round_is_never_in_the_past_nor_later_than_an_interval(started: float, took: float, interval: float, luck: float) -> None:
    at = next_start(started, started + took, interval, luck)
    assert at >= started + took
    assert at <= max(started + took, started + interval)


@given(st.lists(st.floats(0, 100), max_size=20))
def test_a_watch_that_keeps_ending_is_started_ever_more_rarely_but_always_again(lasted: list[float]) -> None:
    pause = 0.0
    for seconds in lasted:
        following = next_pause(pause, seconds)
        assert 0 < following <= LONGEST_PAUSE
        assert following >= min(pause, LONGEST_PAUSE) or seconds > LONGEST_PAUSE
        pause = following
