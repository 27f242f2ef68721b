"""What comes back after a restart is as good as its remaining lease, whatever happened to file, clock or machine meanwhile."""

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.errors import LocalError
from podvitals.node.checkpoint import Checkpoint
from podvitals.node.ledger import Ledger, SourceKey
from podvitals.wire.messages import DeviceReport

GPU = SourceKey("gpu.example.com")
XID = SourceKey("gpu.example.com", "xid")
WALL = 1_700_000_000.0
BOOT = "boot-1"


def report(ledger: Ledger, health: Health, now: float, device: str = "gpu-0", lease: float = 60.0, source: SourceKey = GPU) -> None:
    ledger.report(source, 1, [DeviceReport("node1", device, health, 0.0, lease, f"it is {health}")], now, WALL + now)


def told(ledger: Ledger) -> dict[str, Health]:
    return {key.device: state.health for key, state in ledger.states().items()}


@asynccontextmanager
async def opened(path: Path, boot: str = BOOT) -> AsyncIterator[Checkpoint]:
    checkpoint = Checkpoint(path, boot)
    try:
        yield checkpoint
    finally:
        await checkpoint.close()


async def save(path: Path, ledger: Ledger, now: float) -> None:
    async with opened(path) as checkpoint:
        await checkpoint.save(ledger.everything(), now, WALL + now)


async def load(path: Path, now: float, wall: float | None = None, boot: str = BOOT) -> Ledger:
    ledger = Ledger()
    async with opened(path, boot) as checkpoint:
        at = WALL + now if wall is None else wall
        ledger.restore(await checkpoint.load(now, at), now, at)
    return ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "devices.db"


async def test_a_restart_brings_back_what_was_known(path: Path) -> None:
    before = Ledger()
    report(before, Health.UNHEALTHY, 0.0)
    report(before, Health.HEALTHY, 5.0)
    report(before, Health.UNHEALTHY, 5.0, source=XID)
    await save(path, before, 6.0)
    after = await load(path, 10.0)
    # Since the restart nobody is connected, which ends things 30 s from then.
    assert after.states() == {key: replace(state, deadline=40.0) for key, state in before.states().items()}
    assert stat.S_IMODE((await asyncio.to_thread(os.stat, path)).st_mode) == 0o600


async def test_a_lease_that_ended_while_nobody_ran_is_unknown_from_its_deadline_on(path: Path) -> None:
    before = Ledger()
    report(before, Health.HEALTHY, 0.0)
    await save(path, before, 1.0)
    after = await load(path, 61.0)
    assert told(after) == {"gpu-0": Health.UNKNOWN}
    assert next(iter(after.states().values())).since == WALL + 60


@pytest.mark.parametrize(
    ("now", "wall", "health"),
    [
        (20.0, WALL + 30, Health.HEALTHY),  # 30 s by the wall clock
        (20.0, WALL + 70, Health.UNKNOWN),
        (65.0, WALL + 30, Health.UNKNOWN),  # this boot alone lasts longer than the lease, whatever the wall clock says
        (5.0, WALL - 3600, Health.UNKNOWN),  # the wall clock was set back: nobody knows how long it was
        (5.0, WALL + 3600, Health.UNKNOWN),
    ],
)
async def test_across_boots_the_wall_clock_counts_and_never_in_favour(path: Path, now: float, wall: float, health: Health) -> None:
    before = Ledger()
    report(before, Health.HEALTHY, 0.0)
    await save(path, before, 1.0)
    assert told(await load(path, now, wall, boot="boot-2")) == {"gpu-0": health}


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_within_a_boot_the_wall_clock_may_jump_as_it_likes(path: Path, step: float) -> None:
    before = Ledger()
    report(before, Health.HEALTHY, 0.0)
    await save(path, before, 1.0)
    assert told(await load(path, 30.0, WALL + 30 + step)) == {"gpu-0": Health.HEALTHY}
    assert told(await load(path, 61.0, WALL + 61 + step)) == {"gpu-0": Health.UNKNOWN}


