"""The HTTP shell: binds, checks the secret prefix, reads requests, turns refusals into Status answers, streams watches and logs."""

import asyncio
import errno
import hmac
import inspect
import logging
import random
import re
import secrets
import socket
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate

from aiohttp import web

from podvitals.clock import SYSTEM, Clock
from podvitals.errors import LocalError, PodvitalsError
from podvitals.lab.api import logs, query, views
from podvitals.lab.api.handlers import Answer, Call, Handlers, about
from podvitals.lab.api.logs import LogSource
from podvitals.lab.api.refusal import Refusal, no_such_path
from podvitals.lab.api.registry import Registry, Target
from podvitals.lab.api.route import route
from podvitals.lab.api.store import Store, encode
from podvitals.lab.api.watch import Bells, Watch

__all__ = ["ApiServer", "ApiSettings", "LogSource"]

BODY_LIMIT = 3 * 1024 * 1024
SHUTDOWN_SECONDS = 1.0
FIRST_BYTES_SECONDS = 0.2
PREFIX = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
log = logging.getLogger(__name__)


def _new_prefix() -> str:
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """`port` 0: any free one. `prefix`: the secret every path begins with, no slash at its ends; a random one unless given.

    `window`: how many changes of a kind a watch may be behind. `logs`: who serves pods/log; None: nobody.
    """

    host: str = "127.0.0.1"
    port: int = 0
    prefix: str = field(default_factory=_new_prefix, repr=False)
    namespaces: tuple[str, ...] = ("default", "kube-node-lease", "kube-public", "kube-system")
    window: int = 1024
    logs: LogSource | None = None
    sock: socket.socket | None = None
    """One that listens already, in place of `host` and `port`: clients started before the server find it."""


