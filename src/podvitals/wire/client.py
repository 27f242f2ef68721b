"""PluginClient: calls the plugin behind a Unix socket, its registration as well as its DRA and health services.

It connects when first needed and again when the connection was lost; it has no tasks of its own and retries nothing, because only its
user knows what a retry means. Raises PluginUnreachable, PluginUnimplemented and PluginProtocolError, nothing else.
"""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from podvitals.device.text import clean
from podvitals.errors import PluginError, PluginProtocolError, PluginUnimplemented, PluginUnreachable
from podvitals.wire import convert
from podvitals.wire.endpoint import LONGEST_PATH
from podvitals.wire.fields import Headers
from podvitals.wire.http2 import Connection
from podvitals.wire.messages import ClaimRef, PluginInfo, PrepareResult
from podvitals.wire.passing import Outcome, Pairs, RawAnswer, RawCall, answer_of_reset, timeout_text
from podvitals.wire.services import GET_INFO, NOTIFY, prepare_method, unprepare_method, watch_method
from podvitals.wire.stream import PREFIX, CallFailed, PeerLost, Status, Stream

CONNECT_TIMEOUT = 5.0
"""Seconds for the connection and the peer's first frame: a stopped process accepts and never speaks."""
REGISTRATION_TIMEOUT = 10.0
LONGEST_INFO = 64 * 1024
DRA_TIMEOUT = 45.0
"""The kubelet's deadline for prepare and unprepare."""
_RETRY_DIAL = 0.02
_HTTP_STATUS = {"404": Status.UNIMPLEMENTED, "401": Status.UNAUTHENTICATED, "403": Status.PERMISSION_DENIED, "503": Status.UNAVAILABLE}


