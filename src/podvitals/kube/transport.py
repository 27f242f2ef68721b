"""HTTP to one API server: connections, credentials, deadlines; whatever goes wrong becomes one of our errors with a sentence."""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote, urlencode

from podvitals.clock import Clock
from podvitals.errors import ApiUnreachable, Unauthorized
from podvitals.kube.answer import failure, http_date, retry_after
from podvitals.kube.config import ClusterConfig, Secret
from podvitals.kube.connection import Connections, Exchange, NoWay, basic
from podvitals.kube.credentials import Wallet
from podvitals.kube.http1 import BadAnswer
from podvitals.kube.tls import tls_context

_PATH = "/%:@!$&'()*+,;=~-._"
"""What a path may hold beside letters and digits. What is quoted already stays as it is."""


class Transport:
    def __init__(self, config: ClusterConfig, *, timeout: float, concurrency: int, clock: Clock, user_agent: str) -> None:
        self._config = config
        self._timeout = timeout
        self._user_agent = user_agent
        self._clock = clock
        self._server: float | None = None
        self._wallet = Wallet(config.credentials, clock)
        # Calls only: watches would use up the places.
        self._places = asyncio.Semaphore(concurrency)
        self._connections: Connections | None = None
        self._tls: tuple[Secret, ssl.SSLContext] | None = None

    def wall(self) -> float:
        """The server's clock as its last answer told it, ours before the first. Counted in boottime since: a wall clock that is stepped
        here moves it by nothing."""
        return self._clock.wall() if self._server is None else self._clock.now() + self._server

    async def open(self) -> None:
        self._connections = Connections.to(self._config.server, self._config.proxy, self._config.tls_server_name)

    async def close(self) -> None:
        if self._connections is not None:
            await self._connections.close()
            self._connections = None

    async def request(
        self,
        method: str,
        path: str,
        did: str,
        *,
        query: Mapping[str, str | None],
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> bytes:
        """The body of a 2xx answer."""
        seconds = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds), self._places:
                return await self._fresh(method, path, did, query, body, content_type)
        except TimeoutError:
            raise self._unreachable(did, f"no answer within {seconds:g} s") from None

    async def stream(
        self,
        path: str,
        did: str,
        *,
        query: Mapping[str, str | None],
        lasting: float | None = None,
        silence: float | None = None,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[bytes]:
        """The answer in pieces as they arrive. Its beginning has the time of a call, and `opened` hears of it; it ends at the latest after
        `lasting` seconds."""
        deadline = None if lasting is None else asyncio.get_running_loop().time() + lasting
        async with self._streamed(path, did, query) as exchange:
            if opened is not None:
                opened()
            while True:
                # Only the read has a timeout: one around the `yield` would cancel whatever the consumer is doing when it ends.
                try:
                    async with asyncio.timeout_at(deadline), asyncio.timeout(silence):
                        piece = await exchange.piece()
                except TimeoutError:
                    why = f"no byte for {silence:g} s" if silence else "the connection went silent"
                    raise self._unreachable(did, why) from None
                except (BadAnswer, OSError) as error:
                    raise self._unreachable(did, _why(error)) from None
                if not piece:
                    return
                yield piece

    @asynccontextmanager
    async def _streamed(self, path: str, did: str, query: Mapping[str, str | None]) -> AsyncIterator[Exchange]:
        again = self._wallet.renewable
        while True:
            try:
                async with AsyncExitStack() as opening:
                    async with asyncio.timeout(self._timeout):
                        exchange = await opening.enter_async_context(self._sent("GET", path, query, None, ""))
                        await self._refused(exchange, did)
                    opened = opening.pop_all()
            except Unauthorized:
                if not again:
                    raise
                again = False
                continue
            except TimeoutError:
                raise self._unreachable(did, f"no answer within {self._timeout:g} s") from None
            except (BadAnswer, OSError) as error:
                raise self._unreachable(did, _why(error)) from None
            break
        async with opened:
            yield exchange

    async def _fresh(
        self, method: str, path: str, did: str, query: Mapping[str, str | None], body: bytes | None, content_type: str
    ) -> bytes:
        """A call, and once more with new credentials after a 401, where there can be new ones."""
        for again in (self._wallet.renewable, False):
            try:
                return await self._once(method, path, did, query, body, content_type)
            except Unauthorized:
                if not again:
                    raise
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, did: str, query: Mapping[str, str | None], body: bytes | None, content_type: str
    ) -> bytes:
        try:
            async with self._sent(method, path, query, body, content_type) as exchange:
                await self._refused(exchange, did)
                return await exchange.body()
        except (BadAnswer, OSError) as error:
            raise self._unreachable(did, _why(error)) from None

    async def _refused(self, exchange: Exchange, did: str) -> None:
        """Raises what an answer that is no 2xx says."""
        answer = exchange.answer
        if answer.status >= 300:
            asked = retry_after(answer.headers.get("retry-after"), answer.headers.get("date"))
            raise failure(answer.status, await exchange.body(), did, asked)

    @asynccontextmanager
    async def _sent(
        self, method: str, path: str, query: Mapping[str, str | None], body: bytes | None, content_type: str
    ) -> AsyncIterator[Exchange]:
        if self._connections is None:
            raise RuntimeError("the client is not open: use `async with Client(config)`")
        secret = await self._wallet.secret()
        server = self._connections.server
        # Answers uncompressed: inflating a list costs more than reading it, and watches are never compressed.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": self._user_agent}
        if secret.token or server.username:
            headers["Authorization"] = f"Bearer {secret.token}" if secret.token else basic(server)
        if body is not None:
            headers["Content-Type"] = content_type
        asked = urlencode({key: value for key, value in query.items() if value is not None})
        target = quote(server.path.rstrip("/") + path, safe=_PATH) + (f"?{asked}" if asked else "")
        async with self._connections.asked(method, target, headers, body, await self._context(secret)) as exchange:
            now, wall = self._clock.now(), self._clock.wall()
            self._server = wall + _ahead(exchange.answer.headers.get("date"), wall) - now
            if exchange.answer.status == 401:
                self._wallet.reject(secret)
            yield exchange

    async def _context(self, secret: Secret) -> ssl.SSLContext | None:
        assert self._connections is not None
        if not self._connections.needs_tls:
            return None
        if self._tls is None or (self._tls[0].certificate, self._tls[0].key) != (secret.certificate, secret.key):
            self._tls = secret, await asyncio.to_thread(tls_context, self._config, secret)
        return self._tls[1]

    def _unreachable(self, did: str, why: str) -> ApiUnreachable:
        source = f" ({self._config.source})" if self._config.source else ""
        return ApiUnreachable(f"cannot {did}: the Kubernetes API at {self._config.address} cannot be reached{source}: {why}")


def _ahead(date: str | None, wall: float) -> float:
    """Seconds by which the server's clock is ahead of ours, 0 where they agree to within HTTP's seconds. From an answer's Date header
    (RFC 9110: whole seconds, rounded down)."""
    told = http_date(date)
    return told - wall if told is not None and not -2.0 < told - wall < 2.0 else 0.0


def _why(error: BadAnswer | OSError) -> str:
    """In words: never with the URL, whose path may be a secret."""
    if isinstance(error, BadAnswer):
        return str(error)
    if isinstance(error, ssl.SSLError):
        return _certificate(error)
    if isinstance(error, NoWay):
        return str(error)
    if error.errno:
        return os.strerror(error.errno).lower()
    return "the server closed the connection in the middle of an answer"


def _certificate(error: BaseException) -> str:
    told = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return f"TLS failed: {told}. Is certificate-authority the cluster's own, and the server's name in its certificate?"