async def test_differences_add_up_to_the_whole(path: Path) -> None:
    ledger = Ledger()
    async with opened(path) as checkpoint:
        await checkpoint.load(0.0, WALL)
        for turn in range(20):
            report(
                ledger, [Health.HEALTHY, Health.UNHEALTHY, Health.UNKNOWN][turn % 3], float(turn), f"gpu-{turn % 4}", lease=100 + turn % 5
            )
            await checkpoint.save(ledger.drain(), float(turn), WALL + turn)
    after = await load(path, 20.0)
    assert {k: (s.health, s.since, s.faults) for k, s in after.states().items()} == {
        k: (s.health, s.since, s.faults) for k, s in ledger.states().items()
    }


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _alter(column: str, value: object) -> Callable[[Path], None]:
    def alter(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute(f"UPDATE entry SET {column} = ? WHERE kind = 1", (value,))
        db.close()

    return alter


def _drop_a_row(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM entry WHERE kind = 1")
    db.close()


def _a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        lambda path: path.write_bytes(b"not a database, " * 512),
        lambda path: path.write_bytes(b"\0" * 8192),
        lambda path: path.write_bytes(b""),
        _alter("value", b'["Healthy","","",0.0,86400.0,1,""]'),
        _alter("sum", b"12345678"),
        _drop_a_row,
        _a_directory,
        _a_fifo,
    ],
)
async def test_a_damaged_checkpoint_is_set_aside_and_said_and_work_goes_on(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()
    report(ledger, Health.UNHEALTHY, 0.0)
    await save(path, ledger, 1.0)
    damage(path)
    async with opened(path) as checkpoint:
        assert not await checkpoint.load(2.0, WALL)
        assert not checkpoint.begun
        assert "set aside as" in caplog.text
        assert "devices.db.damaged" in os.listdir(path.parent)
        await checkpoint.save(ledger.everything(), 3.0, WALL + 3)
    assert told(await load(path, 4.0)) == {"gpu-0": Health.UNHEALTHY}


async def test_no_flipped_byte_makes_a_state_better_than_it_was(path: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    report(ledger, Health.HEALTHY, 0.0, "gpu-1", lease=10)
    report(ledger, Health.HEALTHY, 0.0)
    async with opened(path) as checkpoint:
        await checkpoint.save(ledger.drain(), 0.5, WALL)
        report(ledger, Health.UNHEALTHY, 1.0)
        await checkpoint.save(ledger.drain(), 1.5, WALL)
    data = await asyncio.to_thread(path.read_bytes)
    truth = {"gpu-0": Health.UNHEALTHY, "gpu-1": Health.UNKNOWN}
    assert told(await load(path, 11.0)) == truth
    copy = tmp_path / "copy.db"
    # Every byte of the pages in use that carries content, and every 7th of the rest.
    interesting = [at for at, byte in enumerate(data) if byte or at % 7 == 0]
    for at in interesting[:: max(1, len(interesting) // 400)]:
        copy.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        found = told(await load(copy, 11.0))
        assert found in ({}, truth), f"byte {at}"


async def test_what_a_killed_process_left_is_complete_up_to_its_last_verdict(path: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    report(ledger, Health.HEALTHY, 0.0)
    async with opened(path) as checkpoint:
        await checkpoint.save(ledger.drain(), 1.0, WALL)
        report(ledger, Health.UNHEALTHY, 1.0)
        await checkpoint.save(ledger.drain(), 1.0, WALL)
        # As kill -9 leaves it: the files as they are now, nothing closed. Even without the log it holds the last verdict.
        shutil.copy(path, tmp_path / "copy.db")
    assert told(await load(tmp_path / "copy.db", 2.0)) == {"gpu-0": Health.UNHEALTHY}


async def test_a_checkpoint_that_cannot_be_kept_current_is_removed_rather_than_left_to_lie(path: Path) -> None:
    ledger = Ledger()
    report(ledger, Health.HEALTHY, 0.0)
    async with opened(path) as checkpoint:
        await checkpoint.save(ledger.drain(), 1.0, WALL)
        report(ledger, Health.UNHEALTHY, 2.0)
        checkpoint._thread.submit(lambda: checkpoint._db and checkpoint._db.execute("PRAGMA max_page_count = 2")).result()
        checkpoint._thread.submit(lambda: checkpoint._db and checkpoint._db.execute("PRAGMA query_only = 1")).result()
        with pytest.raises(LocalError, match="cannot be written"):
            await checkpoint.save(ledger.drain(), 2.0, WALL)
        assert os.listdir(path.parent) == ["devices.db.lock"]
        assert not checkpoint.begun
        await checkpoint.save(ledger.everything(), 3.0, WALL)
    assert told(await load(path, 4.0)) == {"gpu-0": Health.UNHEALTHY}


async def test_a_state_directory_that_cannot_be_is_said_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ledger = Ledger()
    report(ledger, Health.HEALTHY, 0.0)
    async with opened(tmp_path / "file" / "devices.db") as checkpoint:
        assert not await checkpoint.load(0.0, WALL)
        with pytest.raises(LocalError):
            await checkpoint.save(ledger.everything(), 1.0, WALL)


async def test_two_processes_do_not_share_a_checkpoint(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger()
    report(ledger, Health.HEALTHY, 0.0)
    async with opened(path) as first:
        await first.save(ledger.everything(), 1.0, WALL)
        async with opened(path) as second:
            assert not await second.load(1.0, WALL)
        assert f"belongs to process {os.getpid()} on " in caplog.text
        report(ledger, Health.UNHEALTHY, 2.0)
        await first.save(ledger.drain(), 2.0, WALL)
    assert told(await load(path, 3.0)) == {"gpu-0": Health.UNHEALTHY}
