"""What families know after a restart of their driver, or of the machine."""

import asyncio
import hashlib
import logging
from contextlib import suppress
from pathlib import Path

import pytest

from podvitals.detect import judge
from podvitals.detect.detector import Device, Unreadable
from podvitals.detect.signal import Code, State, Unread
from podvitals.device.health import Health
from podvitals.driver.plugin import Driver
from podvitals.testing import FakeKubelet
from tests.detect.kit import Watched
from tests.detect.rulesets import toys
from tests.detect.toys import Others, Running, Told, Toys, joined


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


def test_families_that_are_judged_apart_are_remembered_apart(tmp_path: Path) -> None:
    for codes in (("stuck", "worn"), ()):
        families = joined(Toys(toys()), Others(toys()))
        for family in families:
            family.keep_in(tmp_path)
        for family, code in zip(families, codes, strict=False):
            family.judge.take(str(family), "d", [Code("toy", code)])
        said = [family.check(Device("d")).message for family in families]
        assert said == ["stuck", "worn out"], "each its own, also after a restart"
        assert all(family.judge.saved() for family in families)


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


@pytest.mark.parametrize("broken", ["Input/output error", ""])
def test_what_a_family_read_is_over_once_the_driver_is_started_without_it(tmp_path: Path, broken: str) -> None:
    """Nobody would ever say that it ended; what somebody has to do something about stays."""
    rules, device = toys(), Device("d")
    for family in (before := joined(Toys(rules), Others(rules))):
        family.keep_in(tmp_path)
    before[1].signals = [State("toy.link", "down", "0"), Unread("toy.width", "busy"), Code("toy", "stuck")]
    before[1].check(device)
    before[1].broken = broken
    with suppress(Unreadable):
        before[1].check(device)
    before[0].judge.save_if_due()
    assert before[0].judge.saved()
    (after,) = joined(Toys(rules))
    after.keep_in(tmp_path)
    assert after.check(device).message == "stuck"


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
