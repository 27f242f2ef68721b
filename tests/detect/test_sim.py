"""Simulated devices, by real files and real inotify."""

import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect.detector import ACTIONS, Reading
from podvitals.detect.sim import Sim, format_state, parse_state
from podvitals.device.health import Health
from podvitals.errors import InvalidInput
from tests.detect.kit import running


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("gpu-0", "gpu-1"):
        (tmp_path / name).write_text("Healthy\n")
    return tmp_path


def slow(directory: Path) -> Sim:
    """Polls so rarely that only inotify can have told."""
    sim = Sim(directory, memory="80Gi")
    sim.interval = 600
    return sim


def inject(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.rename(path)


async def test_a_renamed_and_a_written_file_are_both_pushed(directory: Path) -> None:
    async with running(slow(directory)) as frame:
        await frame.says("gpu-0", Health.HEALTHY)
        inject(directory / "gpu-0", "Unhealthy: Xid 79: fallen off the bus\naction=power-cycle\n")
        began = time.monotonic()
        verdict = await frame.says("gpu-0", Health.UNHEALTHY)
        assert time.monotonic() - began < 0.5
        assert (verdict.message, verdict.action) == ("Xid 79: fallen off the bus", "power-cycle")
        (directory / "gpu-1").write_text("unknown: cannot tell")
        await frame.says("gpu-1", Health.UNKNOWN, "cannot tell")
        (directory / "gpu-0").write_text("Healthy")
        await frame.says("gpu-0", Health.HEALTHY)


async def test_a_removed_file_is_a_missing_device_that_heals_when_it_is_back(directory: Path) -> None:
    async with running(slow(directory)) as frame:
        await frame.says("gpu-1", Health.HEALTHY)
        (directory / "gpu-1").unlink()
        await frame.says("gpu-1", Health.UNHEALTHY, f"{directory}/gpu-1 is gone")
        assert set(frame.schedule.devices) == {"gpu-0", "gpu-1"}
        (directory / "gpu-1").write_text("Healthy")
        await frame.says("gpu-1", Health.HEALTHY)


async def test_a_new_file_is_a_new_device_at_once(directory: Path) -> None:
    async with running(slow(directory)) as frame:
        inject(directory / "gpu-2", "Unhealthy: came broken")
        await frame.says("gpu-2", Health.UNHEALTHY, "came broken")
        device = frame.schedule.devices["gpu-2"]
        assert (device.attributes, device.capacity, device.handle) == (
            {"model": "sim", "index": 2},
            {"memory": "80Gi"},
            f"{directory}/gpu-2",
        )


async def test_without_inotify_polling_tells(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(24, "no inotify instances left")

    monkeypatch.setattr("podvitals.detect.sim.directories", none_left)
    sim = Sim(directory)
    sim.interval = 0.05
    async with running(sim) as frame:
        await frame.says("gpu-0", Health.HEALTHY)
        (directory / "gpu-0").write_text("Unhealthy: x")
        await frame.says("gpu-0", Health.UNHEALTHY, "x")


async def test_a_directory_that_is_replaced_is_found_again(directory: Path) -> None:
    sim = Sim(directory)
    sim.interval = 0.1
    async with running(sim) as frame:
        await frame.says("gpu-0", Health.HEALTHY)
        shutil.rmtree(directory)
        await frame.says("gpu-0", Health.UNHEALTHY, "is gone")
        os.mkdir(directory)
        inject(directory / "gpu-0", "Healthy")
        await frame.says("gpu-0", Health.HEALTHY)


async def test_an_unreadable_file_is_unknown_and_its_neighbour_is_not(directory: Path) -> None:
    (directory / "gpu-1").unlink()
    os.mkdir(directory / "gpu-1")  # a file root cannot read either
    async with running(slow(directory)) as frame:
        await frame.says("gpu-1", Health.UNKNOWN, "gpu-1: Is a directory")
        await frame.says("gpu-0", Health.HEALTHY)


def test_a_missing_directory_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a directory: make it, with one file a device"):
        list(Sim(tmp_path / "none").devices())


@pytest.mark.parametrize("text", ["", "Sick", "Healthy\ncolour=red", "Unhealthy: x\naction=explode", "\x00"])
def test_a_file_that_cannot_be_understood_says_why(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a health|is not action=|is none of"):
        parse_state(text)


LINE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=50).map(str.strip)


@given(st.sampled_from(list(Health)), LINE, st.sampled_from(ACTIONS))
def test_what_is_written_is_read_back(health: Health, message: str, action: str) -> None:
    reading = Reading(health, message, action)
    assert parse_state(format_state(reading)) == reading


async def test_a_file_that_hangs_whoever_reads_it_is_unknown_and_the_end_comes_all_the_same(directory: Path) -> None:
    (directory / "gpu-1").unlink()
    os.mkfifo(directory / "gpu-1")  # its open() blocks until somebody writes
    sim = Sim(directory)
    sim.timeout = 0.2
    try:
        async with running(sim) as frame:
            await frame.says("gpu-1", Health.UNKNOWN, "check has not answered within 0.2 s")
            await frame.says("gpu-0", Health.HEALTHY)
            began = time.monotonic()
        assert time.monotonic() - began < 1
    finally:
        with contextlib.suppress(OSError):
            os.close(os.open(directory / "gpu-1", os.O_WRONLY | os.O_NONBLOCK))
