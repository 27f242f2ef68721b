"""PluginServer: a Unix socket that answers registration, DRA and health calls; what they mean is its handlers' business.

Any number of connections and calls at once. A call the peer gives up is cancelled; a handler's exception is answered and logged and ends
nothing else. Every method not served is answered UNIMPLEMENTED in full, as kubelets decide by it (CONTRACT §3).
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote

from podvitals.device.text import clean
from podvitals.errors import (
    InvalidInput,
    PluginError,
    PluginProtocolError,
    PluginUnimplemented,
    PluginUnreachable,
    PodvitalsError,
)
from podvitals.wire import convert
from podvitals.wire.endpoint import check_path
from podvitals.wire.http2 import Connection
from podvitals.wire.listener import Listener
from podvitals.wire.messages import ALL_VERSIONS, DRA_VERSIONS, HEALTH_VERSIONS, ClaimRef, PluginInfo, PrepareResult
from podvitals.wire.passing import Outcome, PassHandler, RawAnswer, RawCall, own_metadata, timeout_of
from podvitals.wire.services import GET_INFO, NOTIFY, prepare_method, unprepare_method, watch_method
from podvitals.wire.stream import CallFailed, PeerLost, Status, Stream

log = logging.getLogger(__name__)

_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class RegistrationHandler(Protocol):
    async def get_info(self) -> PluginInfo: ...

    async def notify_registration(self, registered: bool, error: str) -> None: ...


class DraHandler(Protocol):
    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]: ...

    async def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, str]: ...


class HealthHandler(Protocol):
    def watch(self) -> AsyncIterator[bytes]:
        """Encoded reports (convert.encode_report) for one watcher, the whole state first. Closed (`aclose`) when the watcher goes; asked
        for the next report only when the watcher has taken the last one."""


class PluginServer:
    """Serves on `path` what it has handlers for; of DRA and health only `versions`. `other` gets every other unary call as bytes."""

    def __init__(
        self,
        path: Path | str,
        *,
        registration: RegistrationHandler | None = None,
        dra: DraHandler | None = None,
        health: HealthHandler | None = None,
        other: PassHandler | None = None,
        versions: Collection[str] = ALL_VERSIONS,
        listening: socket.socket | None = None,
    ) -> None:
        self.path = check_path(path)
        self.listening = listening
        """What it listens with: given where another process has bound it here, else made by `start`."""
        self._registration, self._dra, self._health, self._other = registration, dra, health, other
        self._unary: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}
        if registration is not None:
            self._unary |= {GET_INFO: self._get_info, NOTIFY: self._notify}
        if dra is not None:
            for version in DRA_VERSIONS:
                if version in versions:
                    self._unary |= {prepare_method(version): self._prepare, unprepare_method(version): self._unprepare}
        self._watches = {watch_method(version) for version in HEALTH_VERSIONS if health is not None and version in versions}
        self._listener: Listener | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._unfinished: set[asyncio.Task[None]] = set()
        """Of those the ones that will end: health streams do not."""
        self._passing: dict[Stream, Callable[[], None]] = {}
        """Calls that are passed on without a task, and what gives each up."""

    @property
    def busy(self) -> bool:
        """Whether a call is under way; a health stream is none."""
        return bool(self._passing or self._unfinished)

    async def start(self) -> None:
        """Listens, with mode 0600. A dead process's socket is taken over.

        Raises SocketTaken for a live one's if none can be made there."""
        listener = Listener(self.path, self._accept)
        self.listening = await listener.open(self.listening)
        self._listener = listener

    async def stop(self) -> None:
        """Takes the socket file away (if it is still ours), tells every caller that the plugin is stopping, closes all connections."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        # The file first: nobody shall find it and be refused.
        await listener.unlink()
        listener.shut()
        for call in self._calls:
            call.cancel()
        for stream in list(self._passing):
            self._farewell(stream, False)
            self._given_up(stream)
        await self._ended()
        await listener.drop(Connection.close)
        await self._ended()

    async def abandon(self) -> None:
        """Ends as a killed process does: every connection breaks in the middle, the socket file stays and refuses."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.shut()
            await listener.drop(Connection.abort)
            await self._ended()

    async def _ended(self) -> None:
        if self._calls:
            await asyncio.wait(self._calls)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    # --- one call -------------------------------------------------------------------------------------------------------------

    def _accept(self, stream: Stream) -> None:
        method = (stream.headers or {}).get(":path", "")
        if self._other is None or method in self._unary or method in self._watches:
            self._begin(stream, method)
        else:
            stream.on_arrived = lambda: self._pass(stream, method)

    def _begin(self, stream: Stream, method: str, given: RawCall | RawAnswer | PluginError | None = None) -> None:
        call = asyncio.create_task(self._serve(stream, method, given), name=f"{clean(method, 200)} on {self.path}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        if method not in self._watches:
            self._unfinished.add(call)
            call.add_done_callback(self._unfinished.discard)

        def gone() -> None:
            call.cancel()
            stream.close()  # a task that is cancelled before its first step does not

        stream.on_gone = gone

    # A call that is passed on needs a task only where something is waited for: this is the way of every pod start.

    def _pass(self, stream: Stream, method: str) -> None:
        """The first of a request has come, and nearly always all of it."""
        stream.on_arrived = None
        request = stream.whole()
        if request is None or _refusal(stream) is not None:
            return self._begin(stream, method)
        assert self._other is not None
        call, began = _raw(stream, method, request), time.monotonic()
        give_up = self._other.begin(call, lambda outcome: self._passed(stream, call, began, outcome))
        if give_up is None:
            return self._begin(stream, method)
        self._passing[stream] = give_up
        stream.on_gone = lambda: self._given_up(stream)
        return None

    def _given_up(self, stream: Stream) -> None:
        self._passing.pop(stream)()
        stream.close()

    def _passed(self, stream: Stream, call: RawCall, began: float, outcome: Outcome) -> None:
        del self._passing[stream]
        if outcome is None:
            left = None if call.timeout is None else max(0.001, call.timeout - (time.monotonic() - began))
            self._begin(stream, call.method, replace(call, timeout=left))
        elif isinstance(outcome, RawAnswer) and stream.takes(outcome.message or b""):
            with contextlib.suppress(PeerLost):
                stream.send_headers(_HEADERS)
                if outcome.message is not None:
                    stream.send_now(outcome.message)
                stream.send_headers(outcome.trailers, end=True)
            stream.close()
        else:
            self._begin(stream, call.method, outcome)

    async def _serve(self, stream: Stream, method: str, given: RawCall | RawAnswer | PluginError | None) -> None:
        started = False
        try:
            try:
                answer = await (self._answer(stream, method) if given is None else self._given(given))
                await stream.writable()
                stream.send_headers(_HEADERS)
                started = True
                if isinstance(answer, RawAnswer):
                    if answer.message is not None:
                        await stream.send(answer.message)
                        await stream.writable()
                    stream.send_headers(answer.trailers, end=True)
                    return
                if isinstance(answer, bytes):
                    await stream.send(answer)
                else:
                    await self._send_all(stream, answer)
                status = CallFailed(Status.OK, "")
            except CallFailed as failed:
                status = failed
            except PodvitalsError as error:
                log.warning("%s on %s: %s", clean(method, 200), self.path, error)
                status = CallFailed(_status_of(error), clean(str(error)))
            except asyncio.CancelledError:
                if self._listener is None:
                    self._farewell(stream, started)
                raise
            except PeerLost:
                raise
            except Exception as error:
                log.exception("%s on %s failed", clean(method, 200), self.path)
                status = CallFailed(Status.UNKNOWN, clean(f"{type(error).__name__}: {error}"))
            await stream.writable()
            stream.send_headers(_trailers(status, started), end=True)
        except PeerLost as error:
            log.debug("%s on %s: %s", method, self.path, error)
        finally:
            stream.on_gone = None
            stream.close()

    @staticmethod
    def _farewell(stream: Stream, started: bool) -> None:
        with contextlib.suppress(PeerLost):
            stream.send_headers(_trailers(CallFailed(Status.UNAVAILABLE, "the plugin is stopping"), started), end=True)

    async def _answer(self, stream: Stream, method: str) -> bytes | RawAnswer | AsyncIterator[bytes]:
        if (refusal := _refusal(stream)) is not None:
            raise refusal
        unary = self._unary.get(method)
        if unary is None and method not in self._watches and self._other is None:
            raise CallFailed(Status.UNIMPLEMENTED, f"method {clean(method, 200)} is not served here")
        request = await stream.message()
        if request is None:
            raise CallFailed(Status.INVALID_ARGUMENT, "the request has no message")
        if unary is not None:
            return await unary(request)
        if method in self._watches:
            assert self._health is not None
            return self._health.watch()
        return await self._given(_raw(stream, method, request))

    async def _given(self, given: RawCall | RawAnswer | PluginError) -> RawAnswer:
        if isinstance(given, RawAnswer):
            return given
        assert self._other is not None
        try:
            if isinstance(given, PluginError):
                raise given
            return await self._other.pass_on(given)
        except PluginError as error:
            # Whoever passes calls on tells of it: he knows the driver, and how often it was so.
            raise CallFailed(_status_of(error), clean(str(error))) from None

    @staticmethod
    async def _send_all(stream: Stream, reports: AsyncIterator[bytes]) -> None:
        try:
            async for raw in reports:
                await stream.send(raw)
        finally:
            close = getattr(reports, "aclose", None)
            if close is not None:
                await close()

    async def _get_info(self, _: bytes) -> bytes:
        assert self._registration is not None
        return convert.encode_info(await self._registration.get_info())

    async def _notify(self, request: bytes) -> bytes:
        assert self._registration is not None
        await self._registration.notify_registration(*convert.decode_status(request))
        return b""

    async def _prepare(self, request: bytes) -> bytes:
        assert self._dra is not None
        return convert.encode_prepared(await self._dra.prepare(convert.decode_claims(request)))

    async def _unprepare(self, request: bytes) -> bytes:
        assert self._dra is not None
        return convert.encode_unprepared(await self._dra.unprepare(convert.decode_claims(request)))


def _refusal(stream: Stream) -> CallFailed | None:
    headers = stream.headers or {}
    if headers.get(":method") == "POST" and headers.get("content-type", "").startswith("application/grpc"):
        return None
    return CallFailed(Status.INVALID_ARGUMENT, "this is a gRPC socket: POST application/grpc")


def _raw(stream: Stream, method: str, request: bytes) -> RawCall:
    return RawCall(method, request, timeout_of((stream.headers or {}).get("grpc-timeout")), own_metadata(stream.last))


_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def _status_of(error: PodvitalsError) -> Status:
    match error:
        case PluginUnimplemented():
            return Status.UNIMPLEMENTED
        case PluginUnreachable():
            return Status.UNAVAILABLE
        case PluginProtocolError() | InvalidInput():
            return Status.INVALID_ARGUMENT
        case _:
            return Status.INTERNAL


def _trailers(result: CallFailed, started: bool) -> list[tuple[str, str]]:
    """The last headers of a call; a whole trailers-only response, content type included, where nothing was sent before."""
    trailers = [("grpc-status", str(int(result.status)))]
    if result.text:
        trailers.append(("grpc-message", quote(result.text, safe=_PRINTABLE, errors="replace")))
    return trailers if started else [*_HEADERS, *trailers]
