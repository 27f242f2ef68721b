"""A family under the real schedule: signals in, verdicts on the board; failures, pushes, restarts."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import pytest

from podvitals.detect import judge
from podvitals.detect.detector import Device, Reading, Unreadable
from podvitals.detect.family import Family, pci_device
from podvitals.detect.recording import Failed, Found, Record, Taken
from podvitals.detect.roots import Roots, number_of, text_of, text_or
from podvitals.detect.rules.rule import Rules
from podvitals.detect.schedule import Schedule
from podvitals.detect.signal import Code, Signal, State, Unread
from podvitals.device.health import Health
from podvitals.driver.plugin import Driver
from podvitals.testing import FakeKubelet
from tests.detect.kit import Watched
from tests.detect.rulesets import toys


class Toys(Family):
    family, about, needs = "toy", "toys", "nothing"
    interval, timeout, lease = 0.05, 1.0, 1.0

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or toys()
        self.signals: list[Signal] = [State("toy.link", "up", "0")]
        self.broken = ""
        self.pushes: asyncio.Queue[Signal] = asyncio.Queue()
        self.place = "0"
        self.reads = 0

    def find(self) -> Iterable[Device]:
        return [Device("d", {"resource.kubernetes.io/pciBusID": "0000:3b:00.0"})]

    def read(self, device: Device) -> Iterable[Signal]:
        self.reads += 1
        if self.broken:
            raise OSError(self.broken)
        return list(self.signals)

    def remember(self) -> Mapping[str, str]:
        return {"place": self.place}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        self.place = memory.get("place", "0")
        self.same_boot = same_boot


class Others(Toys):
    family = "other"


class Told(Toys):
    async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        while True:
            yield "d", await self.pushes.get()


class Running:
    def __init__(self, family: Family, keep: Path | None = None) -> None:
        self.schedule = Schedule("toys.example.com", "node-1", [family], keep=keep)

    async def __aenter__(self) -> Watched:
        watched = Watched(self.schedule)
        await self.schedule.start()
        self.task = asyncio.create_task(self.schedule.run(), name="schedule")
        return watched

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def read_again(family: Toys) -> None:
    """Waits until a whole check of the device came and went."""
    async with asyncio.timeout(5):
        reads = family.reads
        while family.reads < reads + 2:
            await asyncio.sleep(0.01)


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


async def test_a_reset_that_is_due_and_the_familys_own_place_survive_a_restart(tmp_path: Path) -> None:
    first = Told()
    async with Running(first, tmp_path) as watched:
        await watched.says("d", Health.HEALTHY)
        first.place = "4711"
        first.pushes.put_nowait(Code("toy", "stuck"))
        await watched.says("d", Health.UNHEALTHY, "stuck")
        assert await asyncio.to_thread(first.judge.saved)
    second = Told()
    async with Running(second, tmp_path) as watched:
        await watched.says("d", Health.UNHEALTHY, "stuck")
        assert second.place == "4711"
        assert second.same_boot


def test_a_service_that_somebody_tells_of_ends_once_what_was_due(tmp_path: Path) -> None:
    device, family = Device("d"), Toys()
    family.keep_in(tmp_path)
    family.judge.take("toy", "d", [Code("toy", "worn")])
    assert family.check(device).message == "worn out"
    (tmp_path / "serviced").mkdir()
    (tmp_path / "serviced" / "d").touch()
    assert family.check(device).health is Health.HEALTHY
    family.judge.take("toy", "d", [Code("toy", "worn")])
    assert family.check(device).message == "worn out", "it broke again after the service"
    assert family.judge.saved()
    again = Toys()
    again.keep_in(tmp_path)
    assert again.check(device).message == "worn out", "the service of before is not another one after a restart"


def joined(*families: Toys) -> tuple[Toys, ...]:
    for number, family in enumerate(families):
        family.join(families[:number])
    return families


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


def test_what_each_family_remembers_is_kept_beside_the_evidence_they_share(tmp_path: Path) -> None:
    rules = toys()
    for family, place in zip(first := joined(Toys(rules), Others(rules)), ("12", "34"), strict=True):
        family.keep_in(tmp_path)
        family.place = place
    first[0].judge.take("toy", "d", [Code("toy", "stuck")])
    first[1].check(Device("d"))
    assert first[0].judge.saved()
    second = joined(Others(rules), Toys(rules))
    for family in second:
        family.keep_in(tmp_path)
    assert [family.place for family in second] == ["34", "12"]
    assert second[0].check(Device("d")).message == "stuck"
    assert second[0].judge.saved()
    for alone in (Others(rules), Toys(rules)):
        alone.keep_in(tmp_path)
        assert alone.place == {"other": "34", "toy": "12"}[alone.family], "also what one that was left out for a while remembered"
        alone.judge.take(str(alone), "d", [Code("toy", "dead" if alone.family == "other" else "worn")])
        alone.judge.save_if_due()
        assert alone.judge.saved()


async def test_a_reboot_ends_what_needed_a_reset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Told()
    await asyncio.to_thread(first.keep_in, tmp_path)
    first.judge.take("toy", "d", [Code("toy", "stuck")])
    first.judge.save_if_due()
    assert await asyncio.to_thread(first.judge.saved)
    monkeypatch.setattr("podvitals.detect.family.boot_id", lambda: "another boot")
    second = Told()
    async with Running(second, tmp_path) as watched:
        await watched.says("d", Health.HEALTHY)
    assert not second.same_boot


@pytest.mark.parametrize(
    "body", ['{"evidence": 1, "families": {}, "serviced": {}}', '{"evidence": {"format": 9}}', '{"families": 1}', "[]"]
)
def test_a_memory_that_makes_no_sense_is_set_aside(tmp_path: Path, body: str, caplog: pytest.LogCaptureFixture) -> None:
    import hashlib

    (tmp_path / "detectors.state.json").write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}")
    with caplog.at_level(logging.WARNING):
        Toys().keep_in(tmp_path)
    assert "set aside" in caplog.text
    assert (tmp_path / "detectors.state.json.damaged").exists()


def test_a_fault_is_saved_at_once_and_counters_once_a_minute(tmp_path: Path) -> None:
    family, device = Toys(), Device("d")
    family.check(device)
    assert family.judge.saved(), "without a directory there is nothing to save"
    family = Toys()
    family.keep_in(tmp_path)
    family.check(device)
    assert family.judge.saved()
    path = tmp_path / "detectors.state.json"
    assert path.exists()
    path.unlink()
    family.check(device)
    assert family.judge.saved()
    assert not path.exists(), "nothing happened"
    family.signals = [State("toy.link", "down", "0")]
    family.check(device)
    assert family.judge.saved()
    assert path.exists()
    assert judge.SAVE_EVERY == 60.0


async def test_a_driver_that_is_restarted_tells_the_kubelet_of_the_reset_that_is_still_due(short_path: Path) -> None:
    async with FakeKubelet(short_path) as kubelet:
        family = Told()
        async with Driver("toys.example.com", family).serving(kubelet):
            await kubelet.sees("d", Health.HEALTHY)
            family.pushes.put_nowait(Code("toy", "stuck"))
            await kubelet.sees("d", Health.UNHEALTHY)
            assert await asyncio.to_thread(family.judge.saved)
        async with Driver("toys.example.com", Told()).serving(kubelet) as served:
            verdict = await Watched(served.schedule).says("d", Health.UNHEALTHY, "stuck")
            assert verdict.action == "reset-gpu"
    assert (short_path / "plugins/toys.example.com/detectors.state.json").exists()


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


def test_values_of_sysfs_are_read_without_their_newline_and_a_missing_one_is_told_from_an_unreadable(tmp_path: Path) -> None:
    roots = Roots.under(tmp_path)
    roots.sys.mkdir()
    (roots.sys / "width").write_text("16\n")
    (roots.sys / "vendor").write_text("0x10de\n")
    (roots.sys / "state").write_text("live\n")
    assert number_of(roots.sys / "width") == 16
    assert number_of(roots.sys / "vendor") == 0x10DE
    assert text_of(roots.sys / "state") == "live"
    assert text_or(roots.sys / "nothing", "none") == "none"
    with pytest.raises(ValueError, match="state says 'live', which is no number"):
        number_of(roots.sys / "state")
    with pytest.raises(IsADirectoryError):
        text_or(roots.sys)
