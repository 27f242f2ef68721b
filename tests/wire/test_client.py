"""What PluginClient makes of peers that are dead, dying, silent or wrong."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from podvitals.errors import PluginProtocolError, PluginUnimplemented, PluginUnreachable
from podvitals.wire.client import PluginClient
from podvitals.wire.convert import encode_info
from podvitals.wire.http2 import Connection
from podvitals.wire.messages import DRA_V1, HEALTH_V1, MESSAGE_LIMIT, ClaimRef
from tests.wire.peers import OK, RawServer, message, open_windows
from tests.wire.test_calls import INFO, Plugin, serve

INFO_MESSAGE = message(encode_info(INFO))


def script(
    *headers: tuple[str, str], body: bytes = INFO_MESSAGE, trailers: tuple[tuple[str, str], ...] = ()
) -> Callable[[H2Connection, int], None]:
    def run(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, list(headers), end_stream=not body and not trailers)
        if body:
            h2.send_data(stream, body, end_stream=not trailers)
        if trailers:
            h2.send_headers(stream, list(trailers), end_stream=True)

    return run


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (script(*OK, trailers=(("grpc-status", "0"),)), None, ""),
        (
            script(*OK, trailers=(("grpc-status", "13"), ("grpc-message", "it%20broke%0A"))),
            PluginProtocolError,
            r"failed: INTERNAL it broke\\x0a",
        ),
        (script(*OK, trailers=(("grpc-status", "99"),)), PluginProtocolError, "failed: UNKNOWN"),
        (script(*OK, trailers=(("grpc-status", "²"),)), PluginProtocolError, "failed: UNKNOWN"),
        (script(*OK, trailers=(("grpc-status", "9" * 5000),)), PluginProtocolError, "failed: UNKNOWN"),
        (script(*OK, trailers=(("grpc-status", "14"), ("grpc-message", "stopping"))), PluginUnreachable, "UNAVAILABLE stopping"),
        (script(*OK, ("grpc-status", "12"), body=b""), PluginUnimplemented, "GetInfo is not served"),
        # grpclib's answer to an unknown method
        (script((":status", "200"), ("grpc-status", "12"), body=b""), PluginUnimplemented, "GetInfo is not served"),
        (script((":status", "404"), body=b"not found"), PluginUnimplemented, "HTTP 404"),
        (script((":status", "503"), body=b""), PluginUnreachable, "HTTP 503"),
        (script((":status", "500"), body=b""), PluginProtocolError, "HTTP 500"),
        (script(*OK, body=b""), PluginProtocolError, "no gRPC status"),
        (script(*OK, body=b"", trailers=(("grpc-status", "0"),)), PluginProtocolError, "success but no message"),
        (script(*OK, body=INFO_MESSAGE * 2, trailers=(("grpc-status", "0"),)), PluginProtocolError, "more than one message"),
        (script(*OK, body=INFO_MESSAGE[:-1], trailers=(("grpc-status", "0"),)), PluginProtocolError, "in the middle of a message"),
        (script(*OK, body=message(b"\x0a\xff\x01"), trailers=(("grpc-status", "0"),)), PluginProtocolError, "3 bytes are not a PluginInfo"),
        (script(*OK, body=b"\x01\0\0\0\0", trailers=(("grpc-status", "0"),)), PluginProtocolError, "compressed"),
        (script(*OK, body=b"\0\x00\x40\x00\x01", trailers=(("grpc-status", "0"),)), PluginProtocolError, f"{MESSAGE_LIMIT + 1} bytes"),
    ],
)
async def test_every_answer_is_a_result_or_an_error_of_ours(
    short: Path, answer: Callable[[H2Connection, int], None], error: type[Exception] | None, why: str
) -> None:
    async with RawServer(answer).at(short / "s"), PluginClient(short / "s") as client:
        if error is None:
            assert await client.get_info() == INFO
        else:
            with pytest.raises(error, match=why):
                await client.get_info()


async def test_empty_data_frames_and_unknown_frames_mean_nothing(short: Path) -> None:
    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        h2.send_data(stream, INFO_MESSAGE[:7])
        h2.send_data(stream, b"")
        h2.send_data(stream, INFO_MESSAGE[7:], pad_length=9)
        h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    unknown = b"\0\0\x03\xee\0\0\0\0\0abc"
    server = RawServer(answer, after=lambda writer: writer.write(unknown))
    async with server.at(short / "s"), PluginClient(short / "s") as client:
        assert await client.get_info() == INFO
        assert await client.get_info() == INFO
        assert server.connections == 1


async def test_what_a_driver_said_before_it_died_is_delivered_first(short: Path) -> None:
    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        h2.send_data(stream, message(b"one") + message(b"last words"))

    async with RawServer(answer, after=lambda writer: writer.close()).at(short / "s"), PluginClient(short / "s") as client:
        reports = client.watch_health(HEALTH_V1)
        assert await anext(reports) == b"one"
        # Another call finds that the connection broke while the report is being worked on.
        with pytest.raises(PluginUnreachable):
            await client.get_info()
        assert await anext(reports) == b"last words"
        with pytest.raises(PluginUnreachable, match=r"closed the connection|broke"):
            await anext(reports)


@pytest.mark.parametrize("death", [lambda h2, s: h2.close_connection(), lambda h2, s: h2.reset_stream(s, 8)])
async def test_a_call_ends_at_once_when_the_driver_gives_up(short: Path, death: Callable[[H2Connection, int], None]) -> None:
    async with RawServer(death).at(short / "s"), PluginClient(short / "s") as client:
        async with asyncio.timeout(2):
            with pytest.raises(PluginUnreachable):
                await client.prepare(DRA_V1, [ClaimRef("ns", "uid", "name")])


async def test_a_driver_that_dies_ends_every_call_at_once_and_the_next_one_is_found(short: Path) -> None:
    plugin = Plugin()
    plugin.block = asyncio.Event()
    server = serve(short, plugin)
    await server.start()
    async with PluginClient(short / "dra.sock") as client:
        watch = asyncio.ensure_future(anext(client.watch_health(HEALTH_V1)))
        prepare = asyncio.create_task(client.prepare(DRA_V1, [ClaimRef("ns", "uid", "name")]))
        await plugin.entered.wait()
        await plugin.watching.acquire()
        await server.abandon()
        async with asyncio.timeout(2):
            for call in (watch, prepare):
                with pytest.raises(PluginUnreachable):
                    await call
        with pytest.raises(PluginUnreachable, match="refused"):
            await client.get_info()
        async with serve(short, Plugin()):
            assert await client.get_info() == INFO


async def test_a_broken_connection_leaves_no_trace_in_its_task(short: Path) -> None:
    """A TaskGroup or timeout around the call must not take a lost driver for a cancellation of its own task."""
    async with RawServer(lambda h2, s: None, after=lambda writer: writer.close()).at(short / "s"), PluginClient(short / "s") as client:
        with pytest.raises(PluginUnreachable):
            await client.get_info()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_a_driver_that_does_not_answer_in_time_is_unreachable_and_told_so(short: Path) -> None:
    plugin = Plugin()
    plugin.block = asyncio.Event()
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        with pytest.raises(PluginUnreachable, match=r"did not answer NodePrepareResources within 0\.05 s"):
            await client.prepare(DRA_V1, [ClaimRef("ns", "uid", "name")], timeout=0.05)
        async with asyncio.timeout(2):
            await plugin.cancelled.wait()


@pytest.fixture
def stopped(short: Path) -> socket.socket:
    """A socket that takes connections and never looks at them, as a stopped process has."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(short / "s"))
    sock.listen(0)
    return sock


