"""What survives a restart, and what a damaged file costs."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from podvitals.agent.memory import Memory
from podvitals.device.health import Health
from podvitals.pod.book import Memo
from podvitals.pod.entry import DeviceEntry, FaultEntry, moment
from tests.pod.make import START, holding, key

FAULT = FaultEntry(Health.UNHEALTHY, "Xid", "", moment(START))
FINAL = (DeviceEntry("train", *key("gpu-0"), Health.UNHEALTHY, since=moment(START), faults=(FAULT,)),)
MEMO = Memo("uid-a", "ml", "a", (holding("gpu-0"),), START, FINAL, frozenset({key("gpu-0")}))


def loaded(file: Path) -> list[Memo]:
    """What another process would read."""
    with closing(Memory(file)) as memory:
        return memory.load()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    memory = Memory(tmp_path / "agent.sqlite")
    assert memory.load() == []
    assert memory.save({"uid-a": MEMO, "uid-b": MEMO})
    assert memory.save({"uid-b": None})
    memory.close()
    return tmp_path / "agent.sqlite"


def test_what_was_saved_is_there_again(file: Path) -> None:
    assert loaded(file) == [MEMO]


def test_nobody_else_may_read_it(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 1000, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_costs_only_what_it_held(file: Path, damage: bytes) -> None:
    file.write_bytes(damage)
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    memory = Memory(file)
    assert memory.load() == []
    assert memory.save({"uid-a": MEMO})
    memory.close()
    assert loaded(file) == [MEMO]
    if damage:
        assert file.with_suffix(".damaged").read_bytes() == damage


def test_a_flipped_byte_never_raises(file: Path) -> None:
    whole = file.read_bytes()
    for at in range(0, len(whole), 61):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        for suffix in ("-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        memory = Memory(file)
        assert all(memo.uid for memo in memory.load())
        memory.close()


def test_a_flipped_byte_never_makes_another_devices_name(file: Path) -> None:
    whole = file.read_bytes()
    for at in range(len(whole)):
        if whole[at : at + 1] not in (b"g", b"p", b"u", b"0", b"-"):
            continue
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])
        for suffix in ("-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        assert loaded(file) in ([], [MEMO])


def test_the_first_format_is_migrated(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "agent.sqlite")
    with old:
        old.execute("CREATE TABLE pods (uid TEXT PRIMARY KEY, memo BLOB NOT NULL) WITHOUT ROWID")
        old.execute("PRAGMA user_version=1")
        old.execute("INSERT INTO pods VALUES (?, ?)", ("uid-a", msgspec.json.encode(MEMO)))
    old.close()
    assert loaded(tmp_path / "agent.sqlite") == [MEMO]
    assert loaded(tmp_path / "agent.sqlite") == [MEMO]


def test_a_file_found_damaged_when_written_is_begun_anew_and_said(file: Path) -> None:
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)
    memory = Memory(file)
    assert not memory.save({"uid-b": MEMO})
    assert memory.anew
    assert memory.save({"uid-a": MEMO})
    memory.close()
    assert loaded(file) == [MEMO]


def test_a_later_format_is_set_aside(file: Path) -> None:
    with sqlite3.connect(file) as rows:
        rows.execute("PRAGMA user_version=99")
    rows.close()
    assert loaded(file) == []
    assert file.with_suffix(".damaged").exists()


def test_a_directory_that_takes_no_file_costs_only_the_memory(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "gone" / "agent.sqlite")
    assert memory.load() == []
    assert not memory.save({"uid-a": MEMO})
    (tmp_path / "gone").mkdir()
    assert memory.save({"uid-a": MEMO})
    memory.close()


def test_a_file_that_can_only_be_read_stops_nothing() -> None:
    # Opens, and refuses every change: as an agent's file on a disk that became read-only.
    memory = Memory(Path("/proc/self/status"))
    assert memory.load() == []
    assert not memory.save({"uid-a": MEMO})
    memory.close()
