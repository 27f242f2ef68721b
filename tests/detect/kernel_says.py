"""Uevents by way of the kernel: whoever has CAP_SYS_ADMIN may ask it to tell one to its network namespace (lib/kobject_uevent.c,
uevent_net_rcv_skb), and it does so in its own name. A device that says that it is broken is not at hand."""

import os
import socket
import struct
from contextlib import suppress

from podvitals.detect.uevents import KERNEL_GROUP, NETLINK_KOBJECT_UEVENT
from tests.roots import requires


def _socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT)


def message(action: str, path: str, subsystem: str, **keys: str) -> bytes:
    lines = [f"{action}@{path}", f"ACTION={action}", f"DEVPATH={path}", f"SUBSYSTEM={subsystem}", *(f"{k}={v}" for k, v in keys.items())]
    return b"".join(line.encode() + b"\0" for line in lines)


def say(action: str, path: str, subsystem: str, **keys: str) -> None:
    body = message(action, path, subsystem, **keys)
    with _socket() as opened:
        opened.sendto(struct.pack("=IHHII", 16 + len(body), 16, 1, 0, 0) + body, (0, 0))


def say_as_anybody(data: bytes) -> None:
    """To the same group, but not in the kernel's name."""
    with _socket() as opened:
        opened.bind((0, 0))
        opened.sendto(data, (0, KERNEL_GROUP))


def _can() -> bool:
    with suppress(OSError), _socket() as heard:
        heard.bind((0, KERNEL_GROUP))
        heard.settimeout(1.0)
        say("change", "/devices/virtual/podvitals/probe", "podvitals", NUMBER=str(os.getpid()))
        return any(f"NUMBER={os.getpid()}\0".encode() in heard.recv(8192) for _ in range(1000))
    return False


requires_uevents = requires("the right to have the kernel tell uevents (CAP_SYS_ADMIN)", _can())
