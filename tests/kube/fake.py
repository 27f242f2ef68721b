"""An API server that does what a test scripts: real HTTP on a real socket, faults at the moment the test chooses.

Lists answer from `objects`; each watch that arrives is handed to the test, which writes to it byte by byte if it likes. `answers` are
given, in order, to the next requests before anything else; `requests` records what came.
"""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from podvitals.kube.config import ClusterConfig, Credentials, Secret

PREFIX = "/s3cret-prefix"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, reason: str = "", message: str = "", **headers: str) -> Answer:
    """An answer of kind Status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}
        return web.json_response(body, status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def text(code: int, body: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=code)

    return answer


async def reset(request: web.Request) -> web.StreamResponse:
    """The connection breaks without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(request: web.Request) -> web.StreamResponse:
    """No answer, ever."""
    await asyncio.get_running_loop().create_future()
    return web.Response()


def pod(name: str, version: int, *, uid: str = "", phase: str = "Running") -> dict[str, Any]:
    meta = {"name": name, "namespace": "ml", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"phase": phase}}


@dataclass
class Watch:
    """One watch connection, in the test's hands."""

    query: dict[str, str]
    response: web.StreamResponse
    request: web.Request
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, kind: str, body: dict[str, Any]) -> None:
        await self.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")

    async def write(self, data: bytes) -> None:
        await self.response.write(data)

    def end(self) -> None:
        """The server ends the watch in order."""
        self.over.set()

    def reset(self) -> None:
        assert self.request.transport is not None
        self.request.transport.abort()
        self.over.set()


@dataclass
class FakeApi:
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = 1
    answers: deque[Answer] = field(default_factory=deque)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    watches: asyncio.Queue[Watch] = field(default_factory=asyncio.Queue)
    page: int | None = None
    url: str = ""

    def put(self, *bodies: dict[str, Any]) -> None:
        for body in bodies:
            self.objects[body["metadata"]["name"]] = body
            self.version = max(self.version, int(body["metadata"]["resourceVersion"]))

    def config(self, credentials: Credentials = Secret("t0ken"), **more: Any) -> ClusterConfig:  # noqa: B008 (immutable)
        return ClusterConfig(self.url + PREFIX, credentials, source="the test's kubeconfig", **more)

    async def watching(self) -> Watch:
        """The next watch that somebody opens."""
        async with asyncio.timeout(5):
            return await self.watches.get()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if not request.path.startswith(PREFIX):
            return web.Response(status=404)
        self.requests.append((request.method, request.path.removeprefix(PREFIX), dict(request.query)))
        self.bodies.append((request.content_type, await request.read()))
        self.tokens.append(request.headers.get("Authorization", ""))
        self.connections.add(id(request.transport))
        if self.answers:
            return await self.answers.popleft()(request)
        if request.query.get("watch"):
            return await self._watch(request)
        name = request.path.rpartition("/")[2]
        if name in self.objects:
            return web.json_response(self.objects[name])
        return self._list(request)

    def _list(self, request: web.Request) -> web.Response:
        items = list(self.objects.values())
        start = int(request.query.get("continue") or 0)
        limit = self.page or int(request.query.get("limit") or 500)
        meta = {"resourceVersion": str(self.version)}
        if start + limit < len(items):
            meta["continue"] = str(start + limit)
        return web.json_response({"kind": "PodList", "metadata": meta, "items": items[start : start + limit]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        watch = Watch(dict(request.query), response, request)
        self.watches.put_nowait(watch)
        await watch.over.wait()
        return response


@asynccontextmanager
async def fake_api(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeApi]:
    api = FakeApi()
    # Nobody waits for a watch that a test left open, or for a call that hangs.
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.0, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    api.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield api
    finally:
        await runner.cleanup()
