"""gRPC messages on one HTTP/2 stream: framing, limits, flow control.

* What arrived before the stream broke is delivered first: a driver's last word before it dies may be the important one.
* A message larger than MESSAGE_LIMIT is refused when its length is known, before its bytes are kept. A stream whose reader is slow holds
  at most that and one flow-control window.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from podvitals.wire.fields import Headers, Pair
from podvitals.wire.messages import MESSAGE_LIMIT

if TYPE_CHECKING:
    from podvitals.wire.http2 import Connection

_PREFIX = struct.Struct(">BI")
PREFIX = _PREFIX.size
"""Bytes before each message."""


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

    def __init__(self, connection: "Connection", number: int, headers: tuple[Pair, ...] | None = None) -> None:
        self.number = number
        self.headers = None if headers is None else dict(headers)
        """What the peer sent first: the request's headers on a server, the response's on a client."""
        self.trailers: dict[str, str] = {}
        self.last: tuple[Pair, ...] = headers or ()
        """The newest of both, as they came: a name may come twice."""
        self.on_gone: Callable[[], object] | None = None
        """Called once when the peer gave the call up, or its connection broke."""
        self.on_arrived: Callable[[], object] | None = None
        """Called whenever something came, the end included."""
        self._connection = connection
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._unacknowledged = 0
        self._ended = False
        self._said_all = False
        self.only_first = False
        """What comes after the first message is dropped: a unary answer has no second."""
        self._deaf = False
        self.reset: int | None = None
        """HTTP/2's code, where the peer ended the call with one."""
        self._failure: PeerLost | CallFailed | None = None
        self._arrived = asyncio.Event()
        self._window = asyncio.Event()

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self._ended or self._failure is not None

    def whole(self) -> bytes | None:
        """The message, where the peer said just one and ended; it stays to be taken by `message()`."""
        return self._messages[0] if self._messages and self._ended and self._failure is None and not self._partial else None

    def first(self) -> bytes | None:
        """The first message of a call that is over, without waiting. Raises PeerLost or CallFailed where it came to a bad end."""
        if self._failure is not None:
            raise self._failure
        return self._messages[0] if self._messages else None

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
        self._cut()
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

    async def writable(self) -> None:
        """Returns when the socket takes data. Raises PeerLost."""
        await self._connection.writable()

    def takes(self, message: bytes) -> bool:
        """Whether `send_now` can be called."""
        return self._failure is None and self._connection.takes(PREFIX + len(message), self.number)

    def send_now(self, message: bytes, *, end: bool = False) -> None:
        """Sends what the peer `takes` at once."""
        self._connection.send_data(self.number, memoryview(_PREFIX.pack(0, len(message)) + message), end=end)
        self._said_all = end

    def close(self) -> None:
        """Ends the call: with RST_STREAM unless both sides have ended."""
        self._connection.release(self.number, self._unacknowledged, reset=not (self._ended and self._said_all))
        self._unacknowledged = 0
        self.on_arrived = self.on_gone = None

    # Called by the connection.

    def said(self, headers: tuple[Pair, ...]) -> None:
        self.last = headers
        if self.headers is None:
            self.headers = dict(headers)
        else:
            self.trailers = dict(headers)

    def received(self, data: bytes, flow_controlled: int, ended: bool) -> None:
        self._unacknowledged += flow_controlled
        if self._failure is None and not self._deaf:
            self._partial += data
            self._cut()
        if self.only_first or not self._messages:
            self._acknowledge()
        if ended:
            self._end()
        self._tell()

    def ended(self) -> None:
        self._end()
        self._tell()

    def _end(self) -> None:
        self._ended = True
        self._check_rest()

    def _check_rest(self) -> None:
        if self._ended and self._partial and not self._messages and self._failure is None:
            self._failure = CallFailed(Status.INTERNAL, "the stream ended in the middle of a message")

    def _tell(self) -> None:
        self._arrived.set()
        if self.on_arrived is not None:
            self.on_arrived()

    def _cut(self) -> None:
        """Makes a message of what has come, unless one waits: a message of two bytes costs fifty."""
        if self._messages or len(self._partial) < PREFIX:
            return self._check_rest()
        compressed, size = _PREFIX.unpack_from(self._partial)
        if compressed:
            return self._refuse(Status.UNIMPLEMENTED, "compressed messages are not accepted")
        if size > MESSAGE_LIMIT:
            return self._refuse(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes is larger than the {MESSAGE_LIMIT} accepted")
        if len(self._partial) >= PREFIX + size:
            self._messages.append(bytes(self._partial[PREFIX : PREFIX + size]))
            del self._partial[: PREFIX + size]
            if self.only_first:
                self._deaf = True
                self._partial.clear()
        return self._check_rest()

    def refused(self, why: str) -> None:
        self._refuse(Status.RESOURCE_EXHAUSTED, why)
        self._tell()

    def _refuse(self, status: Status, text: str) -> None:
        self._partial.clear()
        self._failure = CallFailed(status, text)

    def _acknowledge(self) -> None:
        if self._unacknowledged:
            self._connection.acknowledge(self.number, self._unacknowledged)
            self._unacknowledged = 0

    def window_grew(self) -> None:
        self._window.set()

    def lost(self, reason: str, reset: int | None = None) -> None:
        self.reset = reset
        # A server may reset a stream it has ended already: then all is said.
        if not self._ended or self.on_gone is not None:
            self._failure = self._failure or PeerLost(reason)
        self._window.set()
        on_gone, self.on_gone = self.on_gone, None
        self._tell()
        if on_gone is not None:
            on_gone()
