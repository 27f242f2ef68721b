"""The checkpoint under faults: cut, killed, shared, on a disk that is full or read-only, written by another podvitals."""

import asyncio
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import podvitals.node.checkpoint
from podvitals.device.health import Health
from podvitals.errors import LocalError
from podvitals.node.checkpoint import Checkpoint
from podvitals.node.ledger import Ledger
from tests.node.test_checkpoint import WALL, load, opened, report, save, told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "devices.db"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podvitals.node.checkpoint.PATIENCE", 0.0)


def ledger(*healths: Health) -> Ledger:
    known = Ledger()
    for second, health in enumerate(healths):
        report(known, health, float(second), lease=3600)
    return known


# --- cut, and killed -------------------------------------------------------------------------------------------------------------


async def test_a_checkpoint_cut_at_any_length_costs_only_what_it_held(path: Path, tmp_path: Path) -> None:
    await save(path, ledger(Health.HEALTHY, Health.UNHEALTHY), 2.0)
    data = await asyncio.to_thread(path.read_bytes)
    copy = tmp_path / "copy" / "devices.db"
    copy.parent.mkdir()
    lengths = {length for edge in range(0, len(data) + 1, 4096) for length in (edge - 1, edge, edge + 1)} | set(range(0, len(data), 611))
    for length in sorted(lengths & set(range(len(data)))):
        for name in os.listdir(copy.parent):
            os.unlink(copy.parent / name)
        copy.write_bytes(data[:length])
        shutil.copy(path.with_name("devices.db.lock"), copy.with_name("devices.db.lock"))
        assert told(await load(copy, 3.0)) == {}, length
        assert "devices.db.damaged" in os.listdir(copy.parent), length
        await save(copy, ledger(Health.UNHEALTHY), 4.0)
        assert told(await load(copy, 5.0)) == {"gpu-0": Health.UNHEALTHY}, length


def test_no_flipped_bit_of_the_lock_makes_a_checkpoint_that_is_behind_believed(path: Path) -> None:
    asyncio.run(save(path, ledger(Health.HEALTHY), 1.0))
    lock = path.with_name("devices.db.lock")
    word = b"behind  process 1 on node\n"
    for at in range(6):
        for bit in range(8):
            lock.write_bytes(word[:at] + bytes([word[at] ^ 1 << bit]) + word[at + 1 :])
            before = path.read_bytes()
            assert told(asyncio.run(load(path, 2.0))) == {}
            path.with_name("devices.db.damaged").unlink()
            path.write_bytes(before)


