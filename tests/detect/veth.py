"""Real network interfaces for tests: veth pairs made, set down, renamed and removed by rtnetlink, so that no `ip` command is needed."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.roots import requires

_NEWLINK, _DELLINK, _SETLINK = 16, 17, 19
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_IFNAME, _MTU, _LINKINFO, _INFO_KIND, _INFO_DATA, _VETH_PEER = 3, 4, 18, 1, 2, 1
_UP = 1


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value.ljust((len(value) + 3) & ~3, b"\0")


def _info(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, change)


def _do(kind: int, flags: int, body: bytes) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as opened:
        opened.bind((0, 0))
        opened.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body)
        (negative,) = struct.unpack_from("=i", opened.recv(65536), 16)
    if negative:
        raise OSError(-negative, os.strerror(-negative))


def make(name: str, peer: str) -> None:
    data = _attribute(_VETH_PEER, _info() + _attribute(_IFNAME, peer.encode() + b"\0"))
    link = _attribute(_INFO_KIND, b"veth\0") + _attribute(_INFO_DATA, data)
    _do(_NEWLINK, _CREATE | _EXCL, _info() + _attribute(_IFNAME, name.encode() + b"\0") + _attribute(_LINKINFO, link))


def remove(name: str) -> None:
    _do(_DELLINK, 0, _info(socket.if_nametoindex(name)))


def up(name: str) -> None:
    _do(_SETLINK, 0, _info(socket.if_nametoindex(name), _UP, _UP))


def down(name: str) -> None:
    _do(_SETLINK, 0, _info(socket.if_nametoindex(name), 0, _UP))


def rename(name: str, to: str) -> None:
    _do(_SETLINK, 0, _info(socket.if_nametoindex(name)) + _attribute(_IFNAME, to.encode() + b"\0"))


def set_mtu(name: str, mtu: int) -> None:
    _do(_SETLINK, 0, _info(socket.if_nametoindex(name)) + _attribute(_MTU, struct.pack("=I", mtu)))


@contextmanager
def pair(prefix: str) -> Iterator[tuple[str, str]]:
    """Two connected interfaces, both up; removed at the end under whatever name."""
    name, peer = f"{prefix}{os.getpid() % 100000}a", f"{prefix}{os.getpid() % 100000}b"
    make(name, peer)
    index = socket.if_nametoindex(name)
    try:
        up(name)
        up(peer)
        yield name, peer
    finally:
        with suppress(OSError):
            _do(_DELLINK, 0, _info(index))
        with suppress(OSError):  # made anew by the test
            remove(name)


def _can_be_made() -> bool:
    try:
        with pair("pvtry"):
            return True
    except OSError:
        return False


requires_veth = requires("the right to make network interfaces (CAP_NET_ADMIN) and veth in the kernel", _can_be_made())
