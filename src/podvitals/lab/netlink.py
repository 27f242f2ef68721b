"""A veth pair by rtnetlink: made, taken down, brought up, removed. The `ip` command may be missing on the machine of whoever tries the lab.

Each interface carries the alias of the lab that made it, so that no lab ever removes an interface that is not its own.
"""

import errno
import os
import socket
import struct
from pathlib import Path

from podvitals.errors import LocalError

NEWLINK, DELLINK = 16, 17
REQUEST, ACK, EXCLUSIVE, CREATE = 0x1, 0x4, 0x200, 0x400
ERROR = 2
IFF_UP = 0x1
IFNAME, LINKINFO, IFALIAS = 3, 18, 20
INFO_KIND, INFO_DATA, VETH_PEER = 1, 2, 1
_HEADER, _LINK = struct.Struct("=IHHII"), struct.Struct("=BxHiII")
SYS = Path("/sys/class/net")


class NetlinkRefused(LocalError):
    """The kernel refused; `errno` says how: EPERM without CAP_NET_ADMIN, EOPNOTSUPP without the veth module, EEXIST for a name in use."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.errno = number


def make_veth(name: str, peer: str, alias: str) -> None:
    """Makes the pair, both ends up. Raises NetlinkRefused; then neither end is left."""
    inside = _LINK.pack(0, 0, 0, 0, 0) + _attribute(IFNAME, peer.encode() + b"\0")
    kind = _attribute(INFO_KIND, b"veth") + _attribute(INFO_DATA, _attribute(VETH_PEER, inside))
    link = _attribute(IFNAME, name.encode() + b"\0") + _attribute(LINKINFO, kind)
    _ask(NEWLINK, CREATE | EXCLUSIVE, _LINK.pack(0, 0, 0, 0, 0) + link, f"make the veth pair {name}, {peer}")
    try:
        for end in (name, peer):
            _ask(NEWLINK, 0, _LINK.pack(0, 0, _index(end), 0, 0) + _attribute(IFALIAS, alias.encode()), f"mark {end}")
            set_link(end, up=True)
    except NetlinkRefused:
        remove_link(name)
        raise


def set_link(name: str, *, up: bool) -> None:
    """`ip link set NAME up|down`. Raises NetlinkRefused."""
    _ask(NEWLINK, 0, _LINK.pack(0, 0, _index(name), IFF_UP if up else 0, IFF_UP), f"set {name} {'up' if up else 'down'}")


def remove_link(name: str) -> None:
    """Removes the interface, and with one end of a veth pair the other; one that is gone already is no error."""
    try:
        _ask(DELLINK, 0, _LINK.pack(0, 0, _index(name), 0, 0), f"remove {name}")
    except NetlinkRefused as refusal:
        if refusal.errno != errno.ENODEV:
            raise


def alias_of(name: str) -> str:
    """'' where there is no such interface, or it has none."""
    try:
        return (SYS / name / "ifalias").read_text().strip()
    except OSError:
        return ""


def exists(name: str) -> bool:
    return (SYS / name).exists()


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise NetlinkRefused(f"there is no network interface {name}", errno.ENODEV) from None


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def _ask(kind: int, flags: int, body: bytes, what: str) -> None:
    message = _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | ACK | flags, 1, 0) + body
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(5.0)
            netlink.sendto(message, (0, 0))
            answer = netlink.recv(65536)
    except OSError as error:
        raise NetlinkRefused(f"cannot {what}: {error.strerror or error}", error.errno or errno.EIO) from None
    _, answered, *_ = _HEADER.unpack_from(answer)
    code: int = struct.unpack_from("=i", answer, _HEADER.size)[0] if answered == ERROR else 0
    if code:
        raise NetlinkRefused(f"cannot {what}: {os.strerror(-code)}", -code)
