"""One HTTP/2 connection over a Unix socket and the gRPC messages on its streams, for both ends. Protocol state is h2's; this adds asyncio.

Rules kept here, so that client and server need not think of them:
* What arrived before a stream or connection broke is delivered first: a driver's last word before it dies may be the important one.
* Nothing waits for ever on a dead connection: its end wakes every reader and writer.
* A message larger than MESSAGE_LIMIT is refused when its length is known, before its bytes are kept. A stream whose reader is slow holds
  at most that and one flow-control window.
* A caller's task is never cancelled from here; failures are exceptions of the call that meets them.
"""

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from podvitals.wire.messages import MESSAGE_LIMIT

STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes a peer may send ahead on one stream: a report of 1 MiB never waits for a window update."""
CONNECTION_WINDOW = 16 * 1024 * 1024
_FIRST_WINDOW = 65535
READ_SIZE = 16 * 1024
"""Bytes read at a time. asyncio's 256 KiB, full of tiny frames, kept the event loop busy for 60 ms."""
_PREFIX = struct.Struct(">BI")

Headers = Sequence[tuple[str, str]]


class Status(IntEnum):
    """gRPC status codes: those named in this package, and UNKNOWN for a number nobody knows."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @classmethod
    def _missing_(cls, value: object) -> "Status":
        return cls.UNKNOWN


class PeerLost(Exception):
    """The connection, or this stream of it, ended without a gRPC status."""


class CallFailed(Exception):
    """A gRPC status that is not OK: the peer's, or ours about what the peer sent."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Stream:
    """One gRPC call. Made by `Connection.open` or handed to `on_request`; its owner calls `close()` in the end, whatever happened."""

    def __init__(self, connection: "Connection", number: int, headers: dict[str, str] | None = None) -> None:
        self.number = number
        self.headers = headers
        """What the peer sent first: the request's headers on a server, the response's on a client."""
        self.trailers: dict[str, str] = {}
        self.on_gone: Callable[[], object] | None = None
        """Called once when the peer gave the call up, or its connection broke."""
        self._connection = connection
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._unacknowledged = 0
        self._ended = False
        self._said_all = False
        self._failure: PeerLost | CallFailed | None = None
        self._arrived = asyncio.Event()
        self._window = asyncio.Event()

    async def message(self) -> bytes | None:
        """The next message; None when the peer ended its side. Raises PeerLost or CallFailed after the last message that came whole."""
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        if not self._messages:
            self._acknowledge()
            self._connection.flush()
        return message

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        self._connection.send_headers(self.number, headers, end=end)
        self._said_all = end

    async def send(self, message: bytes, *, end: bool = False) -> None:
        """Sends as fast as the peer's window allows. Raises PeerLost when the peer is or goes away, CallFailed for what no peer takes."""
        if len(message) > MESSAGE_LIMIT:
            raise CallFailed(
                Status.RESOURCE_EXHAUSTED, f"a message of {len(message)} bytes is larger than the {MESSAGE_LIMIT} that may be sent"
            )
        data = memoryview(_PREFIX.pack(0, len(message)) + message)
        while True:
            await self._connection.writable()
            if isinstance(self._failure, PeerLost):
                raise self._failure
            self._window.clear()
            sent = self._connection.send_data(self.number, data, end=end)
            data = data[sent:]
            if not data:
                self._said_all = end
                return
            if not sent:
                await self._window.wait()

    def close(self) -> None:
        """Ends the call: with RST_STREAM unless both sides have ended."""
        self._connection.release(self.number, self._unacknowledged, reset=not (self._ended and self._said_all))
        self._unacknowledged = 0

    # Called by the connection.

    def received(self, data: bytes, flow_controlled: int) -> None:
        self._unacknowledged += flow_controlled
        if self._failure is None:
            self._partial += data
            self._split()
        if not self._messages:
            self._acknowledge()
        self._arrived.set()

    def _split(self) -> None:
        while len(self._partial) >= _PREFIX.size:
            compressed, size = _PREFIX.unpack_from(self._partial)
            if compressed:
                return self._refuse(Status.UNIMPLEMENTED, "compressed messages are not accepted")
            if size > MESSAGE_LIMIT:
                return self._refuse(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes is larger than the {MESSAGE_LIMIT} accepted")
            if len(self._partial) < _PREFIX.size + size:
                return None
            self._messages.append(bytes(self._partial[_PREFIX.size : _PREFIX.size + size]))
            del self._partial[: _PREFIX.size + size]
        return None

    def _refuse(self, status: Status, text: str) -> None:
        self._partial.clear()
        self._failure = CallFailed(status, text)

    def _acknowledge(self) -> None:
        if self._unacknowledged:
            self._connection.acknowledge(self.number, self._unacknowledged)
            self._unacknowledged = 0

    def ended(self) -> None:
        self._ended = True
        if self._partial and self._failure is None:
            self._failure = CallFailed(Status.INTERNAL, "the stream ended in the middle of a message")
        self._arrived.set()

    def started(self, headers: dict[str, str]) -> None:
        self.headers = headers

    def window_grew(self) -> None:
        self._window.set()

    def lost(self, reason: str) -> None:
        # A server may reset a stream it has ended already: then all is said.
        if not self._ended or self.on_gone is not None:
            self._failure = self._failure or PeerLost(reason)
        self._arrived.set()
        self._window.set()
        if self.on_gone is not None:
            self.on_gone()
            self.on_gone = None


class Connection(asyncio.BufferedProtocol):
    """An asyncio protocol for `loop.create_unix_connection` and `create_unix_server`. `on_request` makes it a server."""

    def __init__(self, on_request: Callable[[Stream], None] | None = None, on_lost: Callable[["Connection"], None] | None = None) -> None:
        self._on_request = on_request
        self._on_lost = on_lost
        # Bytes in, bytes out: a header that is not ASCII must not raise in the middle of h2.
        self._h2 = H2Connection(
            H2Configuration(
                client_side=on_request is None,
                header_encoding=None,
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_inbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._can_write = asyncio.Event()
        self._greeted = asyncio.Event()
        self._closed = asyncio.Event()
        self._reason = ""
        self._buffer = memoryview(bytearray(READ_SIZE))

    @property
    def lost(self) -> bool:
        """Whether no call can be made on it any more."""
        return bool(self._reason)

    async def greeted(self) -> None:
        """Returns when the peer has sent its settings, so that somebody is known to be there. Raises PeerLost."""
        await self._greeted.wait()
        self._check()

    async def ended(self) -> None:
        """Returns when the socket is closed, whoever closed it."""
        await self._closed.wait()

    async def writable(self) -> None:
        """Returns when the socket takes data. Raises PeerLost."""
        await self._can_write.wait()
        self._check()

    def open(self, headers: Headers) -> Stream:
        """A new call with these request headers. Raises PeerLost, or CallFailed when the peer takes no more calls at once."""
        self._check()
        if self._h2.open_outbound_streams >= self._h2.remote_settings.max_concurrent_streams:
            raise CallFailed(Status.RESOURCE_EXHAUSTED, f"the peer takes {self._h2.open_outbound_streams} calls at once, no more")
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, headers)
        except H2Error as error:
            raise PeerLost(f"{error}") from None
        stream = self._streams[number] = Stream(self, number)
        self.flush()
        return stream

    def send_headers(self, number: int, headers: Headers, *, end: bool) -> None:
        self._check()
        # h2 would open a new stream under the number of one that is gone.
        if number not in self._streams:
            raise PeerLost("the call is over")
        try:
            self._h2.send_headers(number, headers, end_stream=end)
        except H2Error as error:
            raise PeerLost(f"{error}") from None
        self.flush()

    def send_data(self, number: int, data: memoryview, *, end: bool) -> int:
        """Sends what the windows take now, at once; returns how many bytes that was."""
        sent = 0
        try:
            while sent < len(data):
                size = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size, len(data) - sent)
                if size <= 0:
                    break
                self._h2.send_data(number, bytes(data[sent : sent + size]), end_stream=end and sent + size == len(data))
                sent += size
        except H2Error as error:
            raise PeerLost(f"{error}") from None
        self.flush()
        return sent

    def acknowledge(self, number: int, size: int) -> None:
        with contextlib.suppress(H2Error):  # a connection that is closing: nobody waits for this window
            self._h2.acknowledge_received_data(size, number)

    def release(self, number: int, unacknowledged: int, *, reset: bool) -> None:
        if self._streams.pop(number, None) is None or self.lost:
            return
        if unacknowledged:
            self.acknowledge(number, unacknowledged)
        if reset:
            with contextlib.suppress(H2Error):  # the peer reset it first
                self._h2.reset_stream(number, ErrorCodes.CANCEL if self._on_request is None else ErrorCodes.NO_ERROR)
        self.flush()

    def flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def close(self) -> None:
        """Says goodbye, drops what is not sent and returns when the socket is closed."""
        if self._transport is None:
            self._reason = "the connection was closed"
            return
        if not self.lost:
            with contextlib.suppress(H2Error):
                self._h2.close_connection()
            self.flush()
        self._end("the connection was closed")
        await self._closed.wait()

    async def abort(self) -> None:
        """Drops the connection without a word and returns when the socket is closed."""
        if self._transport is None:
            self._reason = "the connection was dropped"
            return
        self._transport.abort()
        await self._closed.wait()

    def _check(self) -> None:
        if self._reason:
            raise PeerLost(self._reason)

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        for event in (self._greeted, self._can_write):
            event.set()
        for stream in list(self._streams.values()):
            stream.lost(self._reason)
        self._streams.clear()
        if self._transport is not None:
            # close() waits for a peer to read what is left, for ever if it does not.
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            else:
                self._transport.close()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.lost:  # closed between accept() and here
            transport.abort()
            return
        self._can_write.set()
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - _FIRST_WINDOW)
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW})
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection broke: {exc}" if exc else "the other side closed the connection")
        self._closed.set()
        if self._on_lost is not None:
            self._on_lost(self)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        if self.lost:
            return
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except H2Error as error:
            self.flush()  # h2 has prepared a GOAWAY that says why
            self._end(f"the other side does not keep to HTTP/2: {error}")
        else:
            self.flush()

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived():
                stream = self._streams[event.stream_id] = Stream(self, event.stream_id, _decoded(event.headers))
                if self._on_request is not None:
                    self._on_request(stream)
            case RemoteSettingsChanged():
                self._greeted.set()
                self._windows_grew()
            case WindowUpdated() if event.stream_id == 0:
                self._windows_grew()
            case ConnectionTerminated():
                # h2 can send nothing after a GOAWAY, so the calls in flight end here too.
                self._end("the other side is closing the connection")
            case DataReceived() if event.stream_id not in self._streams:
                self.acknowledge(event.stream_id, event.flow_controlled_length or 0)
            case _:
                self._handle_stream(event)

    def _handle_stream(self, event: Event) -> None:
        # Frames of streams already released, and kinds nobody here has a use for, mean nothing.
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        match event:
            case ResponseReceived():
                stream.started(_decoded(event.headers))
            case DataReceived():
                stream.received(event.data or b"", event.flow_controlled_length or 0)
            case TrailersReceived():
                stream.trailers = _decoded(event.headers)
            case StreamEnded():
                stream.ended()
            case WindowUpdated():
                stream.window_grew()
            case StreamReset():
                stream.lost(f"the other side gave the call up (HTTP/2 error {int(event.error_code or 0)})")

    def _windows_grew(self) -> None:
        for stream in self._streams.values():
            stream.window_grew()


def _decoded(headers: object) -> dict[str, str]:
    assert isinstance(headers, list)
    return {bytes(name).decode("latin-1"): bytes(value).decode("utf-8", "replace") for name, value in headers}
