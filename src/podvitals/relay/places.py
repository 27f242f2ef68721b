"""Where a stand-in's two sockets lie.

The kubelet finds the registration in its own plugin directory and connects to the endpoint by the path it is told, so that path must be
the same for the kubelet and for us: a mount of the host's directory at the host's path. No path is ever used twice: the kubelet refuses a
second registration with an endpoint it knows (CONTRACT §1).
"""

import os
import stat
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from podvitals.errors import LocalError
from podvitals.wire.endpoint import LONGEST_PATH, check_path, is_live

_MARK = "-podvitals-"
_SUFFIX = "-reg.sock"
_BOUND = 0.1
"""Seconds from bind() to listen(), at most."""


@dataclass(frozen=True, slots=True)
class Sockets:
    registration: Path
    endpoint: Path


class Places:
    """`kubelet_dir`: the kubelet's plugins_registry. `run_dir`: a directory of ours, private to root."""

    def __init__(self, kubelet_dir: Path, run_dir: Path) -> None:
        self.kubelet_dir, self.run_dir = kubelet_dir, run_dir

    def prepare(self) -> None:
        """Makes `run_dir`. Blocks. LocalError where it cannot, or where the kubelet's directory is not there."""
        make_run_dir(self.run_dir)
        kubelets = f"the kubelet's plugin directory {self.kubelet_dir}"
        if not os.path.isdir(self.kubelet_dir):
            wrong = "is not a directory" if os.path.exists(self.kubelet_dir) else "does not exist"
            raise LocalError(f"{kubelets} {wrong}: mount it from the host, or give another --kubelet-dir")
        for directory in (self.run_dir, self.kubelet_dir):
            if directory.stat().st_mode & stat.S_IWOTH:
                raise LocalError(f"directory {directory} is writable by everybody, who could then stand in for drivers: chmod o-w it")
        if not os.access(self.kubelet_dir, os.W_OK | os.X_OK):
            raise LocalError(f"{kubelets} is not writable: run as root, or give another --kubelet-dir")

    def make(self, driver: str) -> Sockets:
        """Two new paths for a stand-in of this driver."""
        registration = self.named(driver, _MARK)
        token = registration.name.removesuffix(_SUFFIX).rpartition("-")[2]
        return Sockets(registration, check_path(self.run_dir / f"{self.short(driver)}-{token}.sock"))

    def named(self, driver: str, mark: str) -> Path:
        """A new path of this kind in the kubelet's directory."""
        return check_path(self.kubelet_dir / f"{self.short(driver)}{mark}{os.urandom(4).hex()}{_SUFFIX}")

    def short(self, driver: str) -> str:
        """The driver's name, where the kubelet's directory leaves room for it in a socket's path; else its beginning and a digest."""
        room = LONGEST_PATH - len(os.fsencode(self.kubelet_dir)) - 32
        return driver if len(driver) <= room else f"{driver[: max(0, room - 13)]}-{blake2b(driver.encode(), digest_size=6).hexdigest()}"

    def sweep(self) -> int:
        """Removes the stand-ins of relays that are dead; how many registrations that were. Blocks.

        The kubelet knows already that nobody is there; what it must not do is find them again when it restarts."""
        found = [*self.kubelet_dir.glob(f"*{_MARK}*{_SUFFIX}"), *self.run_dir.glob(f"*-{'[0-9a-f]' * 8}.sock")]
        silent = [path for path in found if _silent(path)]
        if silent:
            # Another relay may run beside this one, and have bound a socket it does not listen at yet.
            time.sleep(_BOUND)
        gone = [path for path in silent if _silent(path) and _remove(path)]
        return sum(path.parent == self.kubelet_dir for path in gone)


def make_run_dir(path: Path) -> bool:
    """Sees to it that a relay or its keeper can work there; whether it was not there before. Blocks. LocalError that says what to do."""
    there = os.path.exists(path)
    if there and not os.path.isdir(path):
        raise LocalError(f"{path} is not a directory: give another --run-dir")
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LocalError(f"cannot make directory {path}: {error.strerror}: run as root, or give another --run-dir") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise LocalError(f"directory {path} is not writable: run as root, or give another --run-dir")
    return not there


def _silent(path: Path) -> bool:
    try:
        return not is_live(path)
    except LocalError:
        return False


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
