"""Changes in directories, pushed by the kernel (inotify), as seen from an event loop."""

import asyncio
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import inotify_simple
from inotify_simple import INotify, flags, parse_events

# Left to itself the library looks for libc by starting ldconfig or a compiler, and would do so inside the event loop.
inotify_simple._libc = inotify_simple._libc or ctypes.CDLL(None, use_errno=True)

_READ_SIZE = 65536
_AWAY = flags.IGNORED | flags.UNMOUNT | flags.MOVE_SELF
WRITTEN = flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE
PRESENCE = flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE


class Directories:
    """A set of watched directories. `add` what is to be watched, then `changes()` again and again."""

    def __init__(self, inotify: INotify) -> None:
        self._inotify = inotify
        self._paths: dict[int, Path] = {}
        self._readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(inotify.fileno(), self._readable.set)

    @property
    def watched(self) -> frozenset[Path]:
        return frozenset(self._paths.values())

    def add(self, directory: Path, mask: int) -> bool:
        """Whether the directory could be watched. One already watched is watched once."""
        if directory in self._paths.values():
            return True
        try:
            self._paths[self._inotify.add_watch(directory, mask | flags.MOVE_SELF | flags.ONLYDIR)] = directory
        except OSError:
            return False
        return True

    async def changes(self) -> set[Path] | None:
        """The paths that changed since the last call, after waiting for some. None: changes were lost, or a directory went; look at all."""
        await self._readable.wait()
        self._readable.clear()
        paths: set[Path] = set()
        lost = False
        for event in self._events():
            if event.mask & flags.Q_OVERFLOW:
                lost = True
            elif event.mask & _AWAY:
                lost = True
                self._paths.pop(event.wd, None)
            elif event.wd in self._paths:
                paths.add(self._paths[event.wd] / event.name)
        return None if lost else paths

    def _events(self) -> Iterator[Any]:
        try:
            yield from parse_events(os.read(self._inotify.fileno(), _READ_SIZE))
        except BlockingIOError:
            return

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._inotify.fileno())
        self._inotify.close()


@contextmanager
def directories() -> Iterator[Directories]:
    """Raises OSError where the kernel gives no more inotify instances (fs.inotify.max_user_instances)."""
    watch = Directories(INotify(nonblocking=True))
    try:
        yield watch
    finally:
        watch.close()
