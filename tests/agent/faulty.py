"""An API server that fails as a test says: HTTP between an agent and the lab's server, passed on, answered otherwise, or left hanging."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refusal(code: int, reason: str = "", **headers: str) -> Fault:
    """An answer of kind Status."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": f"scripted {code}", "reason": reason, "code": code}
        return web.json_response(body, status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def reset(request: web.Request) -> web.StreamResponse:
    """The connection breaks without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(_request: web.Request) -> web.StreamResponse:
    """No answer, ever."""
    await asyncio.get_running_loop().create_future()
    return web.Response()


class Faulty:
    """`async with Faulty(url) as api`: `api.url` leads to `url`. While `fault` is set, each request that `on` chooses meets it."""

    def __init__(self, url: str) -> None:
        self._to = url
        self.url = ""
        self.fault: Fault | None = None
        self.on: Callable[[web.Request], bool] = lambda request: request.method == "PATCH" and request.path.endswith("/status")
        self.met = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self.meeting = asyncio.Event()
        """Set when a request has met the fault."""

    def begin(self, fault: Fault) -> None:
        self.fault, self.met = fault, 0
        self.meeting.clear()

    def end(self) -> None:
        self.fault = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.fault is not None and self.on(request):
            self.met += 1
            self.meeting.set()
            return await self.fault(request)
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with self._session.request(request.method, self._to + request.path_qs, data=body, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name not in ("Content-Length", "Transfer-Encoding")}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response
