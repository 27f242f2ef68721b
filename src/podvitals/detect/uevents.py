"""What the kernel tells of devices that come, go or change: uevents, by raw netlink sockets, as seen from an event loop.

Kernel: lib/kobject_uevent.c (`ACTION@DEVPATH`, then KEY=VALUE, each ended by a zero byte), include/uapi/linux/netlink.h
(NETLINK_KOBJECT_UEVENT, of whose groups the first is the kernel's own; the second is udev's). Anybody may send to the group, but only the
kernel as number 0. In a network namespace that does not belong to the machine's own user namespace (a rootless container) it tells nothing.
"""

import asyncio
import errno
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1
KERNEL = 0
_BUFFER = 1 << 20
_LARGEST = 8192
"""Bytes of one uevent: the kernel's own limit is 2,048 for the keys, and a path."""
_BATCH = 256
MOST_KEPT = 1024
"""Uevents that wait for us; of more it is only said that they were lost."""


@dataclass(frozen=True, slots=True)
class Uevent:
    """`action`: add, remove, change, bind, unbind, move, online, offline. `path`: below /sys, beginning with /devices."""

    action: str
    path: str
    subsystem: str
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of its path: `sda`, `nvme0`, `hwmon3`, `0000:3b:00.0`."""
        return self.path.rpartition("/")[2]


def parse(data: bytes) -> Uevent | None:
    """A uevent, or None for what is none (udev's own have a binary header)."""
    first, *lines = data.decode(errors="replace").split("\0")
    action, at, path = first.partition("@")
    keys = dict(line.split("=", 1) for line in lines if "=" in line)
    if not at or keys.get("ACTION") != action or keys.get("DEVPATH") != path:
        return None
    return Uevent(action, path, keys.get("SUBSYSTEM", ""), keys)


class Uevents:
    """`some()` again and again. What is about other subsystems is passed over before anybody is woken: where pods come and go, the kernel
    tells of their network interfaces all the time."""

    def __init__(self, opened: socket.socket, subsystems: Iterable[str]) -> None:
        self._socket = opened
        self._marks = tuple(f"\0SUBSYSTEM={name}\0".encode() for name in subsystems)
        self._found: list[Uevent] = []
        self._lost = False
        self._error: OSError | None = None
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(opened.fileno(), self._take)

    async def some(self) -> tuple[tuple[Uevent, ...], bool]:
        """What was told since the last call, after waiting for something; and whether some were lost, because we were slow. Raises OSError
        where nothing more can be heard."""
        await self._news.wait()
        if self._error is not None:
            raise self._error
        self._news.clear()
        found, lost = tuple(self._found), self._lost
        self._found, self._lost = [], False
        return found, lost

    def _take(self) -> None:
        for _ in range(_BATCH):
            try:
                data, (sender, _) = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                break
            except OSError as error:
                self._lost = True
                if error.errno != errno.ENOBUFS:
                    self._error = error
                    self._loop.remove_reader(self._socket.fileno())
                    break
                continue
            if sender == KERNEL and any(mark in data for mark in self._marks) and (event := parse(data)) is not None:
                self._keep(event)
        if self._found or self._lost:
            self._news.set()

    def _keep(self, event: Uevent) -> None:
        if len(self._found) < MOST_KEPT:
            self._found.append(event)
        else:
            self._lost = True

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


@contextmanager
def listening(*subsystems: str) -> Iterator[Uevents]:
    """To what is told of these. From here on nothing is missed without its being said. Raises OSError where there are no such sockets."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT)
    try:
        with suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        opened.bind((0, KERNEL_GROUP))
        told = Uevents(opened, subsystems)
    except BaseException:
        opened.close()
        raise
    try:
        yield told
    finally:
        told.close()
