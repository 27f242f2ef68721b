"""Real disks for tests: loop devices over files (Linux, include/uapi/linux/loop.h)."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.roots import requires

_ADD, _REMOVE = 0x4C80, 0x4C81
_FIRST_SPARE = 64
"""Number of the loop devices that tests make and remove: nobody else's."""
_GET_FREE, _SET_FD, _CLR_FD, _READ_ONLY = 0x4C82, 0x4C00, 0x4C01, 0x125D
requires_loop = requires("root and loop devices", os.geteuid() == 0 and Path("/dev/loop-control").exists())


@contextmanager
def loop_over(file: Path) -> Iterator[str]:
    """A loop device over `file`; its name."""
    while (name := _attached(file)) is None:
        pass
    try:
        yield name
    finally:
        with suppress(OSError):
            if Path(f"/sys/block/{name}/loop/backing_file").read_text().strip() == str(file):
                detach(name)


def _attached(file: Path) -> str | None:
    """None: another process took the free device before us."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    name = f"loop{fcntl.ioctl(control, _GET_FREE)}"
    os.close(control)
    device, backing = os.open(f"/dev/{name}", os.O_RDWR), os.open(file, os.O_RDWR)
    try:
        fcntl.ioctl(device, _SET_FD, backing)
        fcntl.ioctl(device, _READ_ONLY, bytes(4))  # it outlives what was attached before
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return None
    finally:
        os.close(backing)
        os.close(device)
    return name


def make_loop(name: str = "") -> str:
    """A loop device of the test's own (or `name` again), over nothing; its name."""
    numbers = [int(name.removeprefix("loop"))] if name else range(_FIRST_SPARE, _FIRST_SPARE + 64)
    for number in numbers:
        with suppress(FileExistsError):
            return f"loop{_control(_ADD, number)}"
    raise OSError(errno.EEXIST, "there are 64 loop devices of tests already")


def remove_loop(name: str) -> None:
    """The kernel takes it away; nothing where it is gone. While somebody looks at what is new (udev), it refuses."""
    until = time.monotonic() + 2
    while True:
        try:
            _control(_REMOVE, int(name.removeprefix("loop")))
        except OSError as error:
            if error.errno == errno.EBUSY and time.monotonic() < until:
                continue
            if error.errno != errno.ENODEV:
                raise
        return


def _control(request: int, number: int) -> int:
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        return fcntl.ioctl(control, request, number)
    finally:
        os.close(control)


def set_read_only(name: str) -> None:
    _do(name, _READ_ONLY, (1).to_bytes(4, "little"))


def detach(name: str) -> None:
    _do(name, _CLR_FD)


def _do(name: str, request: int, argument: bytes = b"") -> None:
    device = os.open(f"/dev/{name}", os.O_RDWR)
    fcntl.ioctl(device, request, argument)
    os.close(device)
