"""HTTP to one API server: connections, credentials, deadlines; whatever goes wrong becomes one of our errors with a sentence."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from yarl import URL

from podvitals.clock import Clock
from podvitals.errors import ApiUnreachable, Unauthorized
from podvitals.kube.answer import failure, retry_after
from podvitals.kube.config import ClusterConfig, Secret
from podvitals.kube.credentials import Wallet
from podvitals.kube.lean import aiohttp
from podvitals.kube.tls import tls_context

CONNECT = 10.0
"""Seconds for TCP and TLS to come up."""
SILENT = (15, 5, 3)
"""A connection without traffic is probed after 15 s, every 5 s, and dead after 3 probes: a half-open one is noticed within 30 s."""


class Transport:
    def __init__(self, config: ClusterConfig, *, timeout: float, concurrency: int, clock: Clock, user_agent: str) -> None:
        self._config = config
        self._timeout = timeout
        self._user_agent = user_agent
        self._clock = clock
        self._server: float | None = None
        self._wallet = Wallet(config.credentials, clock)
        # Calls are limited here and not by the connector, where watches would use up their places.
        self._places = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._tls: tuple[Secret, ssl.SSLContext] | None = None

    def wall(self) -> float:
        """The server's clock as its last answer told it, ours before the first. Counted in boottime since: a wall clock that is stepped
        here moves it by nothing."""
        return self._clock.wall() if self._server is None else self._clock.now() + self._server

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket, keepalive_timeout=60.0)
        # Answers uncompressed: inflating a list costs more than reading it, and watches are never compressed.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": self._user_agent}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, connect=None)
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        async with self._streamed(path, did, query, silence) as response:
            if opened is not None:
                opened()
            while True:
                # Only the read has a timeout: one around the `yield` would cancel whatever the consumer is doing when it ends.
                try:
                    async with asyncio.timeout_at(deadline):
                        chunk = await response.content.readany()
                except TimeoutError:
                    why = f"no byte for {silence:g} s" if silence else "the connection went silent"
                    raise self._unreachable(did, why) from None
                except (aiohttp.ClientError, OSError) as error:
                    raise self._unreachable(did, _why(error)) from None
                if not chunk:
                    return
                yield chunk

    @asynccontextmanager
    async def _streamed(
        self, path: str, did: str, query: Mapping[str, str | None], silence: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        again = self._wallet.renewable
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    response = await self._send("GET", path, did, query, None, "", aiohttp.ClientTimeout(sock_read=silence))
                    if response.status >= 300:
                        refusal = failure(response.status, await response.read(), did, _retry_after(response))
                        response.close()
                        raise refusal
            except Unauthorized:
                if not again:
                    raise
                again = False
                continue
            except TimeoutError:
                raise self._unreachable(did, f"no answer within {self._timeout:g} s") from None
            except (aiohttp.ClientError, OSError) as error:
                raise self._unreachable(did, _why(error)) from None
            break
        try:
            yield response
        finally:
            response.close()

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
        for again in (method == "PATCH", False):
            try:
                response = await self._send(method, path, did, query, body, content_type, None)
                async with response:
                    data = await response.read()
            except aiohttp.ServerDisconnectedError as error:
                # The server closed an idle connection just as we used it. Patches may be repeated (aiohttp repeats GET, PUT and DELETE).
                if again:
                    continue
                raise self._unreachable(did, _why(error)) from None
            except (aiohttp.ClientError, OSError) as error:
                raise self._unreachable(did, _why(error)) from None
            if response.status >= 300:
                raise failure(response.status, data, did, _retry_after(response))
            return data
        raise AssertionError("unreachable")

    async def _send(
        self,
        method: str,
        path: str,
        did: str,
        query: Mapping[str, str | None],
        body: bytes | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout | None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is not open: use `async with Client(config)`")
        secret = await self._wallet.secret()
        options: dict[str, Any] = {"ssl": await self._context(secret), "allow_redirects": False}
        if self._config.tls_server_name:
            options["server_hostname"] = self._config.tls_server_name
        if self._config.proxy:
            options["proxy"] = self._config.proxy
        if timeout is not None:
            options["timeout"] = timeout
        headers = {"Authorization": f"Bearer {secret.token}"} if secret.token else {}
        if body is not None:
            headers["Content-Type"] = content_type
        asked = urlencode({key: value for key, value in query.items() if value is not None})
        url = URL(self._config.server.rstrip("/") + path + (f"?{asked}" if asked else ""), encoded=True)
        try:
            response = await self._session.request(method, url, data=body, headers=headers, **options)
        except aiohttp.ServerDisconnectedError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._unreachable(did, _why(error)) from None
        now, wall = self._clock.now(), self._clock.wall()
        self._server = wall + _ahead(response.headers.get("Date"), wall) - now
        if response.status == 401:
            self._wallet.reject(secret)
        return response

    async def _context(self, secret: Secret) -> ssl.SSLContext | bool:
        if not self._config.server.startswith("https"):
            return True
        if self._tls is None or (self._tls[0].certificate, self._tls[0].key) != (secret.certificate, secret.key):
            self._tls = secret, await asyncio.to_thread(tls_context, self._config, secret)
        return self._tls[1]

    def _unreachable(self, did: str, why: str) -> ApiUnreachable:
        source = f" ({self._config.source})" if self._config.source else ""
        return ApiUnreachable(f"cannot {did}: the Kubernetes API at {self._config.address} cannot be reached{source}: {why}")


def _socket(info: Any) -> socket.socket:
    """A connection that notices when the other end is gone, also while a watch waits and nothing is sent."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family=family, type=kind, proto=protocol)
    idle, every, probes = SILENT
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, (idle + every * probes) * 1000)
    return made


def _ahead(date: str | None, wall: float) -> float:
    """Seconds by which the server's clock is ahead of ours, 0 where they agree to within HTTP's seconds. From an answer's Date header
    (RFC 9110: whole seconds, rounded down)."""
    try:
        told = parsedate_to_datetime(date).timestamp() if date else wall
    except (ValueError, OverflowError):
        return 0.0
    return told - wall if not -2.0 < told - wall < 2.0 else 0.0


def _retry_after(response: aiohttp.ClientResponse) -> float:
    return retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))


def _why(error: BaseException) -> str:
    """In words: never the library's own text where that would show the URL, whose path may be a secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _certificate(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ssl.SSLError):
        return _certificate(error.os_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host} is not known"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "the server closed the connection in the middle of an answer"
    if isinstance(error, TimeoutError):
        return "no answer to the connection attempt, or silence in the middle of an answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower() if error.errno > 0 else (error.strerror or "connection failed")
    return type(error).__name__


def _certificate(error: BaseException) -> str:
    told = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return f"TLS failed: {told}. Is certificate-authority the cluster's own, and the server's name in its certificate?"
