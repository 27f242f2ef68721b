"""What containers wrote: one file a run, the current and the previous one kept, served as `kubectl logs [-f] [--previous]` asks."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from podvitals.clock import Clock
from podvitals.errors import NotFound

CHUNK = 64 * 1024
LARGEST = 10 * 1024 * 1024
"""Bytes of a log, upstream's containerLogMaxSize; a larger one begins anew, since nobody rotates a file that a process has open."""
SMALL_EVERY = 5.0
LOOK_EVERY = 0.1
"""Seconds between looks at a log that is followed."""


class Logs:
    """Paths of log files. `begin` and `drop` touch the disk: call them in a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, pod_uid: str, container: str, attempt: int) -> Path:
        return self._root / pod_uid / f"{container}.{attempt}.log"

    def begin(self, pod_uid: str, container: str, attempt: int) -> Path:
        """The file of a run that starts now; the run before the previous one loses its file."""
        path = self.path(pod_uid, container, attempt)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path(pod_uid, container, attempt - 2).unlink(missing_ok=True)
        return path

    def drop(self, pod_uid: str) -> None:
        shutil.rmtree(self._root / pod_uid, ignore_errors=True)

    async def keep_small(self, clock: Clock) -> None:
        """Until cancelled: a container that writes without end must not fill the disk."""
        while True:
            await asyncio.to_thread(self.cut)
            await clock.sleep_until(clock.now() + SMALL_EVERY)

    def cut(self) -> None:
        with contextlib.suppress(OSError):  # a directory that goes meanwhile, no more files to be opened: there is a next time
            for path in self._root.glob("*/*.log"):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_size > LARGEST:
                        os.truncate(path, 0)


async def read(path: Path, clock: Clock, *, tail: int | None = None, follow: Callable[[], bool] | None = None) -> AsyncIterator[bytes]:
    """The file's bytes, the last `tail` lines only if given. `follow` says whether the container still runs: then what it writes comes too.

    Raises NotFound where the file is gone."""
    offset = await asyncio.to_thread(_tail_offset, path, tail)
    while True:
        running = follow is not None and follow()
        offset, chunk = await asyncio.to_thread(_read_at, path, offset)
        if chunk:
            yield chunk
        elif running:
            await clock.sleep_until(clock.now() + LOOK_EVERY)
        else:
            return


def _read_at(path: Path, offset: int) -> tuple[int, bytes]:
    """A chunk, and where the next begins; from the start again where the file was cut meanwhile."""
    try:
        with path.open("rb") as file:
            file.seek(offset if offset <= file.seek(0, 2) else 0)
            chunk = file.read(CHUNK)
            return file.tell(), chunk
    except FileNotFoundError:
        return offset, b""


def _tail_offset(path: Path, lines: int | None) -> int:
    try:
        with path.open("rb") as file:
            if lines is None:
                return 0
            end = file.seek(0, 2)
            if lines == 0 or end == 0:
                return end
            file.seek(end - 1)
            left = lines + 1 if file.read(1) == b"\n" else lines
            at = end
            while at > 0:
                start = max(0, at - CHUNK)
                file.seek(start)
                block = file.read(at - start)
                if (count := block.count(b"\n")) >= left:
                    cut = len(block)
                    for _ in range(left):
                        cut = block.rindex(b"\n", 0, cut)
                    return start + cut + 1
                left -= count
                at = start
            return 0
    except FileNotFoundError:
        raise NotFound(f"the log {path.name} is not kept any more", status=404, reason="NotFound") from None
