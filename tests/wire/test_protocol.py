"""HTTP/2 without sockets: against h2 at the other end, and against what no peer should send."""

import struct
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from podvitals.wire import frames
from podvitals.wire.fields import Pair
from podvitals.wire.frames import ACK, END_HEADERS, END_STREAM, PADDED, PREFACE, PRIORITISED, Code, Violation, frame
from podvitals.wire.protocol import CONNECTION_WINDOW, MOST_CALLS, STREAM_WINDOW, Protocol, StreamOver
from tests.wire.peers import text

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

    def on_window(self, number: int) -> None: ...

    def on_settings(self) -> None: ...

    def on_goaway(self) -> None:
        self.goodbyes += 1


def kinds(raw: bytes) -> list[tuple[int, int, bytes]]:
    """Kind, stream and payload of each frame."""
    return [(kind, number, payload) for kind, _, number, payload in frames.Frames().feed(raw.removeprefix(PREFACE))]


class Joined:
    """One of ours and one of h2's, joined by a line that cuts bytes where it likes."""

    def __init__(self, *, client: bool, cut: int = 1 << 20) -> None:
        self.heard, self.cut = Heard(), cut
        self.ours = Protocol(self.heard, client=client)
        self.theirs = H2Connection(H2Configuration(client_side=not client, header_encoding="utf-8"))
        self.events: list[object] = []
        self.ours.greet()
        self.theirs.initiate_connection()
        self.settle()

    def settle(self) -> None:
        while True:
            to_them, to_us = self.ours.take(), self.theirs.data_to_send()
            if not to_them and not to_us:
                return
            for at in range(0, len(to_them), self.cut):
                self.events += self.theirs.receive_data(to_them[at : at + self.cut])
            for at in range(0, len(to_us), self.cut):
                self.ours.receive(to_us[at : at + self.cut])


BODIES = st.lists(st.integers(0, 70_000), min_size=1, max_size=4)


@settings(deadline=None)
@given(BODIES, BODIES, st.sampled_from([7, 1000, 1 << 20]))
def test_our_client_and_their_server_understand_each_other(asked: list[int], said: list[int], cut: int) -> None:
    line = Joined(client=True, cut=cut)
    for number, (size, back) in enumerate(zip(asked, said, strict=False)):
        stream = line.ours.open(REQUEST)
        data = memoryview(bytes([number]) * size)
        sent = 0
        while sent < size:
            sent += line.ours.send_data(stream, data[sent:], end=True)
            line.settle()
            for event in line.events:
                if isinstance(event, DataReceived):
                    line.theirs.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            heard = [event for event in line.events if isinstance(event, DataReceived) and event.stream_id == stream]
            line.events = [event for event in line.events if not isinstance(event, DataReceived)]
            assert all(event.data == bytes([number]) * len(event.data or b"") for event in heard)
        line.settle()
        assert [text(event.headers) for event in line.events if isinstance(event, RequestReceived)][-1] == dict(REQUEST)
        line.theirs.send_headers(stream, RESPONSE)
        for at in range(0, back, 16_384):
            line.theirs.send_data(stream, bytes(min(16_384, back - at)))
            line.settle()
        line.theirs.send_headers(stream, TRAILERS, end_stream=True)
        line.settle()
        assert line.heard.headers[stream] == [tuple(RESPONSE), tuple(TRAILERS)]
        assert (len(line.heard.data[stream]), stream in line.heard.ended) == (back, True)
        line.ours.consumed(stream, line.heard.sizes[stream])


