"""Where the agent can be asked: a Unix socket in its state directory and, by flag, a TCP port.

/state everything it knows (state.py) · /metrics for Prometheus · /healthz 200 while the event loop turns · /readyz 200 once node and API
have been heard, else 503 with what it waits for. All are reads. The port is off unless asked for, because pods of any user can reach it;
on a cluster it is what the API server's pod proxy asks.

Four paths and GET need no web framework: aiohttp's server would cost the agent 2.2 MB. One request a connection, small, in good time.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podvitals.errors import InvalidInput, LocalError, SocketTaken
from podvitals.wire.endpoint import check_path, is_live

log = logging.getLogger(__name__)

HEAD_LIMIT = 16 * 1024
"""Bytes of a request's first lines."""
PATIENCE = 5.0
"""Seconds a client has to ask, and to take the answer."""
MOST_AT_ONCE = 32
TRY_AGAIN = 5.0
"""Seconds until a disk that took no socket is asked again: without it nobody can ask this agent, nor would a second one notice it."""
_TURNS = 4
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_TEXT, _JSON, _PROMETHEUS = "text/plain; charset=utf-8", "application/json", "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked when somebody asks. `waiting`: what readiness waits for; nothing when ready."""

    state: Callable[[], bytes]
    metrics: Callable[[], Awaitable[bytes]]
    waiting: Callable[[], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    kind: str = _TEXT

    def encoded(self, *, head: bool) -> bytes:
        lines = (
            f"HTTP/1.1 {self.status} {_PHRASES[self.status]}",
            f"Content-Type: {self.kind}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode() + (b"" if head else self.body)


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9470`, `[::1]:0`, `:9470` (every address)."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"{text!r} is not an address to listen on: write HOST:PORT, such as 127.0.0.1:9470")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


class Listener:
    """`start` binds both places, as far as they are given, and serves; `stop` breaks what is open. `port`: the one bound, 0 without."""

    def __init__(self, answers: Answers, socket: Path | None, address: tuple[str, int] | None = None) -> None:
        self._answers, self._socket, self._address = answers, socket, address
        self._servers: list[asyncio.Server] = []
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._bound = False
        self._trying: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        try:
            if self._socket is not None:
                await self._bind_socket(self._socket)
            if self._address is not None:
                await self._bind_port(*self._address)
        except BaseException:
            await self.stop()
            raise
        if self._socket is not None and not self._bound:
            self._trying = asyncio.create_task(self._keep_trying(self._socket), name="agent: a socket to be asked at")

    async def stop(self) -> None:
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)
        for _ in range(_TURNS):
            # A connection that is being accepted becomes one of ours first: asyncio loses those whose server closes meanwhile.
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        # Not cancelled: asyncio 3.11 takes a connection's cancelled task for a fault of its own and logs it.
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._servers.clear()
        if self._socket is not None and self._bound:
            self._bound = False
            await asyncio.to_thread(self._socket.unlink, missing_ok=True)

    async def _bind_socket(self, path: Path) -> None:
        def clear() -> None:
            if is_live(check_path(path)):
                raise SocketTaken(f"another agent listens at {path}: stop it, or give this one another --state-dir")
            path.unlink(missing_ok=True)

        try:
            await asyncio.to_thread(clear)
            self._servers.append(await asyncio.start_unix_server(self._serve, path, limit=HEAD_LIMIT))
            self._bound = True
            await asyncio.to_thread(path.chmod, 0o600)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
                raise LocalError(f"cannot listen at {path}: {error.strerror or error}") from None
            # A full or read-only disk must not keep pods from being told.
            log.error("not listening", extra={"socket": str(path), "reason": error.strerror or str(error)})

    async def _keep_trying(self, path: Path) -> None:
        while not self._bound:
            await asyncio.sleep(TRY_AGAIN)
            try:
                await self._bind_socket(path)
            except LocalError as error:
                log.error("not listening", extra={"socket": str(path), "reason": str(error)})
        log.info("listening", extra={"socket": str(path)})

    async def _bind_port(self, host: str, port: int) -> None:
        try:
            server = await asyncio.start_server(self._serve, host, port, limit=HEAD_LIMIT)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LocalError(f"cannot listen on {host}:{port}: another program does; stop it or choose another port") from None
            why = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error.strerror or str(error)
            raise LocalError(f"cannot listen on {host}:{port}: {why}; --listen takes an address of this machine") from None
        self._servers.append(server)
        self.port = int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        with suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE):
                if len(self._open) <= MOST_AT_ONCE:
                    writer.write(await self._answered(reader))
                    await writer.drain()
        writer.close()
        del self._open[task]

    async def _answered(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        except (asyncio.LimitOverrunError, ValueError):
            return Answer(400, b"a request is METHOD PATH HTTP/1.1 and at most 16 KiB of headers\n").encoded(head=False)
        answer = Answer(405, b"everything here is read with GET\n")
        if method in ("GET", "HEAD"):
            try:
                answer = await self._answer(target.partition("?")[0])
            except Exception:
                log.exception("could not answer")
                answer = Answer(500, b"the agent failed on this request: its log says why\n")
        return answer.encoded(head=method == "HEAD")

    async def _answer(self, path: str) -> Answer:
        match path:
            case "/state":
                return Answer(200, self._answers.state(), _JSON)
            case "/metrics":
                return Answer(200, await self._answers.metrics(), _PROMETHEUS)
            case "/healthz":
                return Answer(200, b"ok\n")
            case "/readyz":
                waiting = self._answers.waiting()
                text = "".join(f"waiting for {what}\n" for what in waiting) or "ok\n"
                return Answer(503 if waiting else 200, text.encode())
        return Answer(404, b"here are /state, /metrics, /healthz and /readyz\n")
