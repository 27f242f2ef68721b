"""Cleaning up after a lab that was killed: everything of its own, and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podvitals.lab import runfile
from podvitals.lab.runfile import MARK, new_run


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def sleeper(mark: str | None) -> subprocess.Popen[bytes]:
    env = dict(os.environ) | ({MARK: mark} if mark else {})
    process = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(1000)"], env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def test_processes_with_the_runs_mark_are_killed_and_no_others(started: list[subprocess.Popen[bytes]]) -> None:
    run = new_run()
    mine, other_run, foreign = sleeper(run.id), sleeper("another"), sleeper(None)
    started += [mine, other_run, foreign]
    assert runfile.sweep(run.id) == [mine.pid]
    assert mine.wait(10) == -signal.SIGKILL
    assert other_run.poll() is None
    assert foreign.poll() is None


def test_what_marked_processes_started_is_found_too(started: list[subprocess.Popen[bytes]]) -> None:
    run = new_run()
    shell = subprocess.Popen(["sh", "-c", "setsid sleep 1000 & echo; wait"], env=dict(os.environ) | {MARK: run.id}, stdout=subprocess.PIPE)
    started.append(shell)
    assert shell.stdout is not None
    shell.stdout.readline()
    assert len(runfile.sweep(run.id)) >= 2
    shell.stdout.close()
    assert list(runfile.marked(run.id)) == []


def test_a_run_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run = new_run()
    run.veth = "rail0"
    run.children = [runfile.process("agent", os.getpid())]
    runfile.write(tmp_path / "run.json", run)
    assert runfile.read(tmp_path / "run.json") == run
    assert run.children[0].started > 0


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"id": 3}'])
def test_a_run_file_that_cannot_be_read_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert runfile.read(tmp_path / "run.json") is None
