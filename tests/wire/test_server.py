"""What PluginServer does about callers of every kind, and about the file its socket is."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from h2.connection import H2Connection
from h2.events import StreamEnded

from podvitals.device.health import Health
from podvitals.errors import InvalidInput, LocalError, PluginProtocolError, PluginUnreachable, SocketTaken
from podvitals.wire.client import PluginClient
from podvitals.wire.convert import encode_claims, encode_info
from podvitals.wire.endpoint import LONGEST_PATH, is_live
from podvitals.wire.messages import DRA_V1, HEALTH_V1, MESSAGE_LIMIT, ClaimRef, PrepareResult
from podvitals.wire.passing import Outcome, RawAnswer, RawCall
from podvitals.wire.server import PluginServer
from podvitals.wire.services import GET_INFO, prepare_method, watch_method
from tests.wire.peers import message, open_windows, raw_client
from tests.wire.test_calls import CLAIM, INFO, Plugin, report, serve


@pytest.mark.parametrize("path", ["/v1alpha9.DRAResourceHealth/NodeWatchResources", "/nothing", "/x/\x7f", watch_method(HEALTH_V1)])
async def test_a_method_not_served_is_unimplemented_in_a_whole_trailers_only_response(short: Path, path: str) -> None:
    """grpc-go reads a response without content type as UNKNOWN, and the kubelet then asks again every 5 s."""
    async with serve(short, Plugin(), [DRA_V1]), raw_client(short / "dra.sock") as client:
        headers, body, trailers = await client.call(path, message(b""))
        assert headers[":status"] == "200"
        assert headers["content-type"] == "application/grpc"
        assert headers["grpc-status"] == "12"
        assert "is not served here" in headers["grpc-message"]
        assert (body, trailers) == (b"", {})
        # and the connection goes on
        assert (await client.call(GET_INFO, message(b"")))[1] == message(encode_info(INFO))


async def test_an_answer_has_headers_message_and_trailers(short: Path) -> None:
    async with serve(short, Plugin()), raw_client(short / "dra.sock") as client:
        headers, body, trailers = await client.call(GET_INFO, message(b""))
        assert headers == {":status": "200", "content-type": "application/grpc"}
        assert body == message(encode_info(INFO))
        assert trailers == {"grpc-status": "0"}


@pytest.mark.parametrize(
    ("bodies", "more", "status"),
    [
        ((message(b"\x0a\xff"),), {}, "3"),
        ((), {}, "3"),
        ((b"\0\0",), {}, "13"),
        ((b"\x01\0\0\0\0",), {}, "12"),
        ((b"\0" + (MESSAGE_LIMIT + 1).to_bytes(4, "big"),), {}, "8"),
        ((message(b""),), {"method": "GET"}, "3"),
        ((message(b""),), {"content_type": "application/json"}, "3"),
    ],
)
async def test_a_request_that_cannot_be_understood_is_refused_and_the_next_is_served(
    short: Path, bodies: Sequence[bytes], more: dict[str, str], status: str
) -> None:
    async with serve(short, Plugin()), raw_client(short / "dra.sock") as client:
        headers, _, _ = await client.call(prepare_method(DRA_V1), *bodies, **more)
        assert headers["grpc-status"] == status
        assert headers["content-type"] == "application/grpc"
        assert (await client.call(prepare_method(DRA_V1), message(encode_claims([CLAIM]))))[2] == {"grpc-status": "0"}


async def test_a_request_in_many_small_pieces_is_one_request(short: Path) -> None:
    async with serve(short, Plugin()), raw_client(short / "dra.sock") as client:
        request = message(encode_claims([CLAIM]))
        pieces = [request[at : at + 1] for at in range(len(request))]
        assert (await client.call(prepare_method(DRA_V1), *pieces, b""))[2] == {"grpc-status": "0"}


async def test_a_request_as_large_as_allowed_is_served(short: Path) -> None:
    claims = [ClaimRef("ns", f"uid-{number}", "x" * 1000) for number in range(4000)]
    async with serve(short, Plugin()), PluginClient(short / "dra.sock") as client:
        assert len(await client.prepare(DRA_V1, claims)) == 4000


async def test_a_handlers_exception_is_answered_and_logged_and_ends_nothing_else(short: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugin = Plugin()
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        plugin.reports.put_nowait(b"one")
        plugin.reports.put_nowait(ValueError("the detector\nis broken ü"))
        async with aclosing(client.watch_health(HEALTH_V1)) as reports:
            assert await anext(reports) == b"one"
            with (
                caplog.at_level(logging.ERROR),
                pytest.raises(PluginProtocolError, match=r"UNKNOWN ValueError: the detector\\x0ais broken ü"),
            ):
                await anext(reports)
        assert "the detector" in caplog.text
        assert await client.get_info() == INFO


async def test_an_error_of_ours_in_a_handler_keeps_its_meaning(short: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Away(Plugin):
        async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
            raise PluginUnreachable("the driver is away")

    async with serve(short, Away()), PluginClient(short / "dra.sock") as client:
        with pytest.raises(PluginUnreachable, match="UNAVAILABLE the driver is away"):
            await client.prepare(DRA_V1, [CLAIM])
    assert "Traceback" not in caplog.text


async def test_several_watchers_hear_everything_each_at_its_own_pace(short: Path) -> None:
    class Counter(Plugin):
        async def watch(self) -> AsyncIterator[bytes]:
            for number in range(50):
                yield report(f"gpu-{number}", Health.HEALTHY)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve(short, Counter()))
        one, two = [await stack.enter_async_context(PluginClient(short / "dra.sock")) for _ in range(2)]
        # Two streams share one connection, a third has its own; the first is read last.
        streams = [one.watch_health(HEALTH_V1), one.watch_health(HEALTH_V1), two.watch_health(HEALTH_V1)]
        first = await anext(streams[0])
        rest = [[raw async for raw in stream] for stream in reversed(streams[1:])]
        assert rest[0] == rest[1] == [first, *[raw async for raw in streams[0]]]
        assert len(rest[0]) == 50


async def test_a_call_its_caller_gave_up_is_cancelled(short: Path) -> None:
    plugin = Plugin()
    plugin.block = asyncio.Event()
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        call = asyncio.create_task(client.prepare(DRA_V1, [CLAIM]))
        await plugin.entered.wait()
        call.cancel()
        async with asyncio.timeout(2):
            await plugin.cancelled.wait()


async def test_stopping_tells_every_watcher_and_removes_the_socket(short: Path) -> None:
    plugin = Plugin()
    server = serve(short, plugin)
    await server.start()
    async with PluginClient(short / "dra.sock") as one, PluginClient(short / "dra.sock") as two:
        watches = [asyncio.ensure_future(anext(client.watch_health(HEALTH_V1))) for client in (one, two)]
        for _ in watches:
            await plugin.watching.acquire()
        async with asyncio.timeout(2):
            await server.stop()
            for watch in watches:
                with pytest.raises(PluginUnreachable, match="stopping"):
                    await watch
    assert not (short / "dra.sock").exists()
    await server.stop()  # a second time is no error


async def test_a_watcher_that_reads_nothing_is_sent_nothing_more_and_does_not_hold_up_the_stop(short: Path) -> None:
    plugin = Plugin()
    for _ in range(40):
        plugin.reports.put_nowait(bytes(1024 * 1024))
    server = serve(short, plugin)
    await server.start()
    sock = socket.socket(socket.AF_UNIX)
    with sock:
        sock.connect(str(short / "dra.sock"))
        h2 = H2Connection()
        h2.initiate_connection()
        open_windows(h2)
        head = [(":method", "POST"), (":path", watch_method(HEALTH_V1)), (":scheme", "http"), (":authority", "x")]
        h2.send_headers(1, [*head, ("content-type", "application/grpc")])
        h2.send_data(1, message(b""), end_stream=True)
        sock.sendall(h2.data_to_send())
        async with asyncio.timeout(5), PluginClient(short / "dra.sock") as other:
            await plugin.watching.acquire()
            for _ in range(100):
                await other.get_info()
            assert plugin.reports.qsize() > 30
            await server.stop()


async def test_a_watcher_whose_connection_window_alone_is_small_gets_everything(short: Path) -> None:
    plugin = Plugin()
    plugin.reports.put_nowait(bytes(300_000))
    plugin.reports.put_nowait(None)
    async with serve(short, plugin), raw_client(short / "dra.sock") as client:
        open_windows(client.h2, connection=0, stream=4 * 1024 * 1024)
        _, body, trailers = await client.call(watch_method(HEALTH_V1), message(b""))
        assert len(body) == 300_005
        assert trailers == {"grpc-status": "0"}


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_accepted_while_the_server_ends_is_not_left_open(short: Path, turns: int) -> None:
    server = serve(short, Plugin())
    await server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(str(short / "dra.sock"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.abandon()
        sock.setblocking(True)
        sock.settimeout(2)
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.to_thread(sock.recv, 65536):
                pass


async def test_a_start_that_is_given_up_leaves_no_socket(short: Path) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # so that what comes after it is known to
    starting = asyncio.create_task(serve(short, Plugin()).start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await asyncio.to_thread(lambda: [*short.iterdir()]) == []


async def test_the_socket_is_for_its_owner_alone(short: Path) -> None:
    async with serve(short, Plugin()):
        assert stat.S_IMODE(os.stat(short / "dra.sock").st_mode) == 0o600


async def test_a_socket_a_live_process_listens_on_is_not_taken(short: Path) -> None:
    async with serve(short, Plugin()), PluginClient(short / "dra.sock") as client:
        with pytest.raises(SocketTaken, match=r"another process listens on .*dra\.sock"):
            await serve(short, Plugin()).start()
        assert await client.get_info() == INFO


async def test_a_socket_a_dead_process_left_is_taken_over(short: Path) -> None:
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(short / 'dra.sock')!r}); s.listen(); import os; os._exit(0)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    await process.wait()
    assert (short / "dra.sock").is_socket()
    async with serve(short, Plugin()), PluginClient(short / "dra.sock") as client:
        assert await client.get_info() == INFO


async def test_a_file_that_is_no_socket_is_left_alone(short: Path) -> None:
    (short / "dra.sock").write_text("precious")
    with pytest.raises(LocalError, match="is not a socket"):
        await serve(short, Plugin()).start()
    assert (short / "dra.sock").read_text() == "precious"


async def test_a_missing_directory_is_named(short: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot make socket .*none/dra\.sock: No such file or directory: the directory must exist"):
        await serve(short / "none", Plugin()).start()


async def test_a_path_too_long_for_a_socket_is_refused_with_its_length(short: Path) -> None:
    fits = short / ("x" * (LONGEST_PATH - len(str(short)) - 1))
    async with PluginServer(fits, registration=Plugin()), PluginClient(fits) as client:
        assert await client.get_info() == INFO
    with pytest.raises(InvalidInput, match=f"has {LONGEST_PATH + 1} bytes, a Unix socket may have {LONGEST_PATH}"):
        PluginServer(f"{fits}x")


async def test_a_socket_put_in_the_place_of_ours_is_not_removed(short: Path) -> None:
    server = serve(short, Plugin())
    await server.start()
    os.rename(short / "dra.sock", short / "old.sock")
    async with serve(short, Plugin()), PluginClient(short / "dra.sock") as client:
        await server.stop()
        assert await client.get_info() == INFO


async def test_an_abandoned_socket_stays_and_refuses(short: Path) -> None:
    server = serve(short, Plugin())
    await server.start()
    assert await asyncio.to_thread(is_live, short / "dra.sock")
    await server.abandon()
    assert (short / "dra.sock").is_socket()
    assert not await asyncio.to_thread(is_live, short / "dra.sock")


def test_of_a_path_with_nothing_there_nothing_is_live(short: Path) -> None:
    assert not is_live(short / "none")


async def test_garbage_on_a_connection_ends_only_that_connection(short: Path) -> None:
    async with serve(short, Plugin()), PluginClient(short / "dra.sock") as client:
        assert await client.get_info() == INFO
        reader, writer = await asyncio.open_unix_connection(short / "dra.sock")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(2):
            await reader.read()  # the server's greeting and goodbye, then the end
        writer.close()
        assert await client.get_info() == INFO


async def test_a_connection_dropped_in_the_middle_of_a_request_leaves_nothing(short: Path) -> None:
    async with serve(short, Plugin()) as server:
        async with raw_client(short / "dra.sock") as client:
            stream = client.h2.get_next_available_stream_id()
            head = [
                (":method", "POST"),
                (":path", GET_INFO),
                (":scheme", "http"),
                (":authority", "x"),
                ("content-type", "application/grpc"),
            ]
            client.h2.send_headers(stream, head)
            client.h2.send_data(stream, b"\0\0")
            client.flush()
        async with PluginClient(short / "dra.sock") as other:
            assert await other.get_info() == INFO
        await server.stop()


def test_a_socket_of_another_kind_cannot_be_asked(short: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(short / "s"))
        with pytest.raises(LocalError, match="cannot tell whether somebody listens"):
            is_live(short / "s")


class Failing:
    """A `PassHandler` of which every call fails, with a long text; `begins`: without a task."""

    def __init__(self, *, begins: bool) -> None:
        self.begins, self.calls = begins, 0
        self.answer = RawAnswer(None, (("grpc-status", "13"), ("grpc-message", "x" * 50_000)))

    def begin(self, call: RawCall, done: Callable[[Outcome], None]) -> Callable[[], None] | None:
        if not self.begins:
            return None
        self.calls += 1
        return asyncio.get_running_loop().call_soon(done, self.answer).cancel

    async def pass_on(self, call: RawCall) -> RawAnswer:
        self.calls += 1
        return self.answer


@pytest.mark.parametrize("begins", [False, True])
async def test_a_caller_that_does_not_read_for_a_while_gets_all_its_answers_in_the_end(short: Path, begins: bool) -> None:
    """A kubelet that stands still while calls fail at length: nothing of what waits for it is a flood it asked for."""
    handler, count, ended = Failing(begins=begins), 30, 0
    async with PluginServer(short / "s", other=handler), raw_client(short / "s") as client:
        headers = [(":method", "POST"), (":scheme", "http"), (":path", "/x.Y/Z"), (":authority", "x"), ("content-type", "application/grpc")]
        for number in range(count):
            client.h2.send_headers(2 * number + 1, headers)
            client.h2.send_data(2 * number + 1, message(b""), end_stream=True)
        client.flush()
        async with asyncio.timeout(5):
            while handler.calls < count:
                await asyncio.sleep(0)
            while ended < count and (data := await client.reader.read(65536)):
                ended += sum(isinstance(event, StreamEnded) for event in client.h2.receive_data(data))
    assert ended == count
