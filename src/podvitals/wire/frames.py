"""HTTP/2 frames (RFC 9113, section 4 and 6) as bytes. Pure."""

import struct
from collections.abc import Iterator
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST = 16 * 1024
"""Bytes a frame may carry that is sent to us: HTTP/2's default, and what is read at a time."""
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITISED = 0x4, 0x8, 0x20

_HEAD = struct.Struct(">IBI")
_NUMBER = struct.Struct(">I")
_SETTING = struct.Struct(">HI")
HEAD = _HEAD.size


class Code(IntEnum):
    """Why a stream or a connection is ended."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Violation(Exception):
    """The peer does not keep to HTTP/2."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(len(payload) << 8 | kind, flags, number) + payload


def header_frames(number: int, block: bytes, largest: int, *, end: bool) -> bytes:
    if len(block) <= largest:
        return frame(HEADERS, END_HEADERS | END_STREAM if end else END_HEADERS, number, block)
    parts = [block[at : at + largest] for at in range(0, len(block), largest)]
    made = [frame(HEADERS, END_STREAM if end else 0, number, parts[0])]
    made += [frame(CONTINUATION, 0, number, part) for part in parts[1:-1]]
    return b"".join((*made, frame(CONTINUATION, END_HEADERS, number, parts[-1])))


def settings(values: dict[Setting, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def window_update(number: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, number, _NUMBER.pack(size))


def reset(number: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, number, _NUMBER.pack(code))


def goaway(last: int, code: int) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code))


def number_of(payload: bytes) -> int:
    """Of a window update the size, of a reset the code, of a goaway the last stream."""
    return int.from_bytes(payload[:4])


def settings_of(payload: bytes) -> list[tuple[int, int]]:
    if len(payload) % _SETTING.size:
        raise Violation(Code.FRAME_SIZE_ERROR, f"settings of {len(payload)} bytes")
    return list(_SETTING.iter_unpack(payload))


def unpadded(flags: int, payload: bytes) -> bytes:
    """What a DATA or HEADERS frame carries without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Violation(Code.PROTOCOL_ERROR, "a frame of nothing but padding")
    return payload[1 : len(payload) - payload[0]]


class Frames:
    """What has arrived of a connection, cut into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """The frames that are whole with these bytes: kind, flags, stream, payload. Take them all."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= HEAD:
            size, flags, number = _HEAD.unpack_from(data, at)
            kind, size = size & 0xFF, size >> 8
            if size > LARGEST:
                raise Violation(Code.FRAME_SIZE_ERROR, f"a frame of {size} bytes, where {LARGEST} may be")
            if end - at < HEAD + size:
                break
            at += HEAD
            yield kind, flags, number & 0x7FFFFFFF, data[at : at + size]
            at += size
        self._rest = data[at:]
