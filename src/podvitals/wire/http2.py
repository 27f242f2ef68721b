"""One HTTP/2 connection over a Unix socket, for both ends: `Protocol` says what the bytes mean, this adds asyncio.

* Nothing waits for ever on a dead connection: its end wakes every reader and writer.
* A caller's task is never cancelled from here; failures are exceptions of the call that meets them.
"""

import asyncio
import threading
from collections.abc import Callable

from podvitals.wire import fairness
from podvitals.wire.fields import Headers, Pair
from podvitals.wire.frames import Code, Violation
from podvitals.wire.protocol import Protocol, StreamOver
from podvitals.wire.stream import CallFailed, PeerLost, Status, Stream

LITTLE = 16 * 1024
"""Bytes that may wait for the end of the event loop's turn."""
MOST_UNREAD = 128 * 1024
"""Bytes of our answers (to pings and settings, headers) that a peer may leave unread, beside the data its windows take."""


class _Reading(threading.local):
    """Connections that have something to say in answer to what is being read; None while nothing is."""

    answers: "list[Connection] | None" = None


_reading = _Reading()


class Connection(asyncio.BufferedProtocol):
    """An asyncio protocol for `loop.create_unix_connection` and `create_unix_server`. `on_request` makes it a server."""

    def __init__(self, on_request: Callable[[Stream], None] | None = None, on_lost: Callable[["Connection"], None] | None = None) -> None:
        self._on_request = on_request
        self._on_lost = on_lost
        self.protocol = Protocol(self, client=on_request is None)
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._can_write = asyncio.Event()
        self._greeted = asyncio.Event()
        self._closed = asyncio.Event()
        self._freed = asyncio.Event()
        self._flushing = self._grown = False
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
        # Of many that waited the first may have filled it again.
        while not self._can_write.is_set():
            await self._can_write.wait()
        self._check()

    async def room(self) -> None:
        """Returns when the peer takes one more call. Raises PeerLost."""
        self._check()
        while len(self._streams) >= self.protocol.most_calls:
            self._freed.clear()
            await self._freed.wait()
            self._check()

    def open(self, headers: Headers) -> Stream:
        """A new call with these request headers. Raises PeerLost, or CallFailed when the peer takes no more calls at once."""
        self._check()
        if len(self._streams) >= self.protocol.most_calls:
            raise CallFailed(Status.RESOURCE_EXHAUSTED, f"the peer takes {len(self._streams)} calls at once, no more")
        try:
            number = self.protocol.open(headers)
        except StreamOver as error:
            self._end(f"{error}")  # so that the next call finds that another connection is needed
            raise PeerLost(f"{error}") from None
        stream = self._streams[number] = Stream(self, number)
        self.flush()
        return stream

    def takes(self, size: int, number: int | None = None) -> bool:
        """Whether so much data can be sent without waiting, on this stream or on one that is opened for it."""
        if self._reason or not self._can_write.is_set() or (number is None and len(self._streams) >= self.protocol.most_calls):
            return False
        return self.protocol.room(number) >= size

    def send_headers(self, number: int, headers: Headers, *, end: bool) -> None:
        self._check()
        try:
            self.protocol.send_headers(number, headers, end=end)
        except StreamOver as error:
            raise PeerLost(f"{error}") from None
        self.flush()

    def send_data(self, number: int, data: memoryview, *, end: bool) -> int:
        """Sends what the windows take now, at once; returns how many bytes that was."""
        try:
            sent = self.protocol.send_data(number, data, end=end)
        except StreamOver as error:
            raise PeerLost(f"{error}") from None
        if sent < LITTLE:
            self.flush()
        else:
            self._write()  # so that a socket that takes no more says so before the next part
        return sent

    def acknowledge(self, number: int, size: int) -> None:
        self.protocol.consumed(number, size)

    def release(self, number: int, unacknowledged: int, *, reset: bool) -> None:
        if self._streams.pop(number, None) is None or self.lost:
            return
        if unacknowledged:
            self.protocol.consumed(number, unacknowledged)
        if reset:
            self.protocol.reset(number, Code.CANCEL if self._on_request is None else Code.NO_ERROR)
        self._freed.set()
        self.flush()

    def flush(self) -> None:
        """What was said in one turn of the event loop, or in answer to what was read in one go, goes out together: a call is five frames,
        and each write of its own a system call."""
        if not self._flushing and self._transport is not None and self.protocol.speaks:
            self._flushing = True
            if _reading.answers is not None:
                _reading.answers.append(self)
            else:
                asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._flushing = False
        data = self.protocol.take()
        if not data or self._transport is None or self._transport.is_closing():
            return
        waits = not self._can_write.is_set()
        self._transport.write(data)
        if waits:
            # Calls wait until the socket takes more. Of the rest, a peer that asks and asks and does not read would have us keep all.
            self._unread += self.protocol.besides
            if self._unread > MOST_UNREAD:
                self._end("the other side does not read what it asks for")

    async def close(self) -> None:
        """Says goodbye, drops what is not sent and returns when the socket is closed."""
        if self._transport is None:
            self._reason = "the connection was closed"
            return
        if not self.lost:
            self.protocol.goaway()
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
        self.protocol.greet()
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
        answers: list[Connection] = []
        _reading.answers = answers
        try:
            self._read(data)
        finally:
            _reading.answers = None
            for connection in answers:
                connection._write()
        self._fairness.end(self._transport)

    def _read(self, data: bytes) -> None:
        try:
            self.protocol.receive(data)
        except Violation as violation:
            self._write()  # the goodbye says why
            self._end(f"the other side does not keep to HTTP/2: {violation}")
        if self._grown:
            self._grown = False
            for stream in self._streams.values():
                stream.window_grew()
        self._write()

    # podvitals.wire.protocol.Handler. What is said of streams that are released already means nothing.

    def on_request(self, number: int, headers: tuple[Pair, ...]) -> None:
        stream = self._streams[number] = Stream(self, number, headers)
        if self._on_request is not None:
            self._on_request(stream)

    def on_headers(self, number: int, headers: tuple[Pair, ...], ended: bool) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.said(headers)
        if ended:
            stream.ended()

    def on_data(self, number: int, data: bytes, size: int, ended: bool) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return self.protocol.consumed(number, size)
        return stream.received(data, size, ended)

    def on_reset(self, number: int, code: int) -> None:
        if (stream := self._streams.get(number)) is not None:
            stream.lost(f"the other side gave the call up (HTTP/2 error {code})", code)

    def on_refused(self, number: int, why: str) -> None:
        if (stream := self._streams.get(number)) is not None:
            stream.refused(why)

    def on_window(self, number: int) -> None:
        if not number:
            self._grown = True  # a frame of a few bytes: all streams are told once, when all is read
        elif (stream := self._streams.get(number)) is not None:
            stream.window_grew()

    def on_settings(self) -> None:
        self._greeted.set()
        self._freed.set()
        self._grown = True

    def on_goaway(self) -> None:
        self._end("the other side is closing the connection")