async def test_a_process_that_accepts_and_says_nothing_is_unreachable(short: Path, stopped: socket.socket) -> None:
    with stopped:
        async with PluginClient(short / "s", connect_timeout=0.05) as client:
            with pytest.raises(PluginUnreachable, match=r"says nothing for 0\.05 s"):
                await client.get_info()


async def test_a_full_backlog_is_waited_for_and_then_unreachable(short: Path, stopped: socket.socket) -> None:
    waiting = []
    with stopped:
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            waiting.append(sock)
            if sock.connect_ex(str(short / "s")) == errno.EAGAIN:
                break
        async with PluginClient(short / "s", connect_timeout=0.1) as client:
            with pytest.raises(PluginUnreachable, match="says nothing"):
                await client.get_info()
        for sock in waiting:
            sock.close()


async def test_something_that_is_no_http2_is_unreachable(short: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(bytes(100))
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(greet, short / "s")
    async with server, PluginClient(short / "s", connect_timeout=1) as client:
        with pytest.raises(PluginUnreachable, match="does not keep to HTTP/2"):
            await client.get_info()


async def test_a_path_too_long_for_a_socket_is_unreachable(short: Path) -> None:
    async with PluginClient(short / ("x" * 120)) as client:
        with pytest.raises(PluginUnreachable, match="too long"):
            await client.get_info()


async def test_a_cancelled_watch_is_ended_at_the_driver(short: Path) -> None:
    plugin = Plugin()
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        watch = asyncio.ensure_future(anext(client.watch_health(HEALTH_V1)))
        await plugin.watching.acquire()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        async with asyncio.timeout(2):
            await plugin.left.acquire()
        assert await client.get_info() == INFO


async def test_closing_the_client_ends_its_watches(short: Path) -> None:
    plugin = Plugin()
    async with serve(short, plugin):
        client = PluginClient(short / "dra.sock")
        watch = asyncio.ensure_future(anext(client.watch_health(HEALTH_V1)))
        await plugin.watching.acquire()
        await client.close()
        with pytest.raises(PluginUnreachable):
            await watch
        await plugin.left.acquire()


async def test_a_client_closed_while_it_connects_keeps_nothing_open(short: Path, stopped: socket.socket) -> None:
    with stopped:
        client = PluginClient(short / "s", connect_timeout=5)
        call = asyncio.create_task(client.get_info())
        accepted, _ = await asyncio.to_thread(stopped.accept)
        await client.close()
        with accepted:
            h2 = H2Connection(H2Configuration(client_side=False))
            h2.initiate_connection()
            accepted.sendall(h2.data_to_send())
            with pytest.raises(PluginUnreachable, match="the client was closed"):
                await call


async def test_a_driver_that_dies_before_it_read_a_large_request_ends_every_call_that_waits(short: Path, stopped: socket.socket) -> None:
    with stopped:
        async with PluginClient(short / "s") as client:
            claims = [ClaimRef("ns", "u" * 3_000_000, "name")]
            # The first fills the socket, the second waits to write.
            calls = [asyncio.create_task(client.prepare(DRA_V1, claims)) for _ in range(2)]
            accepted, _ = await asyncio.to_thread(stopped.accept)
            h2 = H2Connection(H2Configuration(client_side=False))
            h2.initiate_connection()
            open_windows(h2)
            accepted.sendall(h2.data_to_send())
            await asyncio.to_thread(accepted.recv, 20_000, socket.MSG_WAITALL)
            for _ in range(20):
                await asyncio.sleep(0)
            accepted.close()
            async with asyncio.timeout(2):
                for call in calls:
                    with pytest.raises(PluginUnreachable):
                        await call


async def test_a_connection_closed_before_it_was_made_is_not_kept() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection()
    await connection.close()
    ours.setblocking(False)
    await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=ours)
    with theirs:
        assert await asyncio.to_thread(theirs.recv, 1) == b""