@settings(deadline=None)
@given(BODIES, BODIES, st.sampled_from([7, 1000, 1 << 20]))
def test_their_client_and_our_server_understand_each_other(asked: list[int], said: list[int], cut: int) -> None:
    line = Joined(client=False, cut=cut)
    for size, back in zip(asked, said, strict=False):
        stream = line.theirs.get_next_available_stream_id()
        line.theirs.send_headers(stream, REQUEST)
        for at in range(0, size, 16_000):
            line.theirs.send_data(stream, b"q" * min(16_000, size - at), pad_length=3)
            line.settle()
        line.theirs.end_stream(stream)
        line.settle()
        assert line.heard.headers[stream] == [tuple(REQUEST)]
        assert (bytes(line.heard.data[stream]), stream in line.heard.ended) == (b"q" * size, True)
        line.ours.consumed(stream, line.heard.sizes[stream])
        line.ours.send_headers(stream, RESPONSE, end=False)
        line.theirs.increment_flow_control_window(1 << 20)
        line.theirs.increment_flow_control_window(1 << 20, stream)
        line.settle()
        assert line.ours.send_data(stream, memoryview(bytes(back)), end=False) == back
        line.ours.send_headers(stream, TRAILERS, end=True)
        line.settle()
        mine = [event for event in line.events if getattr(event, "stream_id", None) == stream]
        answer = [text(event.headers) for event in mine if isinstance(event, ResponseReceived | TrailersReceived)]
        assert answer == [dict(RESPONSE), dict(TRAILERS)]
        assert sum(len(event.data or b"") for event in mine if isinstance(event, DataReceived)) == back
        assert any(isinstance(event, StreamEnded) for event in mine)


def test_no_more_is_sent_than_the_windows_take_and_the_rest_when_they_grow() -> None:
    line = Joined(client=True)
    stream = line.ours.open(REQUEST)
    data = memoryview(bytes(100_000))
    assert line.ours.send_data(stream, data, end=True) == 65_535
    assert line.ours.send_data(stream, data[65_535:], end=True) == 0
    line.settle()
    line.theirs.increment_flow_control_window(50_000)
    line.settle()
    assert line.ours.send_data(stream, data[65_535:], end=True) == 0
    line.theirs.increment_flow_control_window(50_000, stream)
    line.settle()
    assert line.ours.send_data(stream, data[65_535:], end=True) == 34_465


def test_a_window_made_smaller_while_it_is_used_becomes_negative_and_recovers() -> None:
    line = Joined(client=True)
    stream = line.ours.open(REQUEST)
    assert line.ours.send_data(stream, memoryview(bytes(60_000)), end=False) == 60_000
    line.settle()
    line.theirs.update_settings({4: 10_000})
    line.settle()
    assert line.ours.send_data(stream, memoryview(bytes(10)), end=False) == 0
    line.theirs.increment_flow_control_window(50_005, stream)
    line.theirs.increment_flow_control_window(60_000)
    line.settle()
    assert line.ours.send_data(stream, memoryview(bytes(10)), end=False) == 5


def test_large_headers_go_in_parts() -> None:
    line = Joined(client=True)
    headers = [*REQUEST, ("x", "v" * 40_000)]
    line.ours.open(headers)
    line.settle()
    assert [text(event.headers) for event in line.events if isinstance(event, RequestReceived)] == [dict(headers)]


def test_what_is_given_up_is_said_once_and_what_still_comes_of_it_means_nothing() -> None:
    line = Joined(client=True)
    stream = line.ours.open(REQUEST)
    line.settle()
    line.theirs.send_headers(stream, RESPONSE)
    line.theirs.send_data(stream, b"late")
    late = line.theirs.data_to_send()
    line.ours.reset(stream, Code.CANCEL)
    line.ours.reset(stream, Code.CANCEL)
    line.settle()
    assert [event.error_code for event in line.events if isinstance(event, StreamReset)] == [Code.CANCEL]
    line.ours.receive(late)
    assert not line.heard.headers
    assert not line.heard.data
    with pytest.raises(StreamOver):
        line.ours.send_data(stream, memoryview(b"x"), end=True)


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
        (head(1, flags=0) + frame(frames.CONTINUATION, 0, 1, bytes(16_000)) * 5, Code.ENHANCE_YOUR_CALM),
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


