"""The plugin directory: which registration sockets are there. inotify says when to look; every look is a whole scan.

* Only sockets count: symbolic links and FIFOs are passed by (a FIFO would hang whoever opens it, a link may lead out of the directory).
* A socket made anew at the same path is another registration: it has another inode or another time of birth. chmod and rename change
  neither. (ctime alone would take the `chmod` after `bind` for a new socket.)
* Sockets are ordered by ctime; one that appears while we watch is newer than all before, whatever the wall clock did meanwhile.
* The directory may be missing, replaced, or full of rubbish: each costs a bounded scan, and is said once a minute.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from inotify_simple import INotify, flags

SCAN_EVERY = 10.0
"""Seconds between scans nothing asked for: inotify may lose events, and a directory may come where none was."""
SCAN_BLIND_EVERY = 1.0
"""Where inotify cannot help: no directory yet, or no watches left."""
SHORTEST_PAUSE = 0.02
"""Seconds between two scans: what changes in between is seen together."""
MOST_SOCKETS = 512
MOST_DIRECTORIES = 256
DEEPEST = 4
_WATCHED = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE_SELF | flags.MOVE_SELF | flags.ATTRIB

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Socket:
    """A registration socket. `identity` tells it from another at the same path; `born` orders sockets (ns)."""

    path: str
    identity: tuple[int, int, int]
    born: int


@dataclass(slots=True)
class Scan:
    """`passed_by`: how many entries were no socket or beyond a limit. `missing`: why the directory could not be read, else ""."""

    sockets: list[Socket] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    passed_by: int = 0
    missing: str = ""


def scan(root: Path) -> Scan:
    """Blocks: for a worker thread."""
    found = Scan()
    waiting = [(str(root), 0)]
    while waiting:
        directory, depth = waiting.pop(0)
        try:
            with os.scandir(directory) as entries:
                found.directories.append(directory)
                for entry in entries:
                    waiting += _look(found, entry, depth)
        except OSError as error:
            if depth == 0:
                found.missing = os.strerror(error.errno) if error.errno else str(error)
    found.sockets.sort(key=lambda one: (one.born, one.path))
    return found


def _look(found: Scan, entry: "os.DirEntry[str]", depth: int) -> Iterator[tuple[str, int]]:
    with suppress(OSError):  # gone since it was listed
        facts = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode) and depth < DEEPEST and len(found.directories) < MOST_DIRECTORIES:
            yield entry.path, depth + 1
        elif stat.S_ISSOCK(facts.st_mode) and len(found.sockets) < MOST_SOCKETS:
            found.sockets.append(Socket(entry.path, (facts.st_dev, facts.st_ino, facts.st_mtime_ns), facts.st_ctime_ns))
        else:
            found.passed_by += 1


class Discovery:
    """Calls `on_found` and `on_lost` in the event loop, in the order of the sockets' birth. `scanned` is set after the first scan."""

    def __init__(self, root: Path, on_found: Callable[[Socket], None], on_lost: Callable[[Socket], None]) -> None:
        self._root = root
        self._on_found, self._on_lost = on_found, on_lost
        self._known: dict[str, Socket] = {}
        self._newest = 0
        self._look_again = asyncio.Event()
        self._said: dict[str, float] = {}
        self.scanned = asyncio.Event()
        self.missing = ""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        # Made in a thread: the first use of inotify looks for libc, which runs a program.
        notify = await asyncio.to_thread(self._notifier)
        watches: set[int] = set()
        try:
            if notify is not None:
                loop.add_reader(notify.fileno(), self._notified, notify)
            while True:
                self._look_again.clear()
                found, watches = await asyncio.to_thread(self._scan, notify, watches)
                self._take(found)
                self.scanned.set()
                await asyncio.sleep(SHORTEST_PAUSE)
                with suppress(TimeoutError):
                    async with asyncio.timeout(SCAN_EVERY if len(watches) == len(found.directories) > 0 else SCAN_BLIND_EVERY):
                        await self._look_again.wait()
        finally:
            if notify is not None:
                loop.remove_reader(notify.fileno())
                notify.close()

    def _notifier(self) -> INotify | None:
        try:
            return INotify(nonblocking=True)
        except OSError as error:
            log.warning("no inotify (%s): looking into %s every %g s instead", error.strerror, self._root, SCAN_BLIND_EVERY)
            return None

    def _notified(self, notify: INotify) -> None:
        # Which event it was does not matter; unread ones would wake us for ever.
        with suppress(OSError):
            notify.read(timeout=0)
        self._look_again.set()

    def _scan(self, notify: INotify | None, before: set[int]) -> tuple[Scan, set[int]]:
        """Watches first, then looks: what comes in between is seen twice, not never."""
        found = scan(self._root)
        watches: set[int] = set()
        fresh = notify is not None
        while notify is not None and fresh:
            fresh = False
            for directory in found.directories:
                with suppress(OSError):  # it is gone, or the user's limit of watches is reached
                    watch = notify.add_watch(directory, _WATCHED)
                    fresh = fresh or watch not in before | watches
                    watches.add(watch)
            if fresh:
                found = scan(self._root)
        for watch in before - watches:
            with suppress(OSError):  # it went with its directory
                if notify is not None:
                    notify.rm_watch(watch)
        return found, watches

    def _take(self, found: Scan) -> None:
        self.missing = found.missing
        if found.missing:
            self._say(f"plugin directory {self._root}: {found.missing}; looking again every {SCAN_BLIND_EVERY:g} s")
        if found.passed_by:
            log.debug("%d entries of %s are no sockets, or too many", found.passed_by, self._root)
        if len(found.sockets) >= MOST_SOCKETS:
            self._say(f"plugin directory {self._root} has more than {MOST_SOCKETS} sockets: the others are not looked at")
        now = {socket.path: socket for socket in found.sockets}
        for path, known in list(self._known.items()):
            if path not in now or now[path].identity != known.identity:
                del self._known[path]
                self._on_lost(known)
        for socket in found.sockets:
            if socket.path not in self._known:
                self._newest = born = max(socket.born, self._newest + 1)
                self._known[socket.path] = socket = Socket(socket.path, socket.identity, born)
                self._on_found(socket)

    def _say(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._said.get(text, -60.0) >= 60.0:
            self._said = {text: now}
            log.warning(text)
