"""What `Protocol` told, and what it is told by hand."""

import struct
from collections import defaultdict
from dataclasses import dataclass, field

from podvitals.wire import frames
from podvitals.wire.fields import Pair
from podvitals.wire.frames import END_HEADERS, END_STREAM, PREFACE, frame
from podvitals.wire.protocol import Protocol

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a"), ("content-type", "application/grpc")]
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0")]


@dataclass
class Heard:
    """A `Handler` that keeps what it was told, by stream."""

    headers: dict[int, list[tuple[Pair, ...]]] = field(default_factory=lambda: defaultdict(list))
    data: dict[int, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    sizes: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    ended: set[int] = field(default_factory=set)
    resets: list[tuple[int, int]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    goodbyes: int = 0

    def on_request(self, number: int, headers: tuple[Pair, ...]) -> None:
        self.headers[number].append(headers)

    def on_headers(self, number: int, headers: tuple[Pair, ...], ended: bool) -> None:
        self.headers[number].append(headers)
        if ended:
            self.ended.add(number)

    def on_data(self, number: int, data: bytes, size: int, ended: bool) -> None:
        self.data[number] += data
        self.sizes[number] += size
        if ended:
            self.ended.add(number)

    def on_reset(self, number: int, code: int) -> None:
        self.resets.append((number, code))

    def on_refused(self, number: int, why: str) -> None:
        self.refused.append(number)

    def on_window(self, number: int) -> None: ...

    def on_settings(self) -> None: ...

    def on_goaway(self) -> None:
        self.goodbyes += 1


def kinds(raw: bytes) -> list[tuple[int, int, bytes]]:
    """Kind, stream and payload of each frame."""
    return [(kind, number, payload) for kind, _, number, payload in frames.Frames().feed(raw.removeprefix(PREFACE))]


def server() -> tuple[Protocol, Heard]:
    """One whose client has greeted."""
    heard = Heard()
    ours = Protocol(heard, client=False)
    ours.greet()
    ours.receive(PREFACE + frames.settings({}))
    ours.take()
    return ours, heard


def head(number: int, *, end: bool = False, flags: int = END_HEADERS) -> bytes:
    return frame(frames.HEADERS, flags | (END_STREAM if end else 0), number, b"\x83\x86\x84\x41\x01a")


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def setting(name: int, value: int) -> bytes:
    return frame(frames.SETTINGS, 0, 0, struct.pack(">HI", name, value))
