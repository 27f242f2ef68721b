"""One HTTP/2 connection over a Unix socket, for both ends. Protocol state is h2's; this adds asyncio.

* Nothing waits for ever on a dead connection: its end wakes every reader and writer.
* A caller's task is never cancelled from here; failures are exceptions of the call that meets them.
"""

import asyncio
import contextlib
from collections.abc import Callable

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

from podvitals.wire import fairness
from podvitals.wire.stream import CallFailed, Headers, PeerLost, Status, Stream

STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes a peer may send ahead on one stream: a report of 1 MiB never waits for a window update."""
CONNECTION_WINDOW = 16 * 1024 * 1024
LITTLE = 16 * 1024
"""Bytes that may wait for the end of the event loop's turn."""
MOST_CALLS = 1000
"""Calls a peer may have open at once; h2 would take 100, fewer than the pods of a node. Who wants more waits."""
_FIRST_WINDOW = 65535
MOST_UNREAD = 128 * 1024
"""Bytes of our answers (to pings, settings) that a peer may leave unread."""


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
        self._freed = asyncio.Event()
        self._flushing = False
        self._reason = ""
        self._buffer = memoryview(bytearray(fairness.MOST))
        self._fairness = fairness.Fairness()
        self._unread = 0

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

    async def room(self) -> None:
        """Returns when the peer takes one more call. Raises PeerLost."""
        self._check()
        # h2 counts its streams one by one each time it is asked.
        while len(self._streams) >= self._h2.remote_settings.max_concurrent_streams:
            self._freed.clear()
            await self._freed.wait()
            self._check()

    def open(self, headers: Headers) -> Stream:
        """A new call with these request headers. Raises PeerLost, or CallFailed when the peer takes no more calls at once."""
        self._check()
        if len(self._streams) >= self._h2.remote_settings.max_concurrent_streams:
            raise CallFailed(Status.RESOURCE_EXHAUSTED, f"the peer takes {len(self._streams)} calls at once, no more")
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
        if sent < LITTLE:
            self.flush()
        else:
            self._write()  # so that a socket that takes no more says so before the next part
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
        self._freed.set()
        self.flush()

    def flush(self) -> None:
        """What was said in one turn of the event loop goes out together: a call is five frames, and each write of its own a system call."""
        if not self._flushing and self._transport is not None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> int:
        """How many bytes went out."""
        self._flushing = False
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        return len(data)

    async def close(self) -> None:
        """Says goodbye, drops what is not sent and returns when the socket is closed."""
        if self._transport is None:
            self._reason = "the connection was closed"
            return
        if not self.lost:
            with contextlib.suppress(H2Error):
                self._h2.close_connection()
            self._write()
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
        for event in (self._greeted, self._can_write, self._freed):
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
        settings: dict[SettingCodes | int, int] = {
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_CONCURRENT_STREAMS: MOST_CALLS,
        }
        if self._on_request is None:
            settings[SettingCodes.ENABLE_PUSH] = 0
        self._h2.update_settings(settings)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection broke: {exc}" if exc else "the other side closed the connection")
        self._fairness.stop()
        self._closed.set()
        if self._on_lost is not None:
            self._on_lost(self)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._unread = 0
        self._can_write.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[: self._fairness.size]

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        if self.lost or self._transport is None:
            return
        self._fairness.begin()
        self._read(data)
        self._fairness.end(self._transport)

    def _read(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except H2Error as error:
            self._write()  # h2 has prepared a GOAWAY that says why
            self._end(f"the other side does not keep to HTTP/2: {error}")
        else:
            self._answer()

    def _answer(self) -> None:
        """Sends what HTTP/2 has to say by itself. A peer that asks and asks and does not read the answers would have us keep them all."""
        answered = self._write()
        if not self._can_write.is_set():
            self._unread += answered
            if self._unread > MOST_UNREAD:
                self._end("the other side does not read what it asks for")

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived():
                stream = self._streams[event.stream_id] = Stream(self, event.stream_id, _decoded(event.headers))
                if self._on_request is not None:
                    self._on_request(stream)
            case RemoteSettingsChanged():
                self._greeted.set()
                self._freed.set()
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
