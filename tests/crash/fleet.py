"""Worlds at a time, each a process of its own (worker.py), and who sees to it that nothing of them stays."""

import asyncio
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster import processes
from tests.crash.report import NodeReport

ROUND_TAKES = 180.0
"""Seconds after which a round that says nothing has hung."""
ENDS_WITHIN = 20.0


class Fleet:
    """`run` gives the reports as they come. When it is left, by Ctrl-C or kill -9 too, no process, mount or file of it is left: a guard
    beside it waits for its end (tests/cluster/processes.py)."""

    def __init__(self, worlds: int) -> None:
        self._worlds = asyncio.Semaphore(worlds)
        self._at_once = worlds
        self._numbers = itertools.count()
        self._root = Path()
        self._guard: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        # Short: sockets live in it.
        self._root = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="pvc-", dir="/tmp"))
        line = [sys.executable, processes.__file__, str(self._root)]
        self._guard = await asyncio.create_subprocess_exec(*line, stdin=asyncio.subprocess.PIPE, start_new_session=True)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        await asyncio.shield(self._guard.wait())

    async def run(self, seeds: Iterable[int], *, twin: str = "", must: str = "", at_once: int = 0) -> AsyncGenerator[NodeReport]:
        """A round for each seed, in worlds that go on from round to round as long as nothing is wrong."""
        waiting = iter(list(seeds))
        reports: asyncio.Queue[NodeReport | None] = asyncio.Queue()

        async def keep_going() -> None:
            async with self._worlds:
                for seed in waiting:
                    async with aclosing(self._world(seed, waiting, twin, must)) as told:
                        async for report in told:
                            reports.put_nowait(report)
            reports.put_nowait(None)

        count = at_once or self._at_once
        tasks = [asyncio.create_task(keep_going(), name="crash: a world") for _ in range(count)]
        try:
            while count:
                report = await reports.get()
                if report is None:
                    count -= 1
                else:
                    yield report
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _world(self, first: int, more: Iterator[int], twin: str, must: str) -> AsyncGenerator[NodeReport]:
        """One world, from its first seed to the one that goes wrong or the last."""
        root = self._root / f"w{next(self._numbers)}"
        await asyncio.to_thread(root.mkdir)
        log = await asyncio.to_thread(open, self._root / f"{root.name}.log", "wb")
        words = [sys.executable, "-m", "tests.crash.worker", str(root), *([twin] if twin else [])]
        env = os.environ | {processes.MARK: str(self._root)}
        pipe = asyncio.subprocess.PIPE
        worker = await asyncio.create_subprocess_exec(
            *words, stdin=pipe, stdout=pipe, stderr=log, env=env, start_new_session=True, limit=1 << 24
        )
        try:
            for seed in itertools.chain([first], more):
                report = await self._round(worker, seed, must, Path(log.name))
                yield report
                if report.wrong:
                    return
        finally:
            await asyncio.shield(self._end(worker))
            log.close()
            await asyncio.to_thread(shutil.rmtree, root, True)

    async def _round(self, worker: asyncio.subprocess.Process, seed: int, must: str, log: Path) -> NodeReport:
        assert worker.stdin is not None
        assert worker.stdout is not None
        said = b""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(ROUND_TAKES):
                worker.stdin.write(f"{seed} {must}\n".encode())
                await worker.stdin.drain()
                said = await worker.stdout.readline()
        if said:
            report = NodeReport(**json.loads(said))
            report.seed = seed
            return report
        words = (await asyncio.to_thread(log.read_text, errors="replace")).strip()
        return NodeReport(seed, [must] if must else [], wrong=[("no verdict", f"the world ended or hung: {words[-2000:]}")])

    @staticmethod
    async def _end(worker: asyncio.subprocess.Process) -> None:
        if worker.stdin is not None:
            worker.stdin.close()
        try:
            async with asyncio.timeout(ENDS_WITHIN):
                await worker.wait()
        except TimeoutError:
            worker.kill()  # its processes die with it, its mounts are the guard's
            await worker.wait()