class ApiServer:
    """`start` binds and serves, `stop` ends all watches and leaves nothing. `url` is the server URL for a kubeconfig, prefix included."""

    def __init__(self, settings: ApiSettings | None = None, clock: Clock = SYSTEM) -> None:
        self._settings = settings or ApiSettings()
        if not PREFIX.fullmatch(self._settings.prefix):
            raise LocalError(f"API path prefix {self._settings.prefix!r}: use letters, digits, - and _, with single slashes between")
        self._clock = clock
        # Later starts count on from a later number, so a client that outlives a server is told 410 and lists again.
        self.store = Store(first_version=int(clock.wall() * 1000), window=self._settings.window)
        registry = Registry(self.store, clock.wall, lambda: str(uuid.uuid4()), random.SystemRandom().choice)
        self._handlers = Handlers(registry, clock.wall)
        self._handlers.preload(self._settings.namespaces)
        self._bells = Bells(self.store)
        self._runner: web.AppRunner | None = None
        self._followed: set[asyncio.Task[object]] = set()
        self._port = 0
        self.log_source = self._settings.logs

    @property
    def url(self) -> str:
        return f"http://{self._settings.host}:{self._port}/{self._settings.prefix}"

    async def start(self) -> None:
        """Raises LocalError where the port is in use or the address is none of this machine's."""
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_response_prepare.append(self._dated)
        runner = web.AppRunner(app, handle_signals=False, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        host, port, sock = self._settings.host, self._settings.port, self._settings.sock
        try:
            await (web.TCPSite(runner, host, port) if sock is None else web.SockSite(runner, sock)).start()
        except OSError as error:
            await runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                message = f"cannot listen on {host}:{port}: another program does; stop it or choose another port"
                raise LocalError(message) from None
            raise LocalError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        self._runner = runner
        self._port = int(runner.addresses[0][1])

    async def _dated(self, _: web.Request, response: web.StreamResponse) -> None:
        """Readers judge Leases by the server's clock: it is the one the server was given."""
        response.headers["Date"] = formatdate(self._clock.wall(), usegmt=True)

    async def stop(self) -> None:
        self._bells.stop()
        for log_stream in self._followed:
            log_stream.cancel()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> "ApiServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except Refusal as refusal:
            return _refused(refusal)
        except web.HTTPRequestEntityTooLarge:
            return _refused(Refusal(413, f"Request entity too large: limit is {BODY_LIMIT}"))
        except ConnectionResetError:
            raise
        except Exception:
            log.exception("the API server failed on %s %s", request.method, request.rel_url.path.removeprefix("/" + self._settings.prefix))
            return _refused(Refusal(500, "the lab's API server failed on this request: its log has the traceback (please report it)"))

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path, prefix = request.rel_url.raw_path, f"/{self._settings.prefix}"
        if not hmac.compare_digest(path[: len(prefix)].encode(), prefix.encode()) or path[len(prefix) : len(prefix) + 1] not in ("", "/"):
            raise no_such_path()
        found = route(path[len(prefix) :])
        if found.target is None:
            if request.method != "GET":
                raise no_such_path()
            address = f"{self._settings.host}:{self._port}"
            return _response(about(found.words, request.headers.get("Accept", ""), prefix, address))
        if request.method == "GET" and found.target.subresource == "log":
            with self._endable():
                return await self._log(request, found.target)
        if request.method == "GET" and request.query.get("watch", "false") in ("true", "1", "") and not found.target.subresource:
            return await self._watch(request, found.target)
        content_type = request.headers.get("Content-Type", "").split(";")[0].strip()
        body = await request.read()
        call = Call(request.method, found.target, request.query, request.headers.get("Accept", ""), content_type, body)
        return _response(self._handlers.answer(call))

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        view = views.negotiate(request.headers.get("Accept", "").replace(";stream=watch", ""), request.query.get("includeObject", ""))
        watch = Watch(self.store, self._bells, target, query.listing(target, request.query), view, self._clock.wall)
        return await _stream(request, watch.lines(), "application/json")

    async def _log(self, request: web.Request, target: Target) -> web.StreamResponse:
        pod = self._handlers.registry.read(Target(target.kind, target.namespace, target.name))
        wanted = logs.query(pod.data, dict(request.query))
        if wanted is None:
            return web.Response(status=204)
        if self.log_source is None:
            raise Refusal(501, "no kubelet is connected to this API server, so there are no logs")
        started = self.log_source(target.namespace, target.name, wanted.container, wanted.previous, wanted.follow, wanted.tail)
        try:
            source = await started if inspect.isawaitable(started) else started
        except PodvitalsError as error:
            raise Refusal(400, str(error)) from None
        first = asyncio.ensure_future(anext(source, b""))
        try:
            # A refusal comes at once; a container that has written nothing yet must not keep the client waiting for headers.
            await asyncio.wait({first}, timeout=FIRST_BYTES_SECONDS)
            if first.done() and isinstance(failure := first.exception(), PodvitalsError):
                raise Refusal(400, str(failure))
            return await _stream(request, _limited(first, source, wanted.limit), "text/plain")
        finally:
            first.cancel()
            await asyncio.wait({first})
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    @contextmanager
    def _endable(self) -> Iterator[None]:
        """Within it the request ends when the server stops: a log that is followed has no end of its own."""
        task = asyncio.current_task()
        assert task is not None
        self._followed.add(task)
        try:
            yield
        finally:
            self._followed.discard(task)


async def _limited(first: asyncio.Future[bytes], rest: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    """`first`, then `rest`, up to `limit` bytes."""
    left, chunk = limit, await first
    while chunk and left != 0:
        yield chunk if left is None else chunk[:left]
        left = None if left is None else max(0, left - len(chunk))
        chunk = await anext(rest, b"") if left != 0 else b""


async def _stream(request: web.Request, chunks: AsyncIterator[bytes], content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        log.debug("a client left its stream")
    except Exception:
        # The answer has begun, so it can only be cut off: a client sees that it is not whole.
        log.exception("the API server failed in the middle of an answer")
        if request.transport is not None:
            request.transport.abort()
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    return response


def _response(answer: Answer) -> web.Response:
    response = web.Response(body=answer.body, status=answer.code, headers={"Content-Type": answer.content_type})
    for warning in answer.warnings:
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{text}"')
    return response


def _refused(refusal: Refusal) -> web.Response:
    return web.Response(body=encode(refusal.status()), status=refusal.code, headers={"Content-Type": "application/json"})
