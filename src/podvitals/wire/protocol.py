"""HTTP/2 as gRPC uses it, without a socket: bytes in, calls of a `Handler`; what is to be sent is taken as bytes. Pure (RFC 9113).

Everything a peer may send is answered as the RFC says, and where that leaves the choice between ending a stream and ending the connection,
the connection is ended. There is no push and no priority. Floods of frames that are right are the shell's business (`fairness`).
"""

from typing import Protocol as Interface

from podvitals.wire import frames
from podvitals.wire.fields import LONGEST, LONGEST_REQUEST, MOST, Decoder, Encoder, Headers, Malformed, Pair, TooLong
from podvitals.wire.frames import Code, Frames, Setting, Violation

STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes a peer may send ahead on one stream: a report of 1 MiB never waits for a window update."""
CONNECTION_WINDOW = 16 * 1024 * 1024
MOST_CALLS = 1000
"""Calls a peer may have open at once; more are refused, which says that they were not begun."""
_FIRST_WINDOW = 65535
_MOST = 2**31 - 1


class Handler(Interface):
    """What the peer does. `ended`: it says no more on this stream."""

    def on_request(self, number: int, headers: tuple[Pair, ...]) -> None: ...

    def on_headers(self, number: int, headers: tuple[Pair, ...], ended: bool) -> None: ...

    def on_data(self, number: int, data: bytes, size: int, ended: bool) -> None:
        """`size`: what it counts in the windows, to be given back by `consumed`."""

    def on_reset(self, number: int, code: int) -> None: ...

    def on_refused(self, number: int, why: str) -> None:
        """What it said on this stream is not taken; the stream is over."""

    def on_window(self, number: int) -> None:
        """More may be sent: on this stream, or (0) on any."""

    def on_settings(self) -> None: ...

    def on_goaway(self) -> None: ...


class StreamOver(Exception):
    """Nothing can be sent on this stream any more."""


class _Flow:
    """One stream. `left`: bytes the peer may still send; `window`: that we may."""

    __slots__ = ("consumed", "ended", "heard", "left", "said_all", "window")

    def __init__(self, window: int, heard: bool) -> None:
        self.window, self.left, self.consumed = window, STREAM_WINDOW, 0
        self.heard, self.ended, self.said_all = heard, False, False


class Protocol:
    def __init__(self, handler: Handler, *, client: bool) -> None:
        self._handler, self._client = handler, client
        self.most_calls = _MOST
        """Calls the peer takes at once."""
        self.besides = 0
        """Bytes of what was taken last that no window bounds: all but data."""
        self._of_data = 0
        self._frames, self._encoder, self._decoder = Frames(), Encoder(), Decoder(LONGEST if client else LONGEST_REQUEST)
        self._preface = b"" if client else frames.PREFACE
        self._flows: dict[int, _Flow] = {}
        self._out: list[bytes] = []
        self._next = 1
        self._last = 0
        self._window, self._left, self._consumed = _FIRST_WINDOW, CONNECTION_WINDOW, 0
        self._first_window, self._largest = _FIRST_WINDOW, frames.LARGEST
        self._block: tuple[int, int, bytearray] | None = None
        self._greeted = self._over = False

    # --- what we say --------------------------------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """What is to be sent."""
        self.besides, self._of_data = sum(map(len, self._out)) - self._of_data, 0
        if not self._out:
            return b""
        data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
        self._out.clear()
        return data

    @property
    def speaks(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._out)

    def greet(self) -> None:
        ours = {
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_CONCURRENT_STREAMS: MOST_CALLS,
            Setting.MAX_HEADER_LIST_SIZE: LONGEST if self._client else LONGEST_REQUEST,
        }
        if self._client:
            self._out.append(frames.PREFACE)
            ours[Setting.ENABLE_PUSH] = 0
        self._out += (frames.settings(ours), frames.window_update(0, CONNECTION_WINDOW - _FIRST_WINDOW))

    def open(self, headers: Headers) -> int:
        """A new stream with this request; its number. StreamOver where the connection has used them up."""
        number = self._next
        if number > _MOST:
            raise StreamOver("the connection has no more streams")
        self._next += 2
        self._flows[number] = _Flow(self._first_window, heard=False)
        self.send_headers(number, headers, end=False)
        return number

    def send_headers(self, number: int, headers: Headers, *, end: bool) -> None:
        flow = self._flow(number)
        self._out.append(frames.header_frames(number, self._encoder.encode(headers), self._largest, end=end))
        if end:
            self._said_all(number, flow)

    def room(self, number: int | None = None) -> int:
        """Bytes of data that may be sent now on this stream, or on one that is opened next."""
        if number is None:
            return min(self._first_window, self._window)
        flow = self._flows.get(number)
        return 0 if flow is None or flow.said_all else min(flow.window, self._window)

    def send_data(self, number: int, data: memoryview, *, end: bool) -> int:
        """Sends what the windows take; returns how many bytes that was."""
        flow, sent = self._flow(number), 0
        while sent < len(data):
            size = min(flow.window, self._window, self._largest, len(data) - sent)
            if size <= 0:
                return sent
            last = end and sent + size == len(data)
            self._out.append(frames.frame(frames.DATA, frames.END_STREAM if last else 0, number, bytes(data[sent : sent + size])))
            flow.window -= size
            self._window -= size
            self._of_data += frames.HEAD + size
            sent += size
            if last:
                self._said_all(number, flow)
        return sent

    def consumed(self, number: int, size: int) -> None:
        """So many bytes of what arrived on this stream are out of the way. The peer is told in large parts: a small call costs no frame."""
        self._consumed += size
        if self._consumed >= CONNECTION_WINDOW // 4:
            self._out.append(frames.window_update(0, self._consumed))
            self._left += self._consumed
            self._consumed = 0
        flow = self._flows.get(number)
        if flow is None or flow.ended:
            return
        flow.consumed += size
        if flow.consumed >= STREAM_WINDOW // 4:
            self._out.append(frames.window_update(number, flow.consumed))
            flow.left += flow.consumed
            flow.consumed = 0

    def reset(self, number: int, code: Code) -> None:
        """Ends the stream, unless it is over."""
        if self._flows.pop(number, None) is not None:
            self._out.append(frames.reset(number, code))

    def goaway(self, code: Code = Code.NO_ERROR) -> None:
        """Says that nothing more will be heard or said here."""
        self._over = True
        self._out.append(frames.goaway(self._last, code))

    def _flow(self, number: int) -> _Flow:
        flow = self._flows.get(number)
        if flow is None or flow.said_all:
            raise StreamOver("the call is over")
        return flow

    def _said_all(self, number: int, flow: _Flow) -> None:
        flow.said_all = True
        if flow.ended:
            self._flows.pop(number, None)

    # --- what we hear -------------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Raises Violation, with a goaway ready to be sent, where the peer does not keep to HTTP/2."""
        try:
            if self._preface:
                data = self._without_preface(data)
            for kind, flags, number, payload in self._frames.feed(data):
                if self._over:
                    return
                if self._block is not None and kind != frames.CONTINUATION:
                    raise Violation(Code.PROTOCOL_ERROR, "a header block that is interrupted")
                if not self._greeted and kind != frames.SETTINGS:
                    raise Violation(Code.PROTOCOL_ERROR, "the first frame is not of settings")
                if kind < len(_HEAR):
                    _HEAR[kind](self, flags, number, payload)
        except Malformed as error:
            self.goaway(Code.COMPRESSION_ERROR)
            raise Violation(Code.COMPRESSION_ERROR, str(error)) from None
        except Violation as violation:
            self.goaway(violation.code)
            raise

    def _without_preface(self, data: bytes) -> bytes:
        wanted, self._preface = self._preface[: len(data)], self._preface[len(data) :]
        if data[: len(wanted)] != wanted:
            raise Violation(Code.PROTOCOL_ERROR, "it does not begin as HTTP/2 does")
        return data[len(wanted) :]

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._left -= size
        flow = self._flows.get(number)
        if flow is None:
            self._check_not_idle(number)
            self.consumed(number, size)
            if self._left < 0:
                raise Violation(Code.FLOW_CONTROL_ERROR, "more data than there was room for")
            return
        if flow.ended or not flow.heard:
            raise Violation(Code.STREAM_CLOSED, "data where none may be")
        flow.left -= size
        if self._left < 0 or flow.left < 0:
            raise Violation(Code.FLOW_CONTROL_ERROR, "more data than there was room for")
        ended = bool(flags & frames.END_STREAM)
        if ended:
            self._ended(number, flow)
        self._handler.on_data(number, frames.unpadded(flags, payload) if flags & frames.PADDED else payload, size, ended)

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & frames.PADDED:
            payload = frames.unpadded(flags, payload)
        if flags & frames.PRIORITISED:
            if len(payload) < 5:
                raise Violation(Code.FRAME_SIZE_ERROR, "a priority that is cut off")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._fields(flags, number, payload)
        else:
            self._block = (flags, number, bytearray(payload))

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[1] != number:
            raise Violation(Code.PROTOCOL_ERROR, "a continuation of nothing")
        block = self._block[2]
        block += payload
        if len(block) > MOST:
            raise Violation(Code.ENHANCE_YOUR_CALM, f"more than {MOST} bytes of headers")
        if flags & frames.END_HEADERS:
            first, self._block = self._block[0], None
            self._fields(first, number, bytes(block))

    def _fields(self, flags: int, number: int, block: bytes) -> None:
        try:
            headers = self._decoder.decode(block)  # whoever it is for: the table goes on
        except TooLong as error:
            return self._refuse(number, str(error))
        ended = bool(flags & frames.END_STREAM)
        flow = self._flows.get(number)
        if flow is None:
            return self._unknown(number, headers, ended)
        if flow.ended:
            raise Violation(Code.STREAM_CLOSED, "headers after the end of a stream")
        if flow.heard and not ended:
            raise Violation(Code.PROTOCOL_ERROR, "trailers that do not end the stream")
        if not flow.heard and not ended and headers and headers[0][0] == ":status" and headers[0][1].startswith("1"):
            return None  # what comes before a response means nothing to gRPC
        flow.heard = True
        if ended:
            self._ended(number, flow)
        return self._handler.on_headers(number, headers, ended)

    def _refuse(self, number: int, why: str) -> None:
        if number in self._flows:
            self.reset(number, Code.ENHANCE_YOUR_CALM)
            self._handler.on_refused(number, why)
        elif not self._client and number > self._last:
            self._last = number
            self._out.append(frames.reset(number, Code.ENHANCE_YOUR_CALM))

    def _unknown(self, number: int, headers: tuple[Pair, ...], ended: bool) -> None:
        if self._client:
            self._check_not_idle(number)
            return
        if not number & 1:
            raise Violation(Code.PROTOCOL_ERROR, f"a request on stream {number}")
        if number <= self._last:
            return  # of a call that was given up
        self._last = number
        if len(self._flows) >= MOST_CALLS:
            self._out.append(frames.reset(number, Code.REFUSED_STREAM))
            return
        flow = self._flows[number] = _Flow(self._first_window, heard=True)
        self._handler.on_request(number, headers)
        if ended:
            self._ended(number, flow)
            self._handler.on_data(number, b"", 0, True)

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 5:
            raise Violation(Code.FRAME_SIZE_ERROR, f"a priority of {len(payload)} bytes")

    def _rst_stream(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Violation(Code.FRAME_SIZE_ERROR, f"a reset of {len(payload)} bytes")
        self._check_not_idle(number)
        if self._flows.pop(number, None) is not None:
            self._handler.on_reset(number, frames.number_of(payload))

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Violation(Code.PROTOCOL_ERROR, "settings of a stream")
        if flags & frames.ACK:
            if payload:
                raise Violation(Code.FRAME_SIZE_ERROR, "settings in an answer to settings")
            return
        for name, value in dict(frames.settings_of(payload)).items():  # of one that is set more than once the last counts
            self._set(name, value)
        self._greeted = True
        self._out.append(_SETTINGS_TAKEN)
        self._handler.on_settings()

    def _set(self, name: int, value: int) -> None:
        match name:
            case Setting.ENABLE_PUSH if value > 1:
                raise Violation(Code.PROTOCOL_ERROR, f"push {value}")
            case Setting.MAX_CONCURRENT_STREAMS:
                self.most_calls = value
            case Setting.INITIAL_WINDOW_SIZE:
                grown, self._first_window = value - self._first_window, value
                for flow in self._flows.values():
                    flow.window += grown  # may well become negative
                if value > _MOST or any(flow.window > _MOST for flow in self._flows.values()):
                    raise Violation(Code.FLOW_CONTROL_ERROR, f"a window of {value}")
            case Setting.MAX_FRAME_SIZE:
                if not frames.LARGEST <= value < 2**24:
                    raise Violation(Code.PROTOCOL_ERROR, f"frames of {value} bytes")
                self._largest = min(value, 4 * frames.LARGEST)

    def _push_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise Violation(Code.PROTOCOL_ERROR, "a push, which was not asked for")

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Violation(Code.PROTOCOL_ERROR, "a ping of a stream")
        if len(payload) != 8:
            raise Violation(Code.FRAME_SIZE_ERROR, f"a ping of {len(payload)} bytes")
        if not flags & frames.ACK:
            self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) < 8:
            raise Violation(Code.PROTOCOL_ERROR, "a goodbye that is none")
        self._over = True
        self._handler.on_goaway()

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Violation(Code.FRAME_SIZE_ERROR, f"a window update of {len(payload)} bytes")
        size = frames.number_of(payload) & _MOST
        if not size:
            raise Violation(Code.PROTOCOL_ERROR, "a window that grows by nothing")
        if not number:
            self._window = window = self._window + size
        elif (flow := self._flows.get(number)) is not None:
            flow.window = window = flow.window + size
        else:
            return self._check_not_idle(number)
        if window > _MOST:
            raise Violation(Code.FLOW_CONTROL_ERROR, "a window that is too large")
        return self._handler.on_window(number)

    def _ended(self, number: int, flow: _Flow) -> None:
        flow.ended = True
        if flow.said_all:
            self._flows.pop(number, None)

    def _check_not_idle(self, number: int) -> None:
        """A stream that is over may still be spoken of; one that was never opened may not."""
        begun = self._next - 1 if self._client else self._last
        if not number or number > begun or not number & 1:
            raise Violation(Code.PROTOCOL_ERROR, f"stream {number} was never opened")


_SETTINGS_TAKEN = frames.frame(frames.SETTINGS, frames.ACK, 0)
_HEAR = (
    Protocol._data, Protocol._headers, Protocol._priority, Protocol._rst_stream, Protocol._settings, Protocol._push_promise,
    Protocol._ping, Protocol._goaway, Protocol._window_update, Protocol._continuation,
)  # fmt: skip
"""By a frame's kind."""
