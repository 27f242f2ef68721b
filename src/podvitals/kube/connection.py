"""Connections to one API server: opened, through a proxy where one is named, used again, and given up when they are of no more use.

aiohttp did this before: a third of what the agent held in memory, and of the time until a restarted one told its pods the truth, for
redirects, cookies, web sockets and forms that no API server wants (docs/decisions.md).
"""

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from podvitals.errors import InvalidInput
from podvitals.kube.http1 import Answer, request

CONNECT = 10.0
"""Seconds for TCP and TLS to come up."""
NEXT_ADDRESS = 0.25
"""Seconds until a name's next address is tried beside the one before (RFC 8305)."""
IDLE = 60.0
"""Seconds a connection is kept that nobody uses."""
SILENT = (15, 5, 3)
"""A connection without traffic is probed after 15 s, every 5 s, and dead after 3 probes: a half-open one is noticed within 30 s."""
_PIECE = 256 * 1024
_PORTS = {"http": 80, "https": 443}


class NoWay(OSError):
    """No connection to the server; the text says why."""


@dataclass(slots=True, eq=False)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    context: ssl.SSLContext | None
    """By whose credentials it was opened."""
    idle_since: float = 0.0

    @property
    def usable(self) -> bool:
        """What came although nothing was asked (a load balancer's 408, mostly) would be taken for the answer to the next request."""
        unasked = vars(self.reader)["_buffer"]  # asyncio has no other way to look without waiting
        return not (unasked or self.reader.at_eof() or self.writer.is_closing() or self.reader.exception())

    async def begin(self, asked: bytes, answer: Answer) -> None:
        """Sends a request and reads until the head of its answer is there. ServerClosed where nothing came."""
        self.writer.write(asked)
        with suppress(ConnectionError):  # the server may have answered before it closed: what went wrong is found when it is read
            await self.writer.drain()
        while not answer.status:
            await self.more(answer)

    async def more(self, answer: Answer) -> None:
        data = await self.reader.read(_PIECE)
        answer.feed(data)
        if not data and not answer.end():
            raise ConnectionResetError

    async def close(self) -> None:
        """At once: there is nothing to be said to a server whose answer is not wanted, and no farewell to wait for."""
        self.writer.transport.abort()
        with suppress(OSError):
            await self.writer.wait_closed()


@dataclass(slots=True)
class Exchange:
    """A request that was answered; its body is still to be read."""

    connection: Connection
    answer: Answer

    async def piece(self) -> bytes:
        """What came next of the body, b"" at its end."""
        while not (data := self.answer.take()) and not self.answer.complete:
            await self.connection.more(self.answer)
        return data

    async def body(self) -> bytes:
        while not self.answer.complete:
            await self.connection.more(self.answer)
        return self.answer.take()


