"""Connections: which are used again, which are not, and the way through a proxy."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from podvitals.errors import ApiUnreachable, InvalidInput
from podvitals.kube import connection
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig, Secret
from podvitals.kube.resources import PODS
from tests.kube.fake import PREFIX, FakeApi, fake_api, pod

CERTS = Path(__file__).parent / "certs"
CA = (CERTS / "ca.crt").read_bytes()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = Callable[[int, bytes], bytes]
"""What a server answers to the n-th request, by its head."""


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL where `serve` is given each connection, which ends with it."""
    served: list[asyncio.Task[None]] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*served)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[tuple[str, list[int]]]:
    """A server's URL, and the ports from which its requests came, in their order."""
    came: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            came.append(writer.get_extra_info("peername")[1])
            writer.write(script(len(came), head))

    async with listening(serve) as url:
        yield url, came


def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTS / "server.crt", CERTS / "server.key")
    return context


async def test_a_connection_is_used_again() -> None:
    async with scripted(lambda _, __: OK) as (url, came), Client(ClusterConfig(url)) as client:
        for _ in range(3):
            assert await client.raw("GET", "/readyz") == b"ok"
    assert len(set(came)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsmuggle",
    ],
)
async def test_a_connection_that_shall_close_or_said_more_than_was_asked_is_not_used_again(answer: bytes) -> None:
    async with scripted(lambda number, _: answer if number == 1 else OK) as (url, came), Client(ClusterConfig(url)) as client:
        assert await client.raw("GET", "/a") == b"ok"
        assert await client.raw("GET", "/b") == b"ok"
    assert len(set(came)) == 2


@pytest.mark.parametrize("closes", [True, False])
async def test_what_a_server_says_on_an_idle_connection_is_no_answer_to_the_next_request(closes: bool) -> None:
    """Load balancers say 408 before they close a connection that nobody used."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        if said.is_set():
            return
        await asked.wait()
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        said.set()
        if not closes:
            await reader.read()

    asked, said = asyncio.Event(), asyncio.Event()
    async with listening(serve) as url, Client(ClusterConfig(url)) as client:
        assert await client.raw("GET", "/a") == b"ok"
        asked.set()
        await said.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert await client.raw("GET", "/b") == b"ok"


async def test_a_connection_that_nobody_used_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(lambda _, __: OK) as (url, came), Client(ClusterConfig(url)) as client:
        await client.raw("GET", "/a")
        monkeypatch.setattr(connection, "IDLE", 0.0)
        await client.raw("GET", "/b")
    assert len(set(came)) == 2


async def test_what_is_asked_again_goes_over_no_connection_that_was_kept() -> None:
    """A server that restarted has closed them all, and each of them would be found out only by a request."""
    together = asyncio.Barrier(3)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if not restarted:
            await together.wait()
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")

    restarted: list[bool] = []
    async with listening(serve) as url, Client(ClusterConfig(url)) as client:
        await asyncio.gather(*(client.raw("GET", f"/{number}") for number in range(3)))
        restarted.append(True)
        assert await client.raw("GET", "/again") == b"ok"


async def test_an_answer_that_breaks_off_is_told_and_not_asked_for_again() -> None:
    half = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\n{"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(half)

    came: list[bytes] = []
    async with listening(serve) as url, Client(ClusterConfig(url)) as client:
        with pytest.raises(ApiUnreachable, match="the server closed the connection in the middle of an answer"):
            await client.raw("GET", "/a")
    assert len(came) == 1


async def test_who_answers_but_not_in_http_is_told() -> None:
    async with scripted(lambda _, __: b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as (url, _), Client(ClusterConfig(url)) as client:
        with pytest.raises(ApiUnreachable, match=r"cannot list pods: .* cannot be reached: what answers there does not speak HTTP/1.1"):
            await client.list(PODS)


async def test_a_call_that_is_given_up_leaves_no_answer_to_the_next() -> None:
    async with scripted(lambda number, _: OK.replace(b"ok", b"%02d" % number)[: -2 if number == 1 else None]) as (url, came):
        async with Client(ClusterConfig(url)) as client:
            with pytest.raises(ApiUnreachable, match="no answer within"):
                await client.raw("GET", "/a", timeout=0.05)
            assert await client.raw("GET", "/b") == b"02"
    assert len(set(came)) == 2


async def test_a_watch_that_is_left_early_closes_its_connection(api: FakeApi, client: Client) -> None:
    async with aclosing(client.watch(PODS, resource_version="0")) as events:
        reading = asyncio.ensure_future(anext(events))
        watch = await api.watching()
        await watch.send("ADDED", pod("a", 1))
        await reading
        opened = client._transport._connections
        assert opened is not None
        assert len(opened._open) == 1
    assert not opened._open


async def test_a_name_that_nobody_knows_is_told() -> None:
    async with Client(ClusterConfig("http://no-such-name.invalid:6443")) as client:
        with pytest.raises(ApiUnreachable, match=r"cannot be reached: the name no-such-name\.invalid is not known"):
            await client.list(PODS)


async def test_all_addresses_of_a_name_are_tried_and_what_they_said_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", port)) for last in (2, 3, 1)]

    async with scripted(lambda _, __: OK) as (url, _):
        port = int(url.rpartition(":")[2])
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
        async with Client(ClusterConfig(f"http://api.example:{port}")) as client:
            assert await client.raw("GET", "/a") == b"ok"
    async with Client(ClusterConfig(f"http://api.example:{port}")) as client:
        with pytest.raises(ApiUnreachable, match=r"cannot be reached: connection refused$"):
            await client.raw("GET", "/a")


async def test_the_name_and_password_in_a_server_s_url_are_shown_where_there_is_no_token(api: FakeApi) -> None:
    url = api.url.replace("http://", "http://jane:p%40ss@") + PREFIX
    for secret in (Secret(), Secret("t")):
        async with Client(ClusterConfig(url, secret)) as client:
            await client.list(PODS)
    assert api.tokens == ["Basic " + base64.b64encode(b"jane:p@ss").decode(), "Bearer t"]


# --- through a proxy --------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def proxy(refusal: bytes = b"", tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy's URL and the heads of what it was asked. It opens tunnels, and answers anything else itself."""
    heads: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        method, target, _ = heads[-1].split(b"\r\n")[0].decode().split(" ")
        if refusal or method != "CONNECT":
            writer.write(refusal or OK)
            return
        host, _, port = target.rpartition(":")
        there, further = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, further), pump(there, writer))
        with suppress(OSError):
            await further.wait_closed()

    async with listening(serve, tls) as url:
        yield url.replace("://", "://jane:s3cret@"), heads


