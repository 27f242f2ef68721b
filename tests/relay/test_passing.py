"""A call on its way through the relay: everything that may become of it, without a task for it and with one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from h2.connection import H2Connection
from h2.events import RequestReceived

from podvitals.clock import SYSTEM
from podvitals.errors import PluginUnreachable
from podvitals.relay.calls import Calls
from podvitals.wire.client import PluginClient
from podvitals.wire.convert import encode_claims
from podvitals.wire.messages import DRA_V1, MESSAGE_LIMIT, ClaimRef, PrepareResult
from podvitals.wire.passing import RawCall
from podvitals.wire.server import PluginServer
from podvitals.wire.services import prepare_method
from tests.wire.peers import OK, RawServer, message, raw_client
from tests.wire.test_calls import CLAIM, PREPARED, Plugin, serve

METHOD = prepare_method(DRA_V1)
REQUEST = encode_claims([CLAIM])


@dataclass
class Way:
    """`direct`: the driver's socket; `passed`: that of the stand-in before it."""

    direct: Path
    passed: Path
    calls: Calls
    server: PluginServer

    def tasks(self) -> list[str]:
        """What is under way at the stand-in in a task of its own."""
        return [task.get_name() for task in asyncio.all_tasks() if str(self.passed) in task.get_name()]


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        yield Path(directory)


@asynccontextmanager
async def way(place: Path) -> AsyncIterator[Way]:
    direct, passed = place / "dra.sock", place / "front.sock"
    async with PluginClient(direct) as driver:
        calls = Calls("gpu.example.com", lambda: driver, SYSTEM)
        async with PluginServer(passed, other=calls) as server:
            yield Way(direct, passed, calls, server)


@asynccontextmanager
async def connected(place: Path, plugin: Plugin) -> AsyncIterator[tuple[Way, PluginClient]]:
    """With a driver that is connected already."""
    async with serve(place, plugin), way(place) as found, PluginClient(found.passed) as kubelet:
        assert await kubelet.prepare(DRA_V1, []) == {}
        plugin.entered.clear()
        yield found, kubelet


async def test_a_call_under_way_needs_no_task(place: Path) -> None:
    plugin = Plugin()
    async with connected(place, plugin) as (found, kubelet):
        plugin.block = asyncio.Event()
        calls = [asyncio.create_task(kubelet.prepare(DRA_V1, [CLAIM])) for _ in range(20)]
        await plugin.entered.wait()
        assert found.tasks() == []
        plugin.block.set()
        assert await asyncio.gather(*calls) == [{"uid-1": PrepareResult((PREPARED,))}] * 20
        assert found.calls.passed == 21


async def test_a_call_its_caller_gives_up_is_given_up_at_the_driver(place: Path) -> None:
    plugin = Plugin()
    async with connected(place, plugin) as (found, kubelet):
        plugin.block = asyncio.Event()
        call = asyncio.create_task(kubelet.prepare(DRA_V1, [CLAIM]))
        await plugin.entered.wait()
        call.cancel()
        async with asyncio.timeout(5):
            await plugin.cancelled.wait()
        assert found.server._passing == {}


async def test_a_driver_that_does_not_answer_by_the_callers_deadline_is_left(place: Path) -> None:
    plugin = Plugin()
    async with connected(place, plugin) as (found, _), raw_client(found.passed) as client:
        plugin.block = asyncio.Event()
        stream = client.h2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "x"), ("content-type", "application/grpc")]
        client.h2.send_headers(stream, [*head, ("grpc-timeout", "50m")])
        client.h2.send_data(stream, message(REQUEST), end_stream=True)
        client.flush()
        headers, _, _ = await client.answer(stream)
        assert headers["grpc-status"] == "14"
        assert "did not answer NodePrepareResources within 0.05 s" in headers["grpc-message"].replace("%20", " ")
        async with asyncio.timeout(5):
            await plugin.cancelled.wait()
        assert (found.calls.failed, found.calls.held) == (1, 0)


async def test_a_stand_in_that_ends_tells_the_caller_and_gives_the_call_up(place: Path) -> None:
    plugin = Plugin()
    async with connected(place, plugin) as (found, kubelet):
        plugin.block = asyncio.Event()
        call = asyncio.create_task(kubelet.prepare(DRA_V1, [CLAIM]))
        await plugin.entered.wait()
        await found.server.stop()
        with pytest.raises(PluginUnreachable, match="UNAVAILABLE the plugin is stopping"):
            await call
        async with asyncio.timeout(5):
            await plugin.cancelled.wait()


async def test_a_call_whose_driver_dies_is_made_again_within_its_own_deadline(place: Path) -> None:
    plugin = Plugin()
    async with way(place) as found, PluginClient(found.passed) as kubelet:
        server = serve(place, plugin)
        await server.start()
        await kubelet.prepare(DRA_V1, [])
        plugin.entered.clear()
        plugin.block = asyncio.Event()
        call = asyncio.create_task(kubelet.prepare(DRA_V1, [CLAIM], timeout=30.0))
        await plugin.entered.wait()
        asked: list[RawCall] = []
        pass_on = found.calls.pass_on

        async def watched(call: RawCall):  # type: ignore[no-untyped-def]
            asked.append(call)
            return await pass_on(call)

        found.calls.pass_on = watched  # type: ignore[method-assign]
        await server.abandon()
        async with serve(place, Plugin()):
            assert await call == {"uid-1": PrepareResult((PREPARED,))}
        (again,) = asked
        assert again.timeout is not None
        assert 20.0 < again.timeout < 30.0
        assert (again.method, again.request) == (METHOD, REQUEST)