def _nothing(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")


def _header(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
    db.close()


@pytest.mark.parametrize("left", [_nothing, _header])
async def test_one_killed_before_its_first_save_leaves_no_damage(
    path: Path, left: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    left(path)
    assert told(await load(path, 1.0)) == {}
    await save(path, ledger(Health.UNHEALTHY), 1.0)
    assert told(await load(path, 2.0)) == {"gpu-0": Health.UNHEALTHY}
    assert not [name for name in os.listdir(path.parent) if "damaged" in name]
    assert caplog.text == ""


SAVER = """
import asyncio, sys
from functools import partial
from pathlib import Path
from podvitals.device.health import Health
from podvitals.node.checkpoint import Checkpoint
from tests.node.test_checkpoint import WALL, report
from podvitals.node.ledger import Ledger

async def main():
    checkpoint, ledger = Checkpoint(Path(sys.argv[1]), "boot-1"), Ledger()
    ledger.restore(await checkpoint.load(0.0, WALL), 0.0, WALL)
    turn = int(sys.argv[2])
    while True:
        turn += 1
        report(ledger, Health.UNHEALTHY if turn % 2 else Health.HEALTHY, 1.0, lease=3600 + turn)
        report(ledger, Health.HEALTHY, 1.0, f"gpu-{turn % 9 + 1}", lease=3600)
        await checkpoint.save(ledger.drain(), 1.0, WALL)
        print(turn, flush=True)

asyncio.run(main())
"""


def _killed_while_saving(path: Path, turn: int, lines: int) -> int:
    """The last change that was acknowledged."""
    with subprocess.Popen([sys.executable, "-c", SAVER, str(path), str(turn)], stdout=subprocess.PIPE, text=True) as saver:
        assert saver.stdout is not None
        for _ in range(lines):
            assert saver.stdout.readline()
        saver.send_signal(signal.SIGKILL)
        rest = saver.stdout.read().split()
    return turn + lines + len(rest)


async def test_one_killed_between_two_writes_loses_nothing_it_had_written(path: Path) -> None:
    turn = 0
    for lines in (1, 2, 7, 30):
        turn = await asyncio.to_thread(_killed_while_saving, path, turn, lines)
        found = await load(path, 2.0)
        (fact,) = [row for key, row in found.everything().facts.items() if row is not None and key.device == "gpu-0"]
        assert fact.lease - 3600 in (turn, turn + 1), "the last that was said to be written, or the one under way"
        turn = int(fact.lease - 3600)


# --- shared ----------------------------------------------------------------------------------------------------------------------

READER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("BEGIN EXCLUSIVE")
print("mine", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def busy(path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def take() -> "subprocess.Popen[str]":
        other = subprocess.Popen([sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(other)
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        return other

    yield take
    for other in started:
        other.communicate()


async def test_a_file_another_process_holds_is_neither_removed_nor_believed_later(
    path: Path, busy: Callable[[], "subprocess.Popen[str]"], caplog: pytest.LogCaptureFixture
) -> None:
    """As by an agent of before the lock, or a person with sqlite3."""
    await save(path, ledger(Health.HEALTHY), 1.0)
    other = await asyncio.to_thread(busy)
    inode = os.stat(path).st_ino
    known = ledger(Health.HEALTHY, Health.UNHEALTHY)
    async with opened(path) as checkpoint:
        assert not await checkpoint.load(2.0, WALL)
        assert "in use by another process" in caplog.text
        with pytest.raises(LocalError, match="locked"):
            await checkpoint.save(known.everything(), 2.0, WALL)
        assert os.stat(path).st_ino == inode
        await asyncio.to_thread(other.communicate)
        await checkpoint.save(known.everything(), 2.0, WALL)
    assert told(await load(path, 3.0)) == {"gpu-0": Health.UNHEALTHY}


async def test_a_file_that_missed_a_change_while_another_held_it_is_not_believed_by_the_next_process(
    path: Path, tmp_path: Path, busy: Callable[[], "subprocess.Popen[str]"]
) -> None:
    known = ledger(Health.HEALTHY)
    async with opened(path) as checkpoint:
        await checkpoint.save(known.everything(), 1.0, WALL)
        await asyncio.get_running_loop().run_in_executor(checkpoint._thread, checkpoint._close_file)
        other = await asyncio.to_thread(busy)
        report(known, Health.UNHEALTHY, 2.0, lease=3600)
        with pytest.raises(LocalError):
            await checkpoint.save(known.drain(), 2.0, WALL)
        await asyncio.to_thread(shutil.copytree, path.parent, tmp_path / "killed")
        await asyncio.to_thread(other.communicate)
    assert told(await load(tmp_path / "killed" / "devices.db", 3.0)) == {}


async def test_the_second_of_two_works_without_and_has_the_file_when_the_first_is_gone(path: Path) -> None:
    async with opened(path) as second:
        async with opened(path) as first:
            await first.load(0.0, WALL)
            await first.save(ledger(Health.HEALTHY).everything(), 1.0, WALL)
            assert not await second.load(1.0, WALL)
            with pytest.raises(LocalError, match=f"belongs to process {os.getpid()}"):
                await second.save(ledger(Health.UNHEALTHY).everything(), 2.0, WALL)
            await first.save(ledger(Health.HEALTHY).everything(), 3.0, WALL)
        await second.save(ledger(Health.UNHEALTHY).everything(), 4.0, WALL)
    assert told(await load(path, 5.0)) == {"gpu-0": Health.UNHEALTHY}


# --- disks -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """256 KiB of memory as a disk."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("mounting needs root")
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def _fill(disk: Path) -> None:
    with suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def _remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


@pytest.mark.root
async def test_on_a_full_disk_no_old_verdict_is_left_to_be_believed(disk: Path) -> None:
    path, known = disk / "devices.db", ledger(Health.HEALTHY)
    async with opened(path) as checkpoint:
        await checkpoint.save(known.drain(), 1.0, WALL)
        await asyncio.to_thread(_fill, disk)
        for number in range(100):
            report(known, Health.UNHEALTHY, 2.0, f"gpu-{number}", lease=3600)
        with pytest.raises(LocalError, match="disk is full"):
            await checkpoint.save(known.drain(), 2.0, WALL)
        assert told(await load(disk / "copy.db", 3.0)) == {}
        os.unlink(disk / "filler")
        await checkpoint.save(known.everything(), 4.0, WALL)
    assert set(told(await load(path, 5.0)).values()) == {Health.UNHEALTHY}


@pytest.mark.root
async def test_on_a_full_disk_a_checkpoint_that_missed_nothing_is_believed(disk: Path) -> None:
    await save(disk / "devices.db", ledger(Health.UNHEALTHY), 1.0)
    await asyncio.to_thread(_fill, disk)
    assert told(await load(disk / "devices.db", 2.0)) == {"gpu-0": Health.UNHEALTHY}


@pytest.mark.root
async def test_on_a_read_only_disk_nothing_is_believed_and_nothing_breaks(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, known = disk / "devices.db", ledger(Health.HEALTHY)
    await save(path, known, 1.0)
    await asyncio.to_thread(_remount, disk, "ro")
    async with opened(path) as checkpoint:
        assert not await checkpoint.load(2.0, WALL), "what takes no writes may have missed the last ones"
        assert "Read-only file system" in caplog.text
        with pytest.raises(LocalError, match="Read-only file system"):
            await checkpoint.save(known.everything(), 2.0, WALL)
        await asyncio.to_thread(_remount, disk, "rw")
        await checkpoint.save(ledger(Health.UNHEALTHY).everything(), 3.0, WALL)
    assert told(await load(path, 4.0)) == {"gpu-0": Health.UNHEALTHY}


# --- formats ---------------------------------------------------------------------------------------------------------------------


async def test_a_newer_format_is_refused_with_its_number_and_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await save(path, ledger(Health.HEALTHY), 1.0)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert told(await load(path, 2.0)) == {}
    assert "its format is 99, this podvitals reads 1: a newer podvitals wrote it" in caplog.text
    assert "devices.db.format-99" in os.listdir(path.parent)


async def test_an_older_format_is_migrated_once_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await save(path, ledger(Health.UNHEALTHY), 1.0)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 0")
        db.execute("ALTER TABLE entry RENAME TO old")
    db.close()
    steps = {0: lambda db: db.execute("ALTER TABLE old RENAME TO entry")}
    monkeypatch.setattr(podvitals.node.checkpoint, "MIGRATIONS", steps)
    assert told(await load(path, 2.0)) == {"gpu-0": Health.UNHEALTHY}
    monkeypatch.setattr(podvitals.node.checkpoint, "MIGRATIONS", {})
    assert told(await load(path, 3.0)) == {"gpu-0": Health.UNHEALTHY}


async def test_a_migration_that_fails_costs_only_what_the_file_held(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await save(path, ledger(Health.UNHEALTHY), 1.0)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 0")
    db.close()
    monkeypatch.setattr(podvitals.node.checkpoint, "MIGRATIONS", {0: lambda db: db.execute("ALTER TABLE old RENAME TO entry")})
    assert told(await load(path, 2.0)) == {}
    assert "no such table: old" in caplog.text


def test_nothing_is_said_of_a_checkpoint_that_is_in_order(caplog: pytest.LogCaptureFixture, path: Path) -> None:
    async def twice() -> None:
        for _ in range(2):
            async with opened(path) as checkpoint:
                await checkpoint.load(0.0, WALL)
                await checkpoint.save(ledger(Health.HEALTHY).everything(), 1.0, WALL)

    with caplog.at_level(logging.DEBUG, "podvitals"):
        asyncio.run(twice())
    assert caplog.text == ""


async def test_whatever_is_at_the_lock_s_path_harms_nobody(path: Path) -> None:
    path.parent.mkdir()
    lock = path.with_name("devices.db.lock")
    for make in (partial(os.symlink, "/dev/null", lock), partial(os.mkfifo, lock), partial(os.mkdir, lock)):
        make()
        checkpoint = Checkpoint(path, "boot-1")
        assert not await checkpoint.load(0.0, WALL)
        with pytest.raises(LocalError):
            await checkpoint.save(ledger(Health.HEALTHY).everything(), 1.0, WALL)
        await checkpoint.close()
        lock.rmdir() if lock.is_dir() else lock.unlink()
