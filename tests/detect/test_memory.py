"""The small file of a family: replaced as a whole, and what is damaged costs only what it held."""

import logging
import threading
from pathlib import Path

import pytest

from podvitals.detect.memory import Memory


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "driver" / "kmsg.state.json")


def test_what_was_saved_is_loaded_and_nothing_else_is_left_in_the_directory(memory: Memory) -> None:
    assert memory.load() is None
    assert memory.save({"a": [1, "дva"]})
    assert memory.save({"a": 2})
    assert memory.load() == {"a": 2}
    assert [path.name for path in memory.path.parent.iterdir()] == ["kmsg.state.json"]
    assert memory.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("where", range(0, 90, 7))
def test_a_flipped_bit_anywhere_sets_the_file_aside_and_says_so(memory: Memory, where: int, caplog: pytest.LogCaptureFixture) -> None:
    memory.save({"needs": "reset", "and": "more than a few bytes"})
    data = bytearray(memory.path.read_bytes())
    data[where] ^= 1
    memory.path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert memory.load() is None
    assert "set aside" in caplog.text
    assert memory.path.with_name("kmsg.state.json.damaged").read_bytes() == data
    assert not memory.path.exists()
    assert memory.save({"b": 1})
    assert memory.load() == {"b": 1}


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", b"[]\n[]", b"\xff\xfe\n\x00"])
def test_what_is_no_memory_is_set_aside(memory: Memory, data: bytes) -> None:
    memory.path.parent.mkdir()
    memory.path.write_bytes(data)
    assert memory.load() is None
    assert memory.path.with_name("kmsg.state.json.damaged").exists()


def test_a_memory_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    memory = Memory(tmp_path / "file" / "kmsg.state.json")
    assert not memory.save({})
    assert not memory.save({})
    assert caplog.text.count("cannot be written") == 1
    assert memory.load() is None


def test_what_is_saved_later_is_saved_whole_and_the_latest_wins(memory: Memory) -> None:
    for number in range(200):
        memory.later({"number": number})
    assert memory.flush()
    assert memory.load() == {"number": 199}


def test_a_disk_that_hangs_keeps_nobody_waiting(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, free = threading.Event(), threading.Event()

    def hanging(_: int) -> None:
        hangs.set()
        free.wait(5)

    monkeypatch.setattr("os.fsync", hanging)
    memory.later({"number": 1})
    assert hangs.wait(5)
    memory.later({"number": 2})
    assert not memory.flush(0.0)
    free.set()
    assert memory.flush()
    assert memory.load() == {"number": 2}