@dataclass(slots=True)
class Connections:
    """`server` and `proxy` are URLs. Any number of connections at once: who calls limits them."""

    server: SplitResult
    proxy: SplitResult | None = None
    server_name: str = ""
    """What the server's certificate must name, if not the host."""
    host: str = ""
    """As it stands in a header."""
    _idle: list[Connection] = field(default_factory=list)
    _open: set[Connection] = field(default_factory=set)

    @classmethod
    def to(cls, server: str, proxy: str = "", server_name: str = "") -> "Connections":
        through = urlsplit(proxy) if proxy else None
        if through is not None and (through.scheme not in _PORTS or not through.hostname):
            raise InvalidInput("proxy-url must be a URL such as http://host:3128 or https://host:3128: no other proxy is spoken to")
        there = urlsplit(server)
        try:
            return cls(there, through, server_name, _bracketed(there.hostname or ""))
        except UnicodeError:
            raise InvalidInput(f"{there.hostname!r} is not the name of a server") from None

    @property
    def needs_tls(self) -> bool:
        return "https" in (self.server.scheme, self.proxy.scheme if self.proxy else "")

    async def close(self) -> None:
        self._idle.clear()
        await asyncio.gather(*(connection.close() for connection in self._open))
        self._open.clear()

    @asynccontextmanager
    async def asked(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, context: ssl.SSLContext | None
    ) -> AsyncIterator[Exchange]:
        """Raises OSError and BadAnswer. What may be repeated is sent once more where the connection ends before an answer begins: the
        server may have closed it, idle, just then."""
        sent = request(method, self._target(target), {"Host": self._authority(), **headers, **self._for_the_proxy()}, body)
        exchange = await self._begun(sent, context, repeatable=method != "POST")
        try:
            yield exchange
        finally:
            await self._done(exchange)

    async def _begun(self, sent: bytes, context: ssl.SSLContext | None, *, repeatable: bool) -> Exchange:
        try:
            return await self._begin(self._take(context) or await self._dial(context), sent)
        except (ConnectionResetError, BrokenPipeError):
            if not repeatable:
                raise
            # Never over another one that is kept: the server may have closed them all.
            return await self._begin(await self._dial(context), sent)

    async def _begin(self, connection: Connection, sent: bytes) -> Exchange:
        exchange = Exchange(connection, Answer())
        try:
            await connection.begin(sent, exchange.answer)
        except BaseException:
            await self._done(exchange)
            raise
        return exchange

    def _take(self, context: ssl.SSLContext | None) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.context is context and now - connection.idle_since < IDLE:
                return connection
            self._open.discard(connection)
            connection.writer.transport.abort()
        return None

    async def _done(self, exchange: Exchange) -> None:
        connection = exchange.connection
        if exchange.answer.reusable and connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            self._open.discard(connection)
            await connection.close()

    # --- opening ----------------------------------------------------------------------------------------------------------------------

    async def _dial(self, context: ssl.SSLContext | None) -> Connection:
        try:
            async with asyncio.timeout(CONNECT):
                connection = await self._dialled(context)
        except TimeoutError:
            raise NoWay("no answer to the connection attempt") from None
        except (socket.gaierror, UnicodeError):
            raise NoWay(f"the name {(self.proxy or self.server).hostname} is not known") from None
        except OSError as error:
            # asyncio tells in one text why each of several addresses failed.
            told = {os.strerror(int(number)).lower() for number in re.findall(r"\[Errno (\d+)\]", str(error))}
            if error.errno or not told:
                raise
            raise NoWay(" and ".join(sorted(told))) from None
        self._open.add(connection)
        return connection

    async def _dialled(self, context: ssl.SSLContext | None) -> Connection:
        first = self.proxy or self.server
        secured = context if first.scheme == "https" else None
        name = (self.server_name if first is self.server else "") or first.hostname
        reader, writer = await asyncio.open_connection(
            first.hostname,
            _port(first),
            limit=_PIECE,
            ssl=secured,
            server_hostname=name if secured else None,
            happy_eyeballs_delay=NEXT_ADDRESS,
        )
        _keep_watch(writer.get_extra_info("socket"))
        connection = Connection(reader, writer, context)
        try:
            if self.proxy is not None and self.server.scheme == "https":
                assert context is not None
                await self._tunnel(connection, context)
        except BaseException:
            writer.transport.abort()
            raise
        return connection

    async def _tunnel(self, connection: Connection, context: ssl.SSLContext) -> None:
        host = f"{self.host}:{_port(self.server)}"
        answer = Answer(head_only=True)
        await connection.begin(request("CONNECT", host, {"Host": host, **self._for_the_proxy(tunnel=True)}), answer)
        if not 200 <= answer.status < 300:
            raise NoWay(f"the proxy refuses the way there (HTTP status {answer.status})")
        await connection.writer.start_tls(context, server_hostname=self.server_name or self.server.hostname)

    def _for_the_proxy(self, *, tunnel: bool = False) -> dict[str, str]:
        """The proxy's own header: to a tunnel's beginning, or with each request that is not in a tunnel."""
        if self.proxy is None or not self.proxy.username or (self.server.scheme == "https") is not tunnel:
            return {}
        return {"Proxy-Authorization": basic(self.proxy)}

    def _target(self, target: str) -> str:
        through = self.proxy is not None and self.server.scheme == "http"
        return f"http://{self._authority()}{target}" if through else target

    def _authority(self) -> str:
        return self.host + (f":{self.server.port}" if self.server.port else "")


def basic(url: SplitResult) -> str:
    """Basic authentication by the name and password in a URL."""
    pair = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _port(url: SplitResult) -> int:
    return url.port or _PORTS[url.scheme]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host if host.isascii() else host.encode("idna").decode()


def _keep_watch(sock: socket.socket) -> None:
    """A connection that notices when the other end is gone, also while a watch waits and nothing is sent."""
    idle, every, probes = SILENT
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, (idle + every * probes) * 1000)
