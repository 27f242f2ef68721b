"""A disk that becomes read-only while the checkpoint is open, and is writable again when the next process looks."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.errors import LocalError
from podvitals.node.checkpoint import Checkpoint
from tests.node.test_checkpoint import WALL, load, opened, save, told
from tests.node.test_checkpoint_faults import ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "devices.db"


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /dev/shm."""
    place = tmp_path / "shm"
    place.mkdir()
    monkeypatch.setattr("podvitals.node.lock.MEMORY", place)
    return place


@contextmanager
def read_only(memory: Path) -> Iterator[None]:
    """The disk is read-only beneath open files, as the kernel makes it after an error; nobody else can while files are open."""
    real = os.open

    def refused(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def opened(name: Path | str, *args: int) -> int:
        return real(name, *args) if memory in Path(name).parents else refused()

    with pytest.MonkeyPatch.context() as patch:
        for call in ("pwrite", "ftruncate", "replace", "unlink"):
            patch.setattr(os, call, refused)
        patch.setattr(os, "open", opened)
        patch.setattr(Checkpoint, "_write", refused)
        yield


async def test_what_could_not_be_written_to_a_read_only_disk_is_not_believed_when_it_is_writable_again(path: Path, memory: Path) -> None:
    checkpoint = Checkpoint(path, "boot-1")
    await checkpoint.load(0.0, WALL)
    await checkpoint.save(ledger(Health.HEALTHY).everything(), 1.0, WALL)
    with read_only(memory), pytest.raises(LocalError, match="Read-only"):
        await checkpoint.save(ledger(Health.UNHEALTHY).everything(), 2.0, WALL)
    await checkpoint.close()  # as when it is killed: nothing more is written
    assert told(await load(path, 3.0)) == {}
    assert not os.listdir(memory), "whoever begins anew takes the note away"
    await save(path, ledger(Health.UNHEALTHY), 4.0)
    assert told(await load(path, 5.0)) == {"gpu-0": Health.UNHEALTHY}


async def test_a_disk_that_was_read_only_for_a_while_is_believed_once_all_is_written(path: Path, memory: Path) -> None:
    async with opened(path) as checkpoint:
        await checkpoint.save(ledger(Health.HEALTHY).everything(), 1.0, WALL)
        with read_only(memory), pytest.raises(LocalError, match="Read-only"):
            await checkpoint.save(ledger(Health.UNHEALTHY).everything(), 2.0, WALL)
        await checkpoint.save(ledger(Health.UNHEALTHY).everything(), 3.0, WALL)
    assert not os.listdir(memory)
    assert told(await load(path, 4.0)) == {"gpu-0": Health.UNHEALTHY}


async def test_a_note_of_somebody_else_in_shared_memory_takes_no_memory_away(path: Path, memory: Path) -> None:
    await save(path, ledger(Health.UNHEALTHY), 1.0)
    facts = path.with_name("devices.db.lock").stat()
    (memory / f"podvitals-{facts.st_dev:x}-{facts.st_ino:x}-behind").symlink_to("/dev/null")
    assert told(await load(path, 2.0)) == {"gpu-0": Health.UNHEALTHY}
