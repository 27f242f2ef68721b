"""Where the agent can be asked: a Unix socket in its state directory and, by flag, a TCP port.

/state everything it knows (state.py) · /metrics for Prometheus · /healthz 200 while the event loop turns · /readyz 200 once node and API
have been heard, else 503 with what it waits for. All are reads. The port is off unless asked for, because pods of any user can reach it;
on a cluster it is what the API server's pod proxy asks.
"""

import asyncio
import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from podvitals.errors import InvalidInput, LocalError, SocketTaken
from podvitals.wire.endpoint import check_path, is_live

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked when somebody asks. `waiting`: what readiness waits for; nothing when ready."""

    state: Callable[[], bytes]
    metrics: Callable[[], bytes]
    waiting: Callable[[], tuple[str, ...]]


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9470`, `[::1]:0`, `:9470` (every address)."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"{text!r} is not an address to listen on: write HOST:PORT, such as 127.0.0.1:9470")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


class Listener:
    """`start` binds both places and serves, `stop` ends in half a second. `port`: the one bound, 0 without."""

    def __init__(self, answers: Answers, socket: Path, address: tuple[str, int] | None = None) -> None:
        self._answers, self._socket, self._address = answers, socket, address
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/state", self._state)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await self._bind_socket(runner)
            if self._address is not None:
                await self._bind_port(runner, *self._address)
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            await asyncio.to_thread(self._socket.unlink, missing_ok=True)

    async def _bind_socket(self, runner: web.AppRunner) -> None:
        def clear() -> None:
            if is_live(check_path(self._socket)):
                raise SocketTaken(f"another agent listens at {self._socket}: stop it, or give this one another --state-dir")
            self._socket.unlink(missing_ok=True)

        try:
            await asyncio.to_thread(clear)
            await web.UnixSite(runner, self._socket).start()
            await asyncio.to_thread(self._socket.chmod, 0o600)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
                raise LocalError(f"cannot listen at {self._socket}: {error.strerror or error}") from None
            # A full or read-only disk must not keep pods from being told.
            log.error("not listening", extra={"socket": str(self._socket), "reason": error.strerror or str(error)})

    async def _bind_port(self, runner: web.AppRunner, host: str, port: int) -> None:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LocalError(f"cannot listen on {host}:{port}: another program does; stop it or choose another port") from None
            raise LocalError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        self.port = next(int(address[1]) for address in reversed(runner.addresses) if isinstance(address, tuple))

    async def _state(self, _: web.Request) -> web.Response:
        return web.Response(body=self._answers.state(), content_type="application/json")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._answers.metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        waiting = self._answers.waiting()
        return web.Response(status=503 if waiting else 200, text="".join(f"waiting for {what}\n" for what in waiting) or "ok\n")
