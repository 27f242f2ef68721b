"""Where a lab keeps its things: one directory, private, short enough for socket paths, used by one lab at a time."""

import fcntl
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from podvitals.errors import InvalidInput, LocalError

LONGEST_ROOT = 55
"""Bytes: the longest path below it is that of a driver's socket, and a socket's path has at most 107."""
_PLAIN = re.compile(r"[A-Za-z0-9._+/-]+")
PARTS = ("plugins_registry", "plugins", "cdi", "sim", "devices", "logs", "pods", "agent")


def default_root() -> Path:
    return Path(f"/tmp/podvitals-lab-{os.getuid()}")


@dataclass(frozen=True, slots=True)
class Layout:
    root: Path

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def run_file(self) -> Path:
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def plugins_registry(self) -> Path:
        return self.root / "plugins_registry"

    @property
    def cdi(self) -> Path:
        return self.root / "cdi"

    @property
    def sim(self) -> Path:
        return self.root / "sim"

    @property
    def devices(self) -> Path:
        return self.root / "devices"

    @property
    def logs(self) -> Path:
        """Of the lab itself, its drivers and its agent; `pod_logs` are the containers'."""
        return self.root / "logs"

    @property
    def pod_logs(self) -> Path:
        return self.root / "logs" / "pods"

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def memory(self) -> Path:
        """What pods hold, for a kubelet that begins anew."""
        return self.root / "held"

    @property
    def agent(self) -> Path:
        return self.root / "agent"

    @property
    def checkpoint(self) -> Path:
        return self.root / "kubelet.db"


class Held:
    """The directory while this process holds it. `release` lets go of the lock; the kernel does so too when the process dies."""

    def __init__(self, layout: Layout, lock: int, made: bool) -> None:
        self.layout, self._lock = layout, lock
        self.made = made
        """Whether the directory itself is the lab's, to be removed at the end."""

    def release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def empty(self) -> None:
        """Removes what is in it, the lock file last."""
        for entry in list(self.layout.root.iterdir()):
            if entry != self.layout.lock:
                _remove(entry)

    def remove(self) -> None:
        self.empty()
        self.layout.lock.unlink(missing_ok=True)
        if self.made:
            self.layout.root.rmdir()


def hold(root: Path) -> Held:
    """Makes the directory or takes over what a dead lab left. Raises InvalidInput or LocalError, which say what is in the way."""
    root = Path(os.path.abspath(root))
    if len(os.fsencode(root)) > LONGEST_ROOT:
        raise InvalidInput(f"{root} is too long for a lab's directory: sockets live in it, so give at most {LONGEST_ROOT} bytes with --dir")
    if not _PLAIN.fullmatch(str(root)):
        raise InvalidInput(
            f"{str(root)!r} cannot be a lab's directory: use letters, digits and . _ - + / only, as detectors' names of it need"
        )
    layout, made = Layout(root), False
    try:
        root.mkdir(mode=0o700)
        made = True
    except FileExistsError:
        _check_ours(layout)
    except OSError as error:
        raise LocalError(f"cannot make the lab's directory {root}: {error.strerror}; give another with --dir") from None
    try:
        lock = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LocalError(f"the lab's directory {root} cannot be used: {error.strerror}; give another with --dir") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise LocalError(
            f"a lab runs in {root} already{_pid(layout)}: stop it with Ctrl-C there, or give another directory with --dir"
        ) from None
    return Held(layout, lock, made)


def furnish(held: Held) -> None:
    """The empty parts of a fresh lab."""
    for part in PARTS:
        (held.layout.root / part).mkdir(mode=0o700, exist_ok=True)
    held.layout.pod_logs.mkdir(mode=0o700, exist_ok=True)


def _check_ours(layout: Layout) -> None:
    root = layout.root
    facts = root.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise LocalError(f"{root} is not a directory: remove it, or give another with --dir")
    if facts.st_uid != os.getuid():
        raise LocalError(f"{root} belongs to another user (uid {facts.st_uid}): give another directory with --dir")
    names = {entry.name for entry in root.iterdir()}
    # Before the advice to chmod, which would be a bad one for /etc.
    if names and "lock" not in names:
        raise LocalError(f"{root} holds files that are no lab's: give an empty directory with --dir")
    if facts.st_mode & 0o077:
        raise LocalError(f"{root} is open to other users: chmod 700 {root}, or give another directory with --dir")


def _pid(layout: Layout) -> str:
    from podvitals.lab.runfile import read

    run = read(layout.run_file)
    return f" (pid {run.lab.pid})" if run is not None else ""


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
