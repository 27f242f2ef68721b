"""HTTP/2 frames written by hand, for a client that does not behave: one that reads nothing, or goes in the middle of a call. Pure."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def greeting(window: int) -> bytes:
    """The preface and a stream window of `window` bytes: 0 lets the other side send nothing."""
    return PREFACE + frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window))


def request(method: str, stream: int = 1, *, whole: bool = True) -> bytes:
    """A gRPC call with an empty request; not `whole`: its headers and half of the message's prefix, and no end."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    begun = frame(_HEADERS, _END_HEADERS, stream, b"".join(_literal(name, value) for name, value in headers.items()))
    if not whole:
        return begun + frame(_DATA, 0, stream, b"\0\0")
    return begun + frame(_DATA, _END_STREAM, stream, struct.pack(">BI", 0, 0))


def _literal(name: str, value: str) -> bytes:
    """A header as HPACK's literal without indexing, never compressed; names and values here are shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
