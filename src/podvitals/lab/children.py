"""The lab's other processes, drivers and agent: started before anything heavy is imported, kept running, ended with the lab."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
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


class Process:
    """A process in a session of its own, by posix_spawn: it waits for nothing, so the event loop may start one too.

    Start it in the main thread: it dies with the thread that started it (`launch.py`)."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        line = launch_line(argv[0], argv, env)
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        self.pid = os.posix_spawn(line[0], line, dict(env), file_actions=files, setsid=True)
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, -n for signal n; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    async def ended(self) -> int:
        """Waits without a thread: a pidfd becomes readable when its process ends."""
        try:
            watched = os.pidfd_open(self.pid)
        except OSError:  # a kernel before 5.3, or a sandbox without the call
            watched = -1
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        if watched >= 0:
            loop.add_reader(watched, readable.set)
        try:
            while (code := self.poll()) is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if watched >= 0 else 0.1):
                        await readable.wait()
                readable.clear()
            return code
        finally:
            if watched >= 0:
                loop.remove_reader(watched)
                os.close(watched)

    def signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


class Child:
    """A podvitals process: `keep` starts it again whenever it ends."""

    def __init__(self, spec: ChildSpec, env: Mapping[str, str]) -> None:
        self.spec, self._env = spec, env
        self.process = self._start()

    def _start(self) -> Process:
        # -P: a directory named podvitals where the lab was started must not be imported in its place.
        return Process([sys.executable, "-P", "-m", "podvitals", *self.spec.words], self._env, self.spec.log)

    async def keep(self, ended: Callable[["Child", int], Awaitable[None]], restarted: Callable[["Child"], Awaitable[None]]) -> None:
        """A moment later each time, longer while it keeps ending soon; until cancelled."""
        pause = RESTART_FIRST
        while True:
            began = time.monotonic()
            code = await self.process.ended()
            await ended(self, code)
            pause = RESTART_FIRST if time.monotonic() - began > 10 * RESTART_CAP else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_CAP)
            self.process = self._start()
            await restarted(self)

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
        child.process.signal(signal.SIGTERM)
        child.process.signal(signal.SIGCONT)
    deadline = time.monotonic() + STOP_SECONDS
    while any(child.process.poll() is None for child in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    for child in children:
        child.process.signal(signal.SIGKILL)
        while child.process.poll() is None:
            time.sleep(0.01)
