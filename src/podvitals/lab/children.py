"""The lab's other processes, drivers and agent: started before anything heavy is imported, kept running, ended with the lab."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podvitals.lab.kubelet.launch import launch_line

RESTART_FIRST, RESTART_CAP = 0.3, 5.0
"""Seconds before a child that ended by itself is started again."""
STOP_SECONDS = 2.0
LAST_WORDS = 4096


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """`name` as people read it; `words`: what follows `podvitals` on its command line; `log`: where its output goes."""

    name: str
    words: Sequence[str]
    log: Path


class Child:
    """One process at a time. Start it in the main thread: it dies with the thread that started it."""

    def __init__(self, spec: ChildSpec, env: Mapping[str, str]) -> None:
        self.spec, self._env = spec, env
        self.process = self._spawn()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        # -P: a directory named podvitals where the lab was started must not be imported in its place.
        line = [sys.executable, "-P", "-m", "podvitals", *self.spec.words]
        with self.spec.log.open("ab") as log:
            return subprocess.Popen(
                launch_line(sys.executable, line, self._env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._env),
                start_new_session=True,
            )

    async def keep(self, ended: Callable[["Child", int], None], restarted: Callable[["Child"], None]) -> None:
        """Starts it again whenever it ends, a moment later, longer each time; until cancelled."""
        pause = RESTART_FIRST
        while True:
            began = time.monotonic()
            code = await exit_of(self.process)
            ended(self, code)
            pause = RESTART_FIRST if time.monotonic() - began > 10 * RESTART_CAP else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_CAP)
            self.process = self._spawn()
            restarted(self)

    def last_words(self) -> str:
        """The last line of its log, for whoever asks why it ended. Blocks."""
        try:
            with self.spec.log.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - LAST_WORDS))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""


def stop_all(children: Sequence[Child]) -> None:
    """SIGTERM to all, SIGKILL to those that have not ended after two seconds. Blocks."""
    for child in children:
        _signal(child, signal.SIGTERM)
        _signal(child, signal.SIGCONT)
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.01, deadline - time.monotonic()))
    for child in children:
        _signal(child, signal.SIGKILL)
        child.process.wait()


async def exit_of(process: "subprocess.Popen[bytes]") -> int:
    """Waits without a thread: a pidfd becomes readable when its process ends."""
    try:
        watched = os.pidfd_open(process.pid)
    except OSError:  # a kernel before 5.3, or a sandbox without the call
        while (code := process.poll()) is None:
            await asyncio.sleep(0.1)
        return code
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)
    return process.wait()


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)
