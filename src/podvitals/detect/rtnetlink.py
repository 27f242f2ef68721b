"""Network interfaces as the kernel tells of them (rtnetlink(7), linux/if_link.h), by raw netlink sockets."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
RTMGRP_LINK = 1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_CARRIER = 1, 3, 4, 16, 18, 33
IFLA_INFO_KIND = 1
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 20
_ANSWER_WITHIN = 1.5
"""Seconds; below the detectors' timeout, so that a silent kernel is an error with a text."""


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. `gone`: it was told with RTM_DELLINK. `carrier` None: the kernel did not say."""

    index: int
    name: str
    up: bool
    loopback: bool
    operstate: str
    carrier: bool | None
    mtu: int
    address: str
    kind: str
    gone: bool = False


def parse(data: bytes) -> Iterator[Link | None]:
    """The links told in one datagram; None is the end of a dump. Raises OSError for the kernel's error answer. Skips what else it holds."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            return
        body = data[at + _HEADER.size : at + length]
        if kind == NLMSG_DONE:
            yield None
        elif kind == NLMSG_ERROR:
            (negative,) = struct.unpack_from("=i", body)
            if negative:
                raise OSError(-negative, os.strerror(-negative))
        elif kind in (RTM_NEWLINK, RTM_DELLINK) and body[0] == socket.AF_UNSPEC:
            # Of family AF_BRIDGE they tell of a bridge's port: its RTM_DELLINK is an interface that left the bridge, not the machine.
            yield _link(body, gone=kind == RTM_DELLINK)
        at += (length + 3) & ~3


def _link(body: bytes, *, gone: bool) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = dict(_attributes(body[_IFINFO.size :]))
    info = dict(_attributes(found.get(IFLA_LINKINFO, b"")))
    state = found.get(IFLA_OPERSTATE, b"\0")[0]
    carrier = found.get(IFLA_CARRIER)
    return Link(
        index=index,
        name=_text(found.get(IFLA_IFNAME, b"")),
        up=bool(flags & IFF_UP),
        loopback=bool(flags & IFF_LOOPBACK),
        operstate=OPERSTATES[state] if state < len(OPERSTATES) else str(state),
        carrier=None if carrier is None else bool(carrier[0]),
        mtu=struct.unpack("=I", found[IFLA_MTU])[0] if IFLA_MTU in found else 0,
        address=found.get(IFLA_ADDRESS, b"").hex(":"),
        kind=_text(info.get(IFLA_INFO_KIND, b"")),
        gone=gone,
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def _request(flags: int, *, index: int = 0, name: str = "") -> bytes:
    body = _IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    if name:
        value = name.encode() + b"\0"
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), IFLA_IFNAME) + value.ljust((len(value) + 3) & ~3, b"\0")
    return _HEADER.pack(_HEADER.size + len(body), RTM_GETLINK, NLM_F_REQUEST | flags, 1, 0) + body


def _socket(groups: int = 0) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    opened.bind((0, groups))
    return opened


def dump() -> tuple[Link, ...]:
    """Every interface. Blocks for a moment."""
    links: list[Link] = []
    with _socket() as opened:
        opened.settimeout(_ANSWER_WITHIN)
        opened.send(_request(NLM_F_DUMP))
        while True:
            for link in parse(opened.recv(_BUFFER)):
                if link is None:
                    return tuple(links)
                links.append(link)


def ask(*, name: str = "", index: int = 0) -> Link | None:
    """One interface by name or index, or None where there is none. Blocks for a moment. Raises OSError for other failures."""
    with _socket() as opened:
        opened.settimeout(_ANSWER_WITHIN)
        opened.send(_request(0, name=name, index=index))
        try:
            return next(parse(opened.recv(_BUFFER)), None)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise


async def changes() -> AsyncGenerator[tuple[Link, ...] | None, None]:
    """Interfaces as they change. None: look at all of them (at first, and whenever the kernel lost changes because we were slow)."""
    loop = asyncio.get_running_loop()
    with _socket(RTMGRP_LINK) as opened:
        opened.setblocking(False)
        yield None  # after the subscription: nothing falls between a look and the first change
        while True:
            try:
                yield tuple(filter(None, parse(await loop.sock_recv(opened, _BUFFER))))
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
