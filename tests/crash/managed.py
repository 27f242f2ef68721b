"""A process of a world: started, killed, stopped and gone on with; it dies with the world (lab/kubelet/launch.py)."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from podvitals.lab.children import Process

ENDS_WITHIN = 15.0


class Managed:
    """`on_end(managed, code)` hears of an end that nobody asked for."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path, on_end: Callable[["Managed", int], None]) -> None:
        self.name, self._argv, self._env, self._log, self._on_end = name, argv, env, log, on_end
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._meant = False
        self.stopped = False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """When it was started."""
        at = time.monotonic()
        self._meant = self.stopped = False
        self._process = Process(self._argv, self._env, self._log)
        self._watching = asyncio.create_task(self._watch(self._process), name=f"crash: process {self.name}")
        return at

    async def end(self, number: signal.Signals = signal.SIGKILL, within: float = ENDS_WITHIN) -> float:
        """Until it has ended: by SIGKILL where it does not end otherwise `within` seconds. When that was."""
        if self._process is None or self._watching is None:
            return time.monotonic()
        self._meant = True
        self._process.signal(number)
        if self.stopped:
            self._process.signal(signal.SIGCONT)
        done, _ = await asyncio.wait({self._watching}, timeout=within)
        if not done:
            self._process.signal(signal.SIGKILL)
            await asyncio.wait({self._watching})
        return time.monotonic()

    def stop(self) -> float:
        assert self._process is not None
        self._process.signal(signal.SIGSTOP)
        self.stopped = True
        return time.monotonic()

    def go_on(self) -> float:
        at = time.monotonic()
        if self._process is not None and self.stopped:
            self._process.signal(signal.SIGCONT)
        self.stopped = False
        return at

    async def _watch(self, process: Process) -> None:
        code = await process.ended()
        if not self._meant:
            self._on_end(self, code)