class PluginClient:
    """One plugin socket. All calls share one connection, as the kubelet's do (CONTRACT §3)."""

    def __init__(self, path: Path | str, *, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self.path = Path(path)
        self._connect_timeout = connect_timeout
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._closed = 0  # how often, so that a dial under way while it is closed does not stay

    async def get_info(self, timeout: float = REGISTRATION_TIMEOUT) -> PluginInfo:
        answer = await self._call(GET_INFO, b"", timeout)
        if len(answer) > LONGEST_INFO:
            raise PluginProtocolError(f"{self.path} answered GetInfo with {len(answer)} bytes; more than {LONGEST_INFO} are not read")
        return convert.decode_info(answer)

    async def notify_registration(self, registered: bool, error: str = "", timeout: float = REGISTRATION_TIMEOUT) -> None:
        """Tells the plugin whether it is registered. Only the one registrar of a directory does this; an observer must not."""
        await self._call(NOTIFY, convert.encode_status(registered, error), timeout)

    async def prepare(self, version: str, claims: Sequence[ClaimRef], timeout: float = DRA_TIMEOUT) -> dict[str, PrepareResult]:
        """Prepares the claims through DRA service `version`; the result of each by uid. No claims: asks whether the driver is alive."""
        answer = await self._call(prepare_method(version), convert.encode_claims(claims), timeout)
        return convert.decode_prepared(answer)

    async def unprepare(self, version: str, claims: Sequence[ClaimRef], timeout: float = DRA_TIMEOUT) -> dict[str, str]:
        """The error of each claim by uid, "" where it is unprepared."""
        answer = await self._call(unprepare_method(version), convert.encode_claims(claims), timeout)
        return convert.decode_unprepared(answer)

    async def watch_health(self, version: str) -> AsyncGenerator[bytes, None]:
        """The reports of health service `version` as they come, undecoded (convert.decode_report), until the driver ends the stream.

        Leaving it by cancellation or `aclose()` closes the stream; a loop that may be left early is best put into `contextlib.aclosing`.
        There is no timeout: what silence means is the lease's business."""
        method = watch_method(version)
        async with self._open(method, b"", None) as stream:
            while (raw := await self._next(stream, method)) is not None:
                yield raw
            self._check_status(stream, method)

    async def pass_on(self, call: RawCall) -> RawAnswer:
        """Makes a unary call with the bytes given; whatever status the plugin ends it with is its answer.

        Raises PluginUnreachable where it gave none: there is nobody, the connection broke, or the call's time was up."""
        try:
            async with asyncio.timeout(call.timeout), self._open(call.method, call.request, call.timeout, call.metadata) as stream:
                stream.only_first = True
                try:
                    message = await self._next(stream, call.method)
                    if message is not None:
                        await self._next(stream, call.method)
                    return self._answer(stream, call.method, message)
                except PluginUnreachable:
                    if (answer := answer_of_reset(stream.reset)) is None:
                        raise
                    return answer
        except TimeoutError:
            raise self._late(call) from None

    def begin(self, call: RawCall, done: Callable[[Outcome], None]) -> Callable[[], None] | None:
        """`pass_on` for one who does not wait (`passing.PassHandler`); None where it would have to."""
        connection = self._connection
        if connection is None or not connection.takes(PREFIX + len(call.request)):
            return None
        try:
            stream = connection.open(_headers(call.method, call.timeout, call.metadata))
        except PeerLost:
            return None
        stream.only_first = True
        stream.send_now(call.request, end=True)

        def end(outcome: Outcome) -> None:
            give_up()
            done(outcome)

        def arrived() -> None:
            if stream.over:
                end(self._outcome(stream, call.method))

        def give_up() -> None:
            if timer is not None:
                timer.cancel()
            stream.close()

        timer = None if call.timeout is None else asyncio.get_running_loop().call_later(call.timeout, lambda: end(self._late(call)))
        stream.on_arrived = arrived
        return give_up

    def _outcome(self, stream: Stream, method: str) -> Outcome:
        """Of a begun call that is over."""
        try:
            try:
                return self._answer(stream, method, stream.first())
            except (PeerLost, CallFailed) as error:
                raise self._broken(stream, method, error) from None
        except PluginUnreachable:
            return answer_of_reset(stream.reset)
        except PluginError as error:
            return error

    def _answer(self, stream: Stream, method: str, message: bytes | None) -> RawAnswer:
        """Of a call that is over and had this message. A second one is no unary answer; the first one counts."""
        if "grpc-status" not in (stream.trailers or stream.headers or {}):
            self._check_status(stream, method)
        return RawAnswer(message, tuple(pair for pair in stream.last if not pair[0].startswith(":") and pair[0] != "content-type"))

    def _late(self, call: RawCall) -> PluginUnreachable:
        return PluginUnreachable(f"{self.path} did not answer {_short(call.method)} within {call.timeout:g} s")

    async def connect(self) -> None:
        """Connects now, unless it is connected: returns when the plugin has greeted. Raises PluginUnreachable."""
        await self._connected()

    async def disconnected(self) -> None:
        """Returns when there is no connection, or none any more: whoever has no call open learns in this way that the plugin is gone."""
        if self._connection is not None:
            await self._connection.ended()

    async def close(self) -> None:
        """Ends all calls and closes the connection; a later call opens a new one."""
        self._closed += 1
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # --- one call -------------------------------------------------------------------------------------------------------------

    async def _call(self, method: str, request: bytes, timeout: float) -> bytes:
        try:
            async with asyncio.timeout(timeout), self._open(method, request, timeout) as stream:
                answer = await self._next(stream, method)
                if answer is None:
                    self._check_status(stream, method)
                    raise PluginProtocolError(f"{self.path} answered {_short(method)} with success but no message")
                # The status comes after the message and can still say that the call failed.
                if await self._next(stream, method) is not None:
                    raise PluginProtocolError(f"{self.path} answered {_short(method)} with more than one message")
                self._check_status(stream, method)
                return answer
        except TimeoutError:
            raise PluginUnreachable(f"{self.path} did not answer {_short(method)} within {timeout:g} s") from None

    @asynccontextmanager
    async def _open(self, method: str, request: bytes, timeout: float | None, metadata: Pairs = ()) -> AsyncIterator[Stream]:
        connection = await self._connected()
        try:
            await connection.room()
            stream = connection.open(_headers(method, timeout, metadata))
        except (PeerLost, CallFailed) as error:
            raise self._error(error, method) from None
        try:
            try:
                await stream.send(request, end=True)
            except PeerLost as error:
                # It may have refused before it read: then the status is there, or comes as the reason.
                if stream.headers is None:
                    raise self._error(error, method) from None
            except CallFailed as error:
                raise self._error(error, method) from None
            yield stream
        finally:
            stream.close()

    async def _next(self, stream: Stream, method: str) -> bytes | None:
        try:
            return await stream.message()
        except (PeerLost, CallFailed) as error:
            raise self._broken(stream, method, error) from None

    def _broken(self, stream: Stream, method: str, error: PeerLost | CallFailed) -> PluginError:
        if isinstance(error, PeerLost):
            return self._error(error, method)
        if (stream.headers or {}).get(":status") != "200":  # then its body need not be gRPC
            self._check_status(stream, method)
        return PluginProtocolError(f"{self.path}, {_short(method)}: {error.text}")

    def _check_status(self, stream: Stream, method: str) -> None:
        """Raises unless the call ended with gRPC status OK."""
        headers = stream.headers or {}
        # grpclib answers an unknown method without a content type; its status still means what it says.
        code = stream.trailers.get("grpc-status", headers.get("grpc-status"))
        if code is None:
            http = headers.get(":status", "nothing")
            text = f"HTTP {http} and no gRPC status"
            raise self._error(CallFailed(_HTTP_STATUS.get(http, Status.UNKNOWN), text), method)
        if code != "0":
            said = unquote(stream.trailers.get("grpc-message", headers.get("grpc-message", "")), errors="replace")
            raise self._error(CallFailed(_status(code), said), method)

    def _error(self, error: PeerLost | CallFailed, method: str) -> PluginError:
        what = f"{self.path}, {_short(method)}"
        if isinstance(error, PeerLost):
            return PluginUnreachable(f"{what}: {error}")
        said = f"{error.status.name} {clean(error.text)}".strip()
        if error.status is Status.UNIMPLEMENTED:
            return PluginUnimplemented(f"{what} is not served: {said}")
        if error.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED):
            return PluginUnreachable(f"{what}: {said}")
        return PluginProtocolError(f"{what} failed: {said}")

    # --- the connection -------------------------------------------------------------------------------------------------------

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.lost:
                closed, connection = self._closed, await self._dial()
                if self._closed != closed:
                    await connection.close()
                    raise PluginUnreachable(f"{self.path}: the client was closed")
                self._connection = connection
            return self._connection

    async def _dial(self) -> Connection:
        connection = Connection()
        try:
            async with asyncio.timeout(self._connect_timeout):
                sock = await self._connect()
                try:
                    await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=sock)
                except BaseException:
                    sock.close()
                    raise
                await connection.greeted()
        except TimeoutError:
            await connection.close()
            raise PluginUnreachable(f"{self.path} takes connections but says nothing for {self._connect_timeout:g} s") from None
        except PeerLost as error:
            await connection.close()
            raise PluginUnreachable(f"{self.path}: {error}") from None
        except OSError as error:
            raise PluginUnreachable(f"{self.path}: {os.strerror(error.errno) if error.errno else error}") from None
        except BaseException:
            await asyncio.shield(connection.close())
            raise
        return connection

    async def _connect(self) -> socket.socket:
        """A connected socket. A Unix socket connects at once or not at all; a full backlog (EAGAIN) is tried again."""
        if len(os.fsencode(self.path)) > LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, "the path is too long for a socket")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            while (code := sock.connect_ex(os.fspath(self.path))) == errno.EAGAIN:
                await asyncio.sleep(_RETRY_DIAL)
            if code:
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock


def _headers(method: str, timeout: float | None, metadata: Pairs) -> Headers:
    deadline = () if timeout is None else (("grpc-timeout", timeout_text(timeout)),)
    return (*_BEFORE, (":path", method), *deadline, *_AFTER, *metadata)


_BEFORE = ((":method", "POST"), (":scheme", "http"), (":authority", "localhost"))
_AFTER = (("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "podvitals"))


def _status(code: str) -> Status:
    return Status(int(code)) if code.isascii() and code.isdigit() and len(code) < 4 else Status.UNKNOWN


def _short(method: str) -> str:
    return method.rpartition("/")[2]