def test_what_comes_before_a_response_and_what_nobody_knows_means_nothing() -> None:
    heard = Heard()
    ours = Protocol(heard, client=True)
    ours.receive(frames.settings({}))
    number = ours.open(REQUEST)
    informational = frame(frames.HEADERS, END_HEADERS, number, b"\x08\x03103")
    ours.receive(informational + frame(99, 255, 7, b"?") + frame(frames.PRIORITY, 0, 1, bytes(5)) + setting(99, 1) + setting(1, 0))
    assert not heard.headers
    ours.receive(frame(frames.HEADERS, END_HEADERS | PADDED | PRIORITISED, number, b"\x02" + bytes(5) + b"\x88" + bytes(2)))
    assert heard.headers[number] == [((":status", "200"),)]


def test_more_calls_than_are_taken_are_refused_as_not_begun() -> None:
    ours, heard = server()
    for number in range(MOST_CALLS + 1):
        ours.receive(head(2 * number + 1))
    assert len(heard.headers) == MOST_CALLS
    assert kinds(ours.take()) == [(frames.RST_STREAM, 2 * MOST_CALLS + 1, u32(Code.REFUSED_STREAM))]
    ours.receive(frame(frames.DATA, END_STREAM, 2 * MOST_CALLS + 1, b"of the refused one"))


@pytest.mark.parametrize(("streams", "most"), [(1, STREAM_WINDOW), (5, CONNECTION_WINDOW)])
def test_a_peer_that_sends_more_than_its_windows_is_left(streams: int, most: int) -> None:
    ours, heard = server()
    part = bytes(16_384)
    for number in range(streams):
        ours.receive(head(2 * number + 1))
    for turn in range(most // len(part)):
        ours.receive(frame(frames.DATA, 0, 2 * (turn % streams) + 1, part))
    assert sum(map(len, heard.data.values())) == most
    with pytest.raises(Violation, match="more data than"):
        ours.receive(frame(frames.DATA, 0, 1, b"x"))


def test_what_is_consumed_may_be_sent_again_and_little_of_it_costs_no_frame() -> None:
    ours, heard = server()
    part = bytes(16_384)
    ours.receive(head(1))
    for turn in range(2 * CONNECTION_WINDOW // len(part)):
        ours.receive(frame(frames.DATA, 0, 1, part))
        ours.consumed(1, len(part))
        assert bool(ours.speaks) == ((turn + 1) * len(part) % (STREAM_WINDOW // 4) == 0)
        updates = [(number, int.from_bytes(payload)) for kind, number, payload in kinds(ours.take()) if kind == frames.WINDOW_UPDATE]
        assert {number: size for number, size in updates if number} in ({}, {1: STREAM_WINDOW // 4})
    assert len(heard.data[1]) == 2 * CONNECTION_WINDOW


def test_after_a_goodbye_nothing_is_heard() -> None:
    ours, heard = server()
    ours.receive(frame(frames.GOAWAY, 0, 0, bytes(8)) + head(1))
    assert (heard.goodbyes, heard.headers) == (1, {})


def test_a_ping_comes_back_and_an_answered_one_does_not() -> None:
    ours, _ = server()
    ours.receive(frame(frames.PING, 0, 0, b"12345678") + frame(frames.PING, ACK, 0, b"87654321"))
    assert kinds(ours.take()) == [(frames.PING, 0, b"12345678")]


FRAMES = st.builds(frame, st.integers(0, 10), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40))


@settings(deadline=None)
@given(st.lists(FRAMES | st.sampled_from([head(1), head(3), head(5, end=True)]), max_size=20).map(b"".join), st.integers(1, 50))
def test_any_bytes_are_understood_or_a_violation(raw: bytes, cut: int) -> None:
    whole, in_parts = server(), server()

    def taken(ours: Protocol, parts: list[bytes]) -> str:
        try:
            for part in parts:
                ours.receive(part)
        except Violation as violation:
            return str(violation)
        return ""

    pieces = [raw[at : at + cut] for at in range(0, len(raw), cut)]
    assert taken(whole[0], [raw]) == taken(in_parts[0], pieces)
    assert whole[0].take() == in_parts[0].take()
    assert whole[1] == in_parts[1]
