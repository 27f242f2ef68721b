"""Drivers and agent as the lab's children: restarted when they end, gone with the lab."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podvitals.lab.children import Child, ChildSpec, Process, stop_all
from podvitals.lab.kubelet.launch import launch_line


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    made = Child(ChildSpec("version", ["version"], tmp_path / "log"), dict(os.environ))
    yield made
    stop_all([made])


async def test_a_child_that_ends_is_said_and_started_again(child: Child) -> None:
    told: asyncio.Queue[object] = asyncio.Queue()
    first = child.process.pid
    keeper = asyncio.create_task(child.keep(lambda _, code: told.put(code), lambda again: told.put(again.process.pid)))
    async with asyncio.timeout(20):
        assert await told.get() == 0
        assert await told.get() != first
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)


def test_the_last_line_of_its_log_is_kept_for_who_asks(tmp_path: Path) -> None:
    made = Child(ChildSpec("nonsense", ["no-such-command"], tmp_path / "log"), dict(os.environ))
    while made.process.poll() is None:
        pass
    assert made.process.poll() == 2
    assert "no-such-command" in made.last_words()


async def test_an_exit_is_noticed_without_a_thread(tmp_path: Path) -> None:
    process = Process(["/bin/sh", "-c", "echo said; exit 5"], {}, tmp_path / "log")
    async with asyncio.timeout(10):
        assert await process.ended() == 5
    assert await asyncio.to_thread((tmp_path / "log").read_text) == "said\n"


async def test_an_exit_is_noticed_where_the_kernel_has_no_pidfd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError

    monkeypatch.setattr(os, "pidfd_open", refuse)
    process = Process(["/bin/sh", "-c", "kill -KILL $$"], {}, tmp_path / "log")
    async with asyncio.timeout(10):
        assert await process.ended() == -signal.SIGKILL


def test_a_process_dies_with_the_one_that_launched_it(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "from podvitals.lab.kubelet.launch import launch_line\n"
        "child = subprocess.Popen(launch_line('/bin/sleep', ['sleep', '1000'], {}), start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watched = os.pidfd_open(pid)
        while b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
            pass  # the launcher is still at work
        parent.send_signal(signal.SIGKILL)
    import select

    assert select.select([watched], [], [], 10)[0], "the kernel kills it when its parent dies"
    os.close(watched)


def test_a_launcher_whose_parent_is_gone_already_does_nothing() -> None:
    line = launch_line("/bin/true", ["true"], {})
    line[line.index(str(os.getpid()))] = "1"
    assert subprocess.run(line, check=False).returncode == 137
