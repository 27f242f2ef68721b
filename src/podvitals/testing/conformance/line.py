"""One connection to a plugin's socket, on which anything can be asked: methods nobody serves, calls half made, bytes that are no HTTP/2.

PluginClient knows the calls there are and turns what it meets into podvitals' errors; a judge wants the status as it came.
"""

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from podvitals.device.text import clean
from podvitals.testing.conformance.case import Failed
from podvitals.wire.http2 import Connection
from podvitals.wire.stream import CallFailed, PeerLost, Status, Stream

DIAL_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """How a unary call ended: its gRPC status, its message if it had one, and what was said beside the status."""

    status: Status
    message: bytes = b""
    text: str = ""

    def __str__(self) -> str:
        return f"{self.status.name} {clean(self.text, 200)}".strip()


class Line:
    """`async with Line(path) as line`. Failed where nobody listens, or where nothing that speaks HTTP/2 does."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        self._connection = await _dialled(self.path)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    @property
    def lost(self) -> bool:
        return self._connection is None or self._connection.lost

    def open(self, method: str, timeout: float | None = None) -> Stream:
        """A call begun, its request not sent: `stream.send(…)`, and `stream.close()` in the end."""
        assert self._connection is not None
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            *([("grpc-timeout", f"{int(timeout * 1000)}m")] if timeout is not None else []),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "podvitals-conformance"),
        ]
        return self._connection.open(headers)

    async def call(self, method: str, request: bytes = b"", *, timeout: float = 10.0) -> Answer:
        """A unary call. Failed when there is no answer in time, or the connection breaks."""
        try:
            async with asyncio.timeout(timeout):
                stream = self.open(method, timeout)
                try:
                    await stream.send(request, end=True)
                    return await _answer(stream)
                finally:
                    stream.close()
        except TimeoutError:
            raise Failed(f"{method} was not answered within {timeout:g} s") from None
        except PeerLost as lost:
            raise Failed(f"{method}: {lost}") from None
        except CallFailed as failed:
            raise Failed(f"{method}: {failed.text}") from None

    async def watch(self, method: str) -> Stream:
        """A stream opened with an empty request. Its owner closes it."""
        stream = self.open(method)
        try:
            await stream.send(b"", end=True)
        except PeerLost as lost:
            if stream.headers is None:
                raise Failed(f"{method}: {lost}") from None
        return stream


async def _answer(stream: Stream) -> Answer:
    message = await stream.message()
    if message is not None:
        await stream.message()
    return status_of(stream, message or b"")


def status_of(stream: Stream, message: bytes = b"") -> Answer:
    """How an ended call ended."""
    headers = stream.headers or {}
    code = stream.trailers.get("grpc-status", headers.get("grpc-status"))
    if code is None:
        return Answer(Status.UNKNOWN, message, f"HTTP {headers.get(':status', 'nothing')} and no gRPC status")
    text = stream.trailers.get("grpc-message", headers.get("grpc-message", ""))
    return Answer(Status(int(code)) if code.isascii() and code.isdigit() else Status.UNKNOWN, message, text)


async def _dialled(path: Path) -> Connection:
    connection = Connection()
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=connected(path))
            await connection.greeted()
    except TimeoutError:
        await connection.close()
        raise Failed(f"{path} takes a connection and says nothing for {DIAL_TIMEOUT:g} s") from None
    except PeerLost as lost:
        await connection.close()
        raise Failed(f"{path} takes a connection but does not speak HTTP/2: {lost}") from None
    except OSError as error:
        raise _undialled(path, error) from None
    return connection


def stranger(path: Path) -> socket.socket:
    """A connection on which nothing has been said. Failed where nobody listens."""
    try:
        return connected(path)
    except OSError as error:
        raise _undialled(path, error) from None


def _undialled(path: Path, error: OSError) -> Failed:
    seen = f"{path}: {os.strerror(error.errno) if error.errno else error}"
    match error:
        case ConnectionRefusedError():
            return Failed(seen, "start the driver: its socket is left from one that has gone, and nobody listens on it")
        case PermissionError():
            return Failed(seen, "run this as root, or as the user the driver runs as")
        case _:
            return Failed(seen)


def connected(path: Path) -> socket.socket:
    """A connected socket that does not block. OSError where nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(os.fspath(path))
    except BaseException:
        sock.close()
        raise
    return sock
