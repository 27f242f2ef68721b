"""The file beside a checkpoint that says whose it is, and whether it is current. Blocks: for the checkpoint's thread.

* It is held by flock, so it is free when its process is gone, however it went. It is never removed: a removed one could be locked twice.
* Its first word is what the checkpoint may be believed for: `new` until something was saved, `current`, or `behind` where the last change
  could not be written. It is written in place, which a full disk allows too.
* A disk that became read-only allows nothing, and may be writable again when the next process looks. So that it was left behind is noted
  in memory that outlives the process, if not the boot or the pod.
"""

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

NEW, CURRENT, BEHIND = "new", "current", "behind"
_WIDTH = 8
_POLL = 0.05
MEMORY = Path("/dev/shm")
"""Files here live as long as the boot; those of a container as long as its pod, however often it is restarted."""


class Held(Exception):
    """Another process has it; the text says which."""


class Lock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    @property
    def held(self) -> bool:
        return self._file is not None

    def take(self, patience: float) -> str:
        """Takes it, waiting for `patience` seconds at most; returns the word the last owner left, "" if there was none.

        Raises Held, or OSError where the directory allows no such file."""
        if self._file is not None:
            return self._word(self._file)
        file = self._open()
        try:
            self._wait(file, time.monotonic() + patience)
            word = BEHIND if _is_ours(_note(file)) else self._word(file)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return word

    def mark(self, word: str) -> None:
        """Raises OSError where the disk does not let it."""
        assert self._file is not None
        who = f"process {os.getpid()} on {os.uname().nodename}\n"
        os.pwrite(self._file, word.ljust(_WIDTH).encode() + who.encode(), 0)
        os.ftruncate(self._file, _WIDTH + len(who.encode()))
        os.fsync(self._file)
        with suppress(OSError):
            os.unlink(_note(self._file))

    def disown(self) -> None:
        """Marks it as behind, wherever that is possible. Raises OSError where it is nowhere."""
        assert self._file is not None
        try:
            self.mark(BEHIND)
        except OSError:
            os.close(os.open(_note(self._file), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)

    @staticmethod
    def _wait(file: int, until: float) -> None:
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() >= until:
                raise Held(_text(file)[_WIDTH:].strip() or "another process")
            time.sleep(_POLL)

    @staticmethod
    def _word(file: int) -> str:
        return _text(file)[:_WIDTH].strip()


def _text(file: int) -> str:
    return os.pread(file, 256, 0).decode(errors="replace")


def _note(file: int) -> Path:
    """That it is behind, where its own disk cannot be written."""
    facts = os.fstat(file)
    return MEMORY / f"podvitals-{facts.st_dev:x}-{facts.st_ino:x}-behind"


def _is_ours(note: Path) -> bool:
    """Anybody may make files there."""
    with suppress(OSError):
        facts = os.lstat(note)
        return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
    return False
