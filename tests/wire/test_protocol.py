"""HTTP/2 without sockets: against h2 at the other end."""

import struct

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from podvitals.wire import frames
from podvitals.wire.fields import LONGEST_REQUEST, Encoder
from podvitals.wire.frames import ACK, END_HEADERS, END_STREAM, PADDED, PRIORITISED, Code, Violation, frame
from podvitals.wire.protocol import CONNECTION_WINDOW, MOST_CALLS, STREAM_WINDOW, Protocol, StreamOver
from tests.wire.heard import REQUEST, RESPONSE, TRAILERS, Heard, head, kinds, server, setting, u32
from tests.wire.peers import text


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


def test_of_a_window_that_is_set_more_than_once_in_a_frame_the_last_counts() -> None:
    """It is told to every stream: 2,700 times in a frame of 16 KiB would be two million."""
    ours, _ = server()
    ours.receive(head(1) + frame(frames.SETTINGS, 0, 0, struct.pack(">HIHI", 4, 2**31 + 1, 4, 70_000)))
    assert ours.room(1) == 65_535
    ours.receive(frame(frames.WINDOW_UPDATE, 0, 0, u32(100_000)))
    assert ours.room(1) == 70_000


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


def test_headers_that_are_too_long_end_their_stream_alone_and_later_ones_are_understood() -> None:
    """grpc-go puts the text of a status into the trailers, whatever its length."""
    heard = Heard()
    ours = Protocol(heard, client=True)
    ours.receive(frames.settings({}))
    first, second = ours.open(REQUEST), ours.open(REQUEST)
    ours.receive(frame(frames.HEADERS, END_HEADERS, first, b"\x88"))
    block = b"\x40\x04kept\x01x" + b"".join(Encoder().encode([("grpc-message", "y" * 60_000)]).removeprefix(b"\x20") for _ in range(2))
    ours.receive(frames.header_frames(first, block, 16_384, end=True))
    ours.receive(frame(frames.HEADERS, END_HEADERS, second, b"\x88\xbe"))
    assert heard.refused == [first]
    assert heard.headers[second] == [((":status", "200"), ("kept", "x"))]
    assert kinds(ours.take())[-1] == (frames.RST_STREAM, first, u32(Code.ENHANCE_YOUR_CALM))


def test_a_request_whose_headers_are_too_long_is_refused_and_the_next_is_heard() -> None:
    ours, heard = server()
    ours.receive(frames.header_frames(1, Encoder().encode([*REQUEST, ("x", "y" * LONGEST_REQUEST)]), 16_384, end=True))
    ours.receive(head(3, end=True))
    assert list(heard.headers) == [3]
    assert kinds(ours.take()) == [(frames.RST_STREAM, 1, u32(Code.ENHANCE_YOUR_CALM))]


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
