"""A family under the real schedule: signals in, verdicts on the board; failures, pushes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable

from podvitals.detect.detector import Device, Reading, Unreadable
from podvitals.detect.family import pci_device
from podvitals.detect.recording import Failed, Found, Record, Taken
from podvitals.detect.schedule import Schedule
from podvitals.detect.signal import Code, Signal, State, Unread
from podvitals.device.health import Health
from tests.detect.rulesets import toys
from tests.detect.toys import Others, Running, Told, Toys, joined, read_again


async def test_what_a_family_reads_is_judged_by_the_rules() -> None:
    family = Toys()
    async with Running(family) as watched:
        await watched.says("d", Health.HEALTHY)
        family.signals = [State("toy.link", "down", "0")]
        await watched.says("d", Health.UNHEALTHY, "link 0 is down")
        family.signals = [State("toy.link", "up", "0")]
        await watched.says("d", Health.HEALTHY)


async def test_what_a_family_is_told_is_judged_beside_what_it_reads() -> None:
    family = Told()
    async with Running(family) as watched:
        await watched.says("d", Health.HEALTHY)
        family.pushes.put_nowait(Code("toy", "dead"))
        verdict = await watched.says("d", Health.UNHEALTHY, "dead (PCI 0000:3b:00.0)")
        assert verdict.action == "power-cycle"
        family.signals = [State("toy.link", "down", "0")]
        await watched.says("d", Health.UNHEALTHY, "dead (PCI 0000:3b:00.0); link 0 is down")


async def test_a_device_that_cannot_be_read_is_unknown_with_the_probes_error() -> None:
    family = Toys()
    family.broken = "Input/output error"
    async with Running(family) as watched:
        await watched.says("d", Health.UNKNOWN, "toy: OSError: Input/output error")


def test_a_probe_that_fails_now_and_then_is_damped_like_a_fault_that_does() -> None:
    family, said = Toys(), []
    for number in range(12):
        family.broken = "busy" if number % 2 else ""
        try:
            said.append(family.check(Device("d")))
        except Unreadable as failed:
            said.append(failed.still or Reading.healthy())
    assert [reading.health for reading in said[:4]] == [Health.HEALTHY, Health.UNKNOWN] * 2
    assert {reading.message for reading in said[-2:]} == {"cannot read toy: OSError: busy (it comes and goes)"}


async def test_a_device_of_which_nothing_can_be_read_is_no_reading_that_renews_a_lease() -> None:
    family = Toys()
    family.signals = [Unread("toy.link", "Permission denied", "0")]
    async with Running(family) as watched:
        first = await watched.says("d", Health.UNKNOWN, "cannot read toy.link: Permission denied")
        await read_again(family)
        assert watched.schedule.verdicts["d"] == first


async def test_a_reset_that_is_due_stays_due_while_the_device_cannot_be_read_and_its_lease_is_not_renewed() -> None:
    family = Told()
    async with Running(family) as watched:
        await watched.says("d", Health.HEALTHY)
        family.pushes.put_nowait(Code("toy", "stuck"))
        await watched.says("d", Health.UNHEALTHY)
        family.broken = "gone"
        first = await watched.says("d", Health.UNHEALTHY, "stuck; cannot read toy: OSError: gone")
        await read_again(family)
        assert watched.schedule.verdicts["d"] == first
        family.broken = ""
        await watched.until(lambda: "gone" not in (watched.schedule.verdicts["d"].message))
        assert watched.schedule.verdicts["d"].health is Health.UNHEALTHY


async def test_a_read_that_hangs_keeps_neither_its_neighbours_nor_what_is_told_from_being_judged() -> None:
    gate = threading.Event()

    class Hung(Told):
        timeout = 0.2

        def find(self) -> Iterable[Device]:
            return [Device("d"), Device("e")]

        def read(self, device: Device) -> Iterable[Signal]:
            if device.name == "d":
                gate.wait(10)
            return super().read(device)

    family = Hung()
    try:
        async with Running(family) as watched:
            await watched.says("d", Health.UNKNOWN, "has not answered within 0.2 s")
            await watched.says("e", Health.HEALTHY)
            family.signals = [State("toy.link", "down", "0")]
            await watched.says("e", Health.UNHEALTHY, "link 0 is down")
            family.pushes.put_nowait(Code("toy", "dead"))
            await watched.says("d", Health.UNHEALTHY, "dead")
            gate.set()
            await watched.says("d", Health.UNHEALTHY, "dead; link 0 is down")
    finally:
        gate.set()


def test_families_of_one_driver_are_judged_together_and_by_one_damper() -> None:
    rules = toys()
    log, library = joined(Toys(rules), Others(rules))
    assert log.judge is library.judge
    assert log.judge.take("toy", "d", [Code("toy", "yields")]).health is Health.UNHEALTHY
    library.signals = [State("toy.asked", "none")]
    assert library.check(Device("d")).message == "perhaps", "the library knows better than the log"
    assert log.check(Device("d")).message == "perhaps"
    library.signals = [State("toy.asked", "reset")]
    assert library.check(Device("d")).message == "asked for a reset; perhaps"
    library.judge.take("other", "d", [Code("life", "reset")])
    library.signals = [State("toy.asked", "none")]
    assert library.check(Device("d")).message == "", "a reset that one family saw ends what another found"


def test_a_schedule_joins_the_families_of_its_driver() -> None:
    rules = toys()
    one, other = Toys(rules), Others(rules)
    Schedule("toys.example.com", "node-1", [one, other])
    assert one.judge is other.judge


async def test_a_single_look_waits_for_what_was_said_before_it() -> None:
    class Log(Told):
        settled = False

        async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
            async with asyncio.timeout(5):
                yield "d", await self.pushes.get()
            self.settled = True
            await asyncio.get_running_loop().create_future()

    family = Log()
    schedule = Schedule("toys.example.com", "node-1", [family])
    await schedule.start()
    look = asyncio.create_task(schedule.once(), name="look")
    await asyncio.wait({look}, timeout=0.05)
    assert not look.done()
    family.pushes.put_nowait(Code("toy", "dead"))
    await look
    verdict = schedule.verdict("d")
    assert verdict is not None
    assert verdict.health is Health.UNHEALTHY


def test_what_one_family_reads_is_not_over_because_another_does_not_read_it() -> None:
    rules = toys()
    one, other = joined(Toys(rules), Others(rules))
    one.signals, other.signals = [State("toy.link", "down", "0"), Unread("toy.width", "busy")], []
    one.check(Device("d"))
    assert other.check(Device("d")).message == "link 0 is down; cannot read width: busy"


def test_families_with_rules_of_their_own_are_judged_apart() -> None:
    one, other = joined(Toys(toys()), Others(toys()))
    assert one.judge is not other.judge


async def test_everything_that_comes_from_the_hardware_is_told_to_the_tap() -> None:
    records: list[Record] = []
    family = Told()
    family.tap = records.append
    async with Running(family) as watched:
        await watched.says("d", Health.HEALTHY)
        family.pushes.put_nowait(Code("toy", "dead"))
        await watched.says("d", Health.UNHEALTHY)
        family.broken = "gone"
        await watched.says("d", Health.UNHEALTHY, "gone")
    kinds = [type(record) for record in records]
    assert kinds[0] is Found
    assert kinds.count(Found) == 1, "once, as long as they are the same"
    assert {Taken, Failed} < set(kinds)
    assert [record.signals for record in records if isinstance(record, Taken) and not record.whole] == [(Code("toy", "dead"),)]


def test_a_pci_device_has_one_name_in_every_family() -> None:
    assert pci_device("0000:3B:00.0") == "pci-0000-3b-00-0"