@pytest.mark.parametrize("size", [0, 100, 70_000, 3_000_000])
async def test_answers_of_every_size_pass_to_a_peer_that_takes_little_at_once(place: Path, size: int) -> None:
    body = bytes(size)

    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        data = message(body)
        for at in range(0, len(data), 16_000):
            h2.send_data(stream, data[at : at + 16_000])
        h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    async with RawServer(answer).at(place / "dra.sock"), way(place) as found, raw_client(found.passed) as client:
        for _ in range(3):
            headers, got, trailers = await client.call(METHOD, message(REQUEST))
            assert headers == {":status": "200", "content-type": "application/grpc"}
            assert got == message(body)
            assert trailers == {"grpc-status": "0"}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"\x01\0\0\0\0", "3", "compressed"),
        (b"\0" + (MESSAGE_LIMIT + 1).to_bytes(4, "big"), "3", f"{MESSAGE_LIMIT + 1} bytes"),
        (message(b"whole")[:-1], "3", "in the middle of a message"),
    ],
)
async def test_an_answer_that_is_none_is_an_error_whoever_hears_it_first(place: Path, body: bytes, status: str, text: str) -> None:
    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        h2.send_data(stream, body)
        h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    async with RawServer(answer).at(place / "dra.sock"), way(place) as found, raw_client(found.passed) as client:
        # The first waits for the connection, the second finds it.
        for _ in range(2):
            headers, _, _ = await client.call(METHOD, message(REQUEST))
            assert headers["grpc-status"] == status
            assert text in headers["grpc-message"]
        assert found.calls.passed == 0


async def test_a_request_that_comes_in_pieces_or_never_ends_passes_too(place: Path) -> None:
    async with connected(place, Plugin()) as (found, _), raw_client(found.passed) as client:
        request = message(REQUEST)
        _, got, trailers = await client.call(METHOD, request[:3], request[3:7], request[7:], b"")
        assert (got[:1], trailers) == (b"\0", {"grpc-status": "0"})
        stream = client.h2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "x"), ("content-type", "application/grpc")]
        client.h2.send_headers(stream, head)
        client.h2.send_data(stream, request)
        client.flush()
        assert (await client.answer(stream))[2] == {"grpc-status": "0"}


async def test_more_calls_than_the_driver_takes_at_once_wait_for_their_turn(place: Path) -> None:
    plugin = Plugin()
    async with connected(place, plugin) as (found, kubelet):
        driver = found.calls._newest()
        assert driver is not None
        assert driver._connection is not None
        driver._connection.protocol.most_calls = 3
        claims = [ClaimRef("ml", f"uid-{number}", "gpus") for number in range(20)]
        answers = await asyncio.gather(*(kubelet.prepare(DRA_V1, [claim]) for claim in claims))
        assert [next(iter(answer)) for answer in answers] == [claim.uid for claim in claims]


async def test_what_is_said_twice_under_one_name_stays_two_and_only_deadlines_are_another(place: Path) -> None:
    """grpc-go does not divide a value of `-bin` at its comma."""
    twice = [("a-bin", "AAE"), ("a-bin", "/w"), ("b", "1")]

    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        h2.send_data(stream, message(b""))
        h2.send_headers(stream, [("grpc-status", "3"), ("grpc-message", "no%20such"), *twice], end_stream=True)

    server = RawServer(answer)
    async with server.at(place / "dra.sock"), way(place) as found, PluginClient(found.passed) as client:
        for _ in range(2):
            got = await client.pass_on(RawCall(METHOD, REQUEST, 1_000_000.0, tuple(twice)))
            assert got.trailers == (("grpc-status", "3"), ("grpc-message", "no%20such"), *twice)
        asked = [event.headers for event in server.events if isinstance(event, RequestReceived)]
        for headers in asked:
            pairs = [(bytes(name).decode(), bytes(value).decode()) for name, value in headers]
            assert [pair for pair in pairs if pair[0] in ("a-bin", "b")] == twice
            assert dict(pairs)["grpc-timeout"] in ("1000000S", "999999S")


async def test_an_answer_of_tiny_messages_without_end_is_not_kept(place: Path) -> None:
    many = message(b"ab") * 2000

    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        while h2.local_flow_control_window(stream) >= len(many) and len(many) <= 16_384:
            h2.send_data(stream, many)
        h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    async with RawServer(answer).at(place / "dra.sock"), way(place) as found, raw_client(found.passed) as client:
        for _ in range(2):
            assert await client.call(METHOD, message(REQUEST)) == (dict(OK), message(b"ab"), {"grpc-status": "0"})


@pytest.mark.parametrize(("code", "status"), [(2, "13"), (8, "1"), (11, "8"), (12, "7"), (0, "13")])
async def test_a_call_that_a_living_driver_resets_is_answered_and_not_made_again(place: Path, code: int, status: str) -> None:
    server = RawServer(lambda h2, stream: h2.reset_stream(stream, code))
    async with server.at(place / "dra.sock"), way(place) as found, raw_client(found.passed) as client:
        for _ in range(2):
            headers, _, trailers = await client.call(METHOD, message(REQUEST))
            assert (headers | trailers)["grpc-status"] == status
        assert sum(isinstance(event, RequestReceived) for event in server.events) == 2


async def test_a_call_that_a_driver_refused_before_it_began_is_made_again(place: Path) -> None:
    asked = 0

    def answer(h2: H2Connection, stream: int) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            return h2.reset_stream(stream, 7)
        h2.send_headers(stream, OK)
        return h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    async with RawServer(answer).at(place / "dra.sock"), way(place) as found, raw_client(found.passed) as client:
        for _ in range(2):
            assert (await client.call(METHOD, message(REQUEST)))[2] == {"grpc-status": "0"}
        assert asked == 3
