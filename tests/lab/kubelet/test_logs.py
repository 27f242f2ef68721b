"""Kept logs, read as kubectl asks."""

import asyncio
import errno
from pathlib import Path

import pytest

from podvitals.clock import SYSTEM
from podvitals.errors import NotFound
from podvitals.lab.kubelet import logs
from podvitals.lab.kubelet.logs import Logs, read


async def text(path: Path, tail: int | None = None) -> str:
    return b"".join([chunk async for chunk in read(path, SYSTEM, tail=tail)]).decode()


@pytest.mark.parametrize(
    ("tail", "expected"), [(None, "a\nb\nc\n"), (0, ""), (1, "c\n"), (2, "b\nc\n"), (3, "a\nb\nc\n"), (9, "a\nb\nc\n")]
)
async def test_the_last_lines_are_found(tmp_path: Path, tail: int | None, expected: str) -> None:
    (tmp_path / "log").write_text("a\nb\nc\n")
    assert await text(tmp_path / "log", tail) == expected


async def test_the_last_lines_are_found_across_blocks_and_without_a_newline_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "CHUNK", 3)
    (tmp_path / "log").write_text("first\nsecond\nthird")
    assert await text(tmp_path / "log", 1) == "third"
    assert await text(tmp_path / "log", 2) == "second\nthird"


async def test_a_followed_log_goes_on_until_the_container_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    runs = [True]
    seen: list[bytes] = []
    async with asyncio.timeout(10):
        async for chunk in read(path, SYSTEM, follow=lambda: bool(runs)):
            seen.append(chunk)
            if len(seen) == 1:
                with path.open("a") as file:
                    file.write("two\n")
                runs.clear()
    assert b"".join(seen) == b"one\ntwo\n"


async def test_a_log_that_is_gone_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not kept any more"):
        await text(tmp_path / "nope")


def test_the_current_and_the_previous_run_are_kept(tmp_path: Path) -> None:
    kept = Logs(tmp_path)
    for attempt in range(4):
        kept.begin("u", "main", attempt).write_text(str(attempt))
    assert sorted(path.name for path in (tmp_path / "u").iterdir()) == ["main.2.log", "main.3.log"]
    kept.drop("u")
    assert not (tmp_path / "u").exists()


async def test_a_log_that_grows_without_end_begins_anew_and_can_be_followed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LARGEST", 8)
    kept = Logs(tmp_path)
    path = await asyncio.to_thread(kept.begin, "u", "main", 0)
    path.write_text("0123456789\n")
    runs = [True]
    seen: list[bytes] = []
    async with asyncio.timeout(10):
        async for chunk in read(path, SYSTEM, follow=lambda: bool(runs)):
            seen.append(chunk)
            if len(seen) == 1:
                await asyncio.to_thread(kept.cut)
                with path.open("a") as file:
                    file.write("new\n")
                runs.clear()
    assert seen == [b"0123456789\n", b"new\n"]


def test_logs_that_cannot_be_looked_through_now_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_files(_: Path, __: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "glob", no_more_files)
    Logs(tmp_path).cut()
