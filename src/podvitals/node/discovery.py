"""The plugin directory: which registration sockets are there. inotify says when to look; every look is a whole scan.

* Only sockets count: symbolic links and FIFOs are passed by (a FIFO would hang whoever opens it, a link may lead out of the directory).
* A socket made anew at the same path is another registration: it has another inode or another time of birth. chmod and rename change
  neither. (ctime alone would take the `chmod` after `bind` for a new socket.)
* Sockets are ordered by ctime; one that appears while we watch is newer than all before, whatever the wall clock did meanwhile.
* The directory may be missing, replaced, or full of rubbish: each costs a bounded scan, and is said once a minute. Who is followed where
  there are more than can be is choice.py's to say.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from inotify_simple import INotify, flags

from podvitals.node.choice import Choice, Socket
from podvitals.node.limits import Limits
from podvitals.threads import finished

SCAN_EVERY = 10.0
"""Seconds between scans nothing asked for: inotify may lose events, and a directory may come where none was."""
SCAN_BLIND_EVERY = 1.0
"""Where inotify cannot help: no directory yet, or no watches left."""
SHORTEST_PAUSE = 0.02
"""Seconds between two scans: what changes in between is seen together."""
REST = 4
"""Times as long as a scan took, the next one waits: a directory full of rubbish takes a fifth of a core at most."""
MOST_ENTRIES = 65536
"""Looked at in one scan."""
DEEPEST = 4
_WATCHED = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE_SELF | flags.MOVE_SELF | flags.ATTRIB

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Scan:
    """`passed_by`: entries that are no socket. `missing`: why the directory could not be read, else "". `cut`: some was not looked at."""

    sockets: list[Socket] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    passed_by: int = 0
    missing: str = ""
    cut: bool = False


def scan(root: Path, known: Iterable[Socket] = (), limits: Limits | None = None) -> Scan:
    """Blocks: for a worker thread. What is `known` is looked at first and by itself: no amount of rubbish beside it can hide it."""
    limits, found = limits or Limits(), Scan()
    there = {socket.path: socket for socket in known if _socket(socket.path) == socket.identity}
    found.sockets += there.values()
    # Where known sockets lie, new ones of the same drivers come.
    waiting = [(str(root), 0), *((one, _depth(root, one)) for one in sorted({os.path.dirname(path) for path in there}))]
    seen, left = set[str](), MOST_ENTRIES
    while waiting:
        directory, depth = waiting.pop(0)
        if directory in seen or len(seen) >= limits.directories:
            found.cut = found.cut or directory not in seen
            continue
        seen.add(directory)
        try:
            with os.scandir(directory) as entries:
                found.directories.append(directory)
                for entry in islice(entries, left):
                    left -= 1
                    waiting += _look(found, entry, depth, there)
        except OSError as error:
            if directory == str(root):
                found.missing = os.strerror(error.errno) if error.errno else str(error)
        found.cut = found.cut or not left
    found.sockets.sort(key=lambda one: one.age)
    return found


def _look(found: Scan, entry: "os.DirEntry[str]", depth: int, known: Mapping[str, Socket]) -> Iterator[tuple[str, int]]:
    with suppress(OSError):  # gone since it was listed
        facts = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode) and depth < DEEPEST:
            yield entry.path, depth + 1
        elif not stat.S_ISSOCK(facts.st_mode):
            found.passed_by += 1
        elif entry.path not in known:
            found.sockets.append(Socket(entry.path, _identity(facts), facts.st_ctime_ns, facts.st_uid))


def _depth(root: Path, directory: str) -> int:
    inside = os.path.relpath(directory, root)
    return 0 if inside == "." else inside.count(os.sep) + 1


def _identity(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns


def _socket(path: str) -> tuple[int, int, int] | None:
    """The identity of the socket at the path, None where there is none."""
    with suppress(OSError):
        facts = os.lstat(path)
        if stat.S_ISSOCK(facts.st_mode):
            return _identity(facts)
    return None


class Discovery:
    """Calls `on_found` and `on_lost` in the event loop, in the order of the sockets' birth. `scanned` is set after the first scan."""

    def __init__(
        self,
        root: Path,
        on_found: Callable[[Socket], None],
        on_lost: Callable[[Socket], None],
        is_driver: Callable[[Socket], bool] = lambda _: True,
        limits: Limits | None = None,
    ) -> None:
        self._root, self._limits = root, limits or Limits()
        self._on_found, self._on_lost, self._is_driver = on_found, on_lost, is_driver
        self._known: dict[str, Socket] = {}
        self._choice = Choice(self._limits.sockets)
        self._newest = 0
        self._look_again = asyncio.Event()
        self._said: dict[str, float] = {}
        self._notify: INotify | None = None
        self.scanned = asyncio.Event()
        self.missing = ""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        watches: set[int] = set()
        try:
            # In a thread: the first use of inotify looks for libc, which runs a program.
            await finished(asyncio.to_thread(self._begin))
            if self._notify is not None:
                loop.add_reader(self._notify.fileno(), self._notified, self._notify)
            while True:
                self._look_again.clear()
                started = loop.time()
                found, watches = await finished(asyncio.to_thread(self._scan, self._notify, watches, list(self._known.values())))
                took = loop.time() - started
                self._take(found, loop.time())
                self.scanned.set()
                await asyncio.sleep(max(SHORTEST_PAUSE, REST * took))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._patience(len(watches) == len(found.directories) > 0)):
                        await self._look_again.wait()
        finally:
            if self._notify is not None:
                loop.remove_reader(self._notify.fileno())
                self._notify.close()

    def again(self, socket: Socket) -> None:
        """Another registration is behind it now, although it looks the same."""
        if self._known.get(socket.path) == socket:
            self._lose(socket)
            self._take_up(socket)

    def _patience(self, sees: bool) -> float:
        return SCAN_EVERY if sees and not self._choice.waiting else SCAN_BLIND_EVERY

    def _begin(self) -> None:
        try:
            self._notify = INotify(nonblocking=True)
        except OSError as error:
            log.warning("no inotify (%s): looking into %s every %g s instead", error.strerror, self._root, SCAN_BLIND_EVERY)

    def _notified(self, notify: INotify) -> None:
        # Which event it was does not matter; unread ones would wake us for ever.
        with suppress(OSError):
            notify.read(timeout=0)
        self._look_again.set()

    def _scan(self, notify: INotify | None, before: set[int], known: list[Socket]) -> tuple[Scan, set[int]]:
        """Watches first, then looks: what comes in between is seen twice, not never."""
        found = scan(self._root, known, self._limits)
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
                found = scan(self._root, known, self._limits)
        for watch in before - watches:
            with suppress(OSError):  # it went with its directory
                if notify is not None:
                    notify.rm_watch(watch)
        return found, watches

    def _take(self, found: Scan, now: float) -> None:
        self.missing = found.missing
        if found.missing:
            self._say(f"plugin directory {self._root}: {found.missing}; looking again every {SCAN_BLIND_EVERY:g} s")
        there = {socket.path: socket for socket in found.sockets}
        for path, known in list(self._known.items()):
            if path not in there or there[path].identity != known.identity:
                self._lose(known)
        take, give_up = self._choice.choose(found.sockets, self._known, self._is_driver, now)
        for socket in give_up:
            self._lose(socket)
        for socket in take:
            self._take_up(socket)
        self._tell_excess(found)

    def _take_up(self, socket: Socket) -> None:
        self._newest = born = max(socket.born, self._newest + 1)
        self._known[socket.path] = socket = replace(socket, born=born)
        self._on_found(socket)

    def _lose(self, socket: Socket) -> None:
        del self._known[socket.path]
        self._on_lost(socket)

    def _tell_excess(self, found: Scan) -> None:
        if found.passed_by:
            log.debug("%d entries of %s are no sockets", found.passed_by, self._root)
        if self._choice.waiting:
            most = self._limits.sockets
            self._say(f"plugin directory {self._root} has more sockets than are followed ({most}) or come too fast: some wait their turn")
        if found.cut:
            self._say(f"plugin directory {self._root} is too large to be looked through: remove what is no socket of a driver")

    def _say(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._said.get(text, -60.0) >= 60.0:
            self._said[text] = now
            log.warning(text)
