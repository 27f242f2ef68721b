"""What a Unix socket's path can tell: whether it fits, whether somebody listens. It blocks: call it off the loop."""

import errno
import os
import socket
import stat
from pathlib import Path

from podvitals.errors import InvalidInput, LocalError

LONGEST_PATH = 107
"""Bytes `sun_path` holds beside its closing zero."""


def check_path(path: Path | str) -> Path:
    """The path, or InvalidInput where no socket can have it."""
    encoded = os.fsencode(path)
    if len(encoded) > LONGEST_PATH:
        raise InvalidInput(
            f"socket path {path} has {len(encoded)} bytes, a Unix socket may have {LONGEST_PATH}: choose a shorter directory"
        )
    if b"\0" in encoded or not encoded:
        raise InvalidInput(f"{os.fspath(path)!r} cannot be a socket path: it is empty or contains a zero byte")
    return Path(path)


def is_live(path: Path | str) -> bool:
    """Whether a process listens there. A socket whose process died refuses; a full backlog is a sign of life.

    Raises LocalError when this cannot be found out (no right, or something there that is no socket)."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with probe:
        code = probe.connect_ex(os.fspath(check_path(path)))
    if code in (0, errno.EAGAIN, errno.EINPROGRESS):
        return True
    if code in (errno.ENOENT, errno.ECONNREFUSED):
        # A regular file refuses too.
        if code == errno.ECONNREFUSED and not is_socket(path):
            raise LocalError(f"{path} exists and is not a socket: remove it or choose another path")
        return False
    raise LocalError(f"cannot tell whether somebody listens at {path}: {os.strerror(code)}")


def is_socket(path: Path | str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def identity(path: Path | str) -> tuple[int, int] | None:
    """Device and inode of what lies at the path, None for nothing: the same path may hold another process's socket a moment later."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
