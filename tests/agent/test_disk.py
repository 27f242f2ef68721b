"""A state directory on a disk that is full or read-only: pods are told all the same, and remembered as soon as it takes something."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from podvitals.agent import compose, listen
from podvitals.agent.memory import Memory
from podvitals.errors import SocketTaken
from podvitals.pod.book import Memo
from podvitals.testing import FakeDriver
from tests.agent.cluster import Cluster
from tests.pod.make import holding

MANY = tuple(holding(f"gpu-{n}") for n in range(200))
"""More than a page of SQLite's."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("mounting a small tmpfs needs root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "podvitals-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def memo(uid: str) -> Memo:
    return Memo(uid, "ml", uid, MANY)


def fill(place: Path) -> Path:
    """A file that leaves nothing."""
    hog = place / "hog"
    with hog.open("wb", buffering=0) as out:
        try:
            while out.write(b"x" * 4096):
                pass
        except OSError:
            pass
    return hog


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)


def test_a_full_disk_costs_only_the_memory_and_only_while_it_is_full(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory(disk / "agent.sqlite")
    assert memory.load() == []
    assert memory.save({"uid-a": memo("uid-a")})
    hog = fill(disk)
    assert not memory.save({f"uid-{n}": memo(f"uid-{n}") for n in range(10)})
    assert "memory of pods not written" in caplog.messages
    hog.unlink()
    assert memory.save({"uid-b": memo("uid-b")})
    memory.close()
    assert [one.uid for one in Memory(disk / "agent.sqlite").load()] == ["uid-a", "uid-b"]


def test_a_disk_that_is_full_from_the_start_stops_nothing(disk: Path) -> None:
    hog = fill(disk)
    memory = Memory(disk / "agent.sqlite")
    assert memory.load() == []
    assert not memory.save({"uid-a": memo("uid-a")})
    hog.unlink()
    assert memory.save({"uid-a": memo("uid-a")})
    memory.close()


def test_a_disk_that_becomes_read_only_stops_nothing(disk: Path) -> None:
    memory = Memory(disk / "agent.sqlite")
    assert memory.load() == []
    memory.close()
    with read_only(disk):
        memory = Memory(disk / "agent.sqlite")
        assert memory.load() == []
        assert not memory.save({"uid-a": memo("uid-a")})
    assert memory.save({"uid-a": memo("uid-a")})
    memory.close()


async def test_what_a_full_disk_refused_is_written_when_it_takes_something_although_no_pod_changes(
    disk: Path, cluster: Cluster, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "SAVE_AGAIN_AFTER", 0.05)
    cluster.settings = replace(cluster.settings, state_dir=disk)
    async with cluster.agent() as agent:
        hog = await asyncio.to_thread(fill, disk)
        await cluster.pod("a", "gpu-0")
        await cluster.condition("a", "True")
        await asyncio.to_thread(hog.unlink)
        async with asyncio.timeout(10):
            while [memo.name for memo in await asyncio.to_thread(Memory(disk / "agent.sqlite").load)] != ["a"]:
                await asyncio.sleep(0.05)
        assert agent.desk.unsaved is False


async def test_an_agent_that_began_on_a_read_only_disk_listens_once_it_can_and_a_second_agent_is_refused(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "TRY_AGAIN", 0.05)

    async def nothing() -> bytes:
        return b""

    answers = listen.Answers(lambda: b"{}", nothing, tuple)
    first, second = (listen.Listener(answers, disk / "agent.sock") for _ in range(2))
    closed = read_only(disk)
    await asyncio.to_thread(closed.__enter__)
    try:
        await first.start()
    finally:
        await asyncio.to_thread(closed.__exit__, None, None, None)
    async with asyncio.timeout(10):
        while not (disk / "agent.sock").exists():
            await asyncio.sleep(0.05)
    with pytest.raises(SocketTaken):
        await second.start()
    await first.stop()
    assert not (disk / "agent.sock").exists()