SHOWN = b"Proxy-Authorization: Basic " + base64.b64encode(b"jane:s3cret")


@pytest.mark.parametrize("tls", [False, True])
async def test_a_server_with_tls_is_reached_through_a_tunnel_and_the_proxy_sees_nothing_of_what_is_said(tls: bool) -> None:
    async with fake_api(tls=server_tls()) as api, proxy(tls=server_tls() if tls else None) as (through, heads):
        api.put(pod("a", 1))
        async with Client(api.config(ca=CA, proxy=through)) as client:
            assert (await client.get(PODS, "a", "ml")).metadata.name == "a"
            assert len((await client.list(PODS)).items) == 1
    address = api.url.removeprefix("https://").encode()
    assert len(heads) == 1
    assert heads[0].startswith(b"CONNECT " + address + b" HTTP/1.1\r\nHost: " + address)
    assert SHOWN in heads[0]
    assert b"t0ken" not in heads[0]
    assert api.tokens == ["Bearer t0ken"] * 2


async def test_a_server_without_tls_is_asked_for_by_its_whole_address() -> None:
    config = ClusterConfig("http://api.example:8080/prefix", Secret("t"))
    async with proxy() as (through, heads):
        async with Client(ClusterConfig(config.server, config.credentials, proxy=through)) as client:
            assert await client.raw("GET", "/readyz") == b"ok"
    assert heads[0].startswith(b"GET http://api.example:8080/prefix/readyz HTTP/1.1\r\nHost: api.example:8080\r\n")
    assert SHOWN in heads[0]


async def test_a_proxy_that_refuses_is_told() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with proxy(refusal) as (through, _), Client(ClusterConfig("https://api.example:6443", proxy=through)) as client:
        with pytest.raises(ApiUnreachable, match=r"the proxy refuses the way there \(HTTP status 407\)") as caught:
            await client.list(PODS)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "proxy:3128", "http://"])
async def test_a_proxy_of_another_kind_is_refused_with_what_would_do(url: str) -> None:
    with pytest.raises(InvalidInput, match="proxy-url must be a URL such as http://host:3128"):
        async with Client(ClusterConfig("http://127.0.0.1:1", proxy=url)):
            pass
