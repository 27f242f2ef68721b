"""What no peer may send, each ended with the reason HTTP/2 has for it."""

import struct

import pytest

from podvitals.wire import frames
from podvitals.wire.frames import ACK, END_HEADERS, PADDED, PREFACE, PRIORITISED, Code, Violation, frame
from podvitals.wire.protocol import Protocol
from tests.wire.heard import REQUEST, Heard, head, kinds, server, setting, u32

PROTOCOL, SIZE, FLOW, CLOSED = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR, Code.STREAM_CLOSED


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (struct.pack(">IBI", (16_385 << 8), 0, 1), SIZE),
        (frame(frames.DATA, 0, 1, b"x"), PROTOCOL),
        (frame(frames.DATA, 0, 0, b"x"), PROTOCOL),
        (head(1) + frame(frames.DATA, PADDED, 1, b"\x01"), PROTOCOL),
        (head(1) + frame(frames.DATA, PADDED, 1), PROTOCOL),
        (head(1, end=True) + frame(frames.DATA, 0, 1, b"x"), CLOSED),
        (head(1, end=True) + head(1, end=True), CLOSED),
        (head(1) + head(1), PROTOCOL),
        (head(2), PROTOCOL),
        (head(0), PROTOCOL),
        (frame(frames.HEADERS, END_HEADERS | PRIORITISED, 1, b"\0\0"), SIZE),
        (frame(frames.HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
        (frame(frames.HEADERS, END_HEADERS, 1, b"\x80"), Code.COMPRESSION_ERROR),
        (head(1, flags=0) + head(3), PROTOCOL),
        (head(1, flags=0) + frame(frames.CONTINUATION, END_HEADERS, 3), PROTOCOL),
        (head(1, flags=0) + frame(frames.CONTINUATION, 0, 1, bytes(16_000)) * 9, Code.ENHANCE_YOUR_CALM),
        (frame(frames.CONTINUATION, END_HEADERS, 1), PROTOCOL),
        (frame(frames.PRIORITY, 0, 1, b"four"), SIZE),
        (frame(frames.RST_STREAM, 0, 1, u32(8)), PROTOCOL),
        (head(1) + frame(frames.RST_STREAM, 0, 1, b"\0"), SIZE),
        (frame(frames.SETTINGS, 0, 1), PROTOCOL),
        (frame(frames.SETTINGS, 0, 0, b"\0"), SIZE),
        (frame(frames.SETTINGS, ACK, 0, bytes(6)), SIZE),
        (setting(2, 2), PROTOCOL),
        (setting(4, 2**31), FLOW),
        (setting(5, 16_383), PROTOCOL),
        (setting(5, 2**24), PROTOCOL),
        (frame(frames.PUSH_PROMISE, 0, 1, u32(2)), PROTOCOL),
        (frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
        (frame(frames.PING, 0, 0, bytes(7)), SIZE),
        (frame(frames.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
        (frame(frames.WINDOW_UPDATE, 0, 0, u32(0)), PROTOCOL),
        (frame(frames.WINDOW_UPDATE, 0, 0, b"\0"), SIZE),
        (frame(frames.WINDOW_UPDATE, 0, 1, u32(1)), PROTOCOL),
        (frame(frames.WINDOW_UPDATE, 0, 0, u32(2**31 - 1)), FLOW),
        (head(1) + frame(frames.WINDOW_UPDATE, 0, 1, u32(2**31 - 1)), FLOW),
        (head(1) + frame(frames.WINDOW_UPDATE, 0, 1, u32(2**31 - 70_000)) + setting(4, 2**31 - 1), FLOW),
    ],
)
def test_what_no_client_may_send_ends_the_connection_with_a_reason(wrong: bytes, code: Code) -> None:
    ours, _ = server()
    with pytest.raises(Violation) as violation:
        ours.receive(wrong)
    assert violation.value.code == code
    kind, _, payload = kinds(ours.take())[-1]
    assert (kind, payload[4:]) == (frames.GOAWAY, u32(code))


@pytest.mark.parametrize(("first", "client"), [(b"GET / HTTP/1.1\r\n", False), (PREFACE + head(1), False), (bytes(9), True)])
def test_a_peer_that_does_not_begin_as_http2_does_is_left(first: bytes, client: bool) -> None:
    ours = Protocol(Heard(), client=client)
    ours.greet()
    with pytest.raises(Violation):
        ours.receive(first)


@pytest.mark.parametrize(
    "wrong",
    [head(1), frame(frames.DATA, 0, 1, b"x"), head(3, end=True), frame(frames.RST_STREAM, 0, 3, u32(1))],
    ids=["headers twice", "data first", "a stream not opened", "a reset of it"],
)
def test_what_no_server_may_send_ends_the_connection(wrong: bytes) -> None:
    ours = Protocol(Heard(), client=True)
    ours.receive(frames.settings({}))
    ours.open(REQUEST)
    with pytest.raises(Violation):
        ours.receive(wrong + wrong)