async def test_reports_of_the_largest_size_pass_and_larger_ones_do_not(short: Path) -> None:
    plugin = Plugin()
    largest = bytes(MESSAGE_LIMIT)
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        plugin.reports.put_nowait(largest)
        plugin.reports.put_nowait(largest + b"x")
        async with asyncio.timeout(20), aclosing(client.watch_health(HEALTH_V1)) as reports:
            assert await anext(reports) == largest
            with pytest.raises(PluginProtocolError, match="RESOURCE_EXHAUSTED"):
                await anext(reports)
        with pytest.raises(PluginProtocolError, match="larger than"):
            await client.prepare(DRA_V1, [ClaimRef("ns", "u" * MESSAGE_LIMIT, "name")])
        assert await client.get_info() == INFO


async def test_a_slow_reader_holds_the_driver_back(short: Path) -> None:
    """What is not read is not sent: memory stays bounded by the flow-control window."""
    plugin = Plugin()
    sent = 0

    async def watch():  # type: ignore[no-untyped-def]
        nonlocal sent
        while sent < 64:
            yield bytes(1024 * 1024)
            sent += 1

    plugin.watch = watch  # type: ignore[method-assign]
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        async with asyncio.timeout(20), aclosing(client.watch_health(HEALTH_V1)) as reports:
            await anext(reports)
            for _ in range(100):
                assert await client.get_info() == INFO  # other calls of the connection go on
            assert sent < 12
            count = 1
            async for _ in reports:
                count += 1
            assert count == 64


async def test_more_calls_than_a_peer_takes_at_once_wait_for_their_turn(short: Path) -> None:
    """A node has 110 pods, and the kubelet prepares them all at once; a server of h2's defaults takes 100 calls."""
    plugin = Plugin()
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        await client.connect()
        assert client._connection is not None
        client._connection.protocol.most_calls = 3
        answers = await asyncio.gather(*(client.get_info() for _ in range(10)))
        assert answers == [INFO] * 10
