"""Peers that keep us busy: bounded in memory and time, and the others are served meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from podvitals.errors import PluginProtocolError, PluginUnreachable
from podvitals.wire import fairness, frames
from podvitals.wire.client import LONGEST_INFO, PluginClient
from podvitals.wire.convert import encode_info
from podvitals.wire.fields import Encoder
from podvitals.wire.messages import PluginInfo
from podvitals.wire.services import GET_INFO
from tests.wire.peers import OK, RawServer, message, raw_client, settle
from tests.wire.test_calls import INFO, Plugin, serve


class Flood:
    """Greets, then sends what `frames` makes, for ever; `reads`: also takes what comes back."""

    def __init__(self, frames: Callable[[H2Connection], None], *, reads: bool) -> None:
        self.frames, self.reads, self.sent = frames, reads, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        h2 = H2Connection(H2Configuration(client_side=False))
        h2.initiate_connection()
        self.frames(h2)
        data = h2.data_to_send()
        reading = asyncio.create_task(reader.read(-1)) if self.reads else None
        try:
            writer.write(data)
            self.frames(h2)
            again = h2.data_to_send() * 64
            while True:
                writer.write(again)
                self.sent += len(again)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            writer.close()

    @asynccontextmanager
    async def at(self, path: Path) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self.serve, path)
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()
            await settle()


def pings(h2: H2Connection) -> None:
    for number in range(64):
        h2.ping(number.to_bytes(8))


def settings(h2: H2Connection) -> None:
    for _ in range(64):
        h2.update_settings({})


@pytest.mark.parametrize("frames", [pings, settings])
async def test_a_peer_that_asks_and_never_reads_the_answers_is_left(short: Path, frames: Callable[[H2Connection], None]) -> None:
    async with Flood(frames, reads=False).at(short / "flood.sock"), PluginClient(short / "flood.sock") as client:
        await client.connect()
        async with asyncio.timeout(20):
            await client.disconnected()


@pytest.mark.parametrize("method", [GET_INFO, "/nobody/serves-this"])
async def test_a_caller_that_calls_and_never_reads_the_answers_is_left(short: Path, method: str) -> None:
    head = Encoder().encode([(":method", "POST"), (":path", method), ("content-type", "application/grpc")])
    async with serve(short, Plugin()) as server:
        _, writer = await asyncio.open_unix_connection(short / "dra.sock")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(frames.PREFACE + frames.settings({}))
        number = 1
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                while number == 1 or server._listener._connections:  # type: ignore[union-attr]
                    for _ in range(100):
                        writer.write(frames.header_frames(number, head, 16_384, end=False))
                        writer.write(frames.frame(frames.DATA, frames.END_STREAM, number, message(b"")))
                        number += 2
                    await writer.drain()
        assert number < 100_000
        writer.close()


async def test_whoever_keeps_us_busy_is_read_slowly_and_others_are_served(short: Path) -> None:
    flood = Flood(pings, reads=True)
    async with flood.at(short / "flood.sock"), PluginClient(short / "flood.sock") as client:
        await client.connect()
        async with serve(short, Plugin()), PluginClient(short / "dra.sock") as other:
            async with asyncio.timeout(20):
                while not fairness.Fairness._resting:
                    assert await other.get_info() == INFO
                for _ in range(50):
                    assert await other.get_info() == INFO
            sent = flood.sent
            assert sent < 64 * 1024 * 1024
    assert fairness.Fairness._resting == 0


@pytest.mark.parametrize("body", [b"", message(b"")])
async def test_of_calls_that_are_given_up_at_once_nothing_is_kept(short: Path, body: bytes) -> None:
    async with serve(short, Plugin()) as server, raw_client(short / "dra.sock") as client:
        head = [(":method", "POST"), (":scheme", "http"), (":path", GET_INFO), (":authority", "x"), ("content-type", "application/grpc")]
        for _ in range(100):
            stream = client.h2.get_next_available_stream_id()
            client.h2.send_headers(stream, head)
            if body:
                client.h2.send_data(stream, body)
            client.h2.reset_stream(stream)
        client.flush()
        assert (await client.call(GET_INFO, message(b"")))[2] == {"grpc-status": "0"}
        assert server._listener is not None
        (connection,) = server._listener._connections
        async with asyncio.timeout(5):
            while connection._streams:
                await asyncio.sleep(0)


class _Transport:
    paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def test_what_costs_more_than_its_share_rests_the_longer_the_more_do(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("podvitals.wire.fairness.time.perf_counter", lambda: now)
    rests: list[float] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda rest, *_: rests.append(rest))
    for _ in range(3):
        one, transport = fairness.Fairness(), _Transport()
        one.begin()
        now += fairness.BURST + 0.01
        one.end(transport)  # type: ignore[arg-type]
        assert transport.paused
        assert one.size == fairness.MOST // 2
    assert rests[1] == pytest.approx(2 * rests[0])
    assert rests[2] == pytest.approx(3 * rests[0])
    monkeypatch.setattr(fairness.Fairness, "_resting", 0)


async def test_an_answer_to_get_info_that_is_no_answer_is_refused(short: Path) -> None:
    huge = encode_info(PluginInfo("DRAPlugin", "gpu.example.com", "/x", tuple("v" * 60 for _ in range(LONGEST_INFO // 60))))

    def answer(h2: H2Connection, stream: int) -> None:
        h2.send_headers(stream, OK)
        for at in range(0, len(message(huge)), 16_000):
            h2.send_data(stream, message(huge)[at : at + 16_000])
        h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    async with RawServer(answer).at(short / "s"), PluginClient(short / "s") as client:
        with pytest.raises(PluginProtocolError, match=f"more than {LONGEST_INFO} are not read"):
            await client.get_info()


async def test_a_half_open_connection_is_unreachable(short: Path) -> None:
    """Greets, takes the call, and says nothing more."""
    async with RawServer(lambda h2, stream: None).at(short / "s"), PluginClient(short / "s") as client:
        with pytest.raises(PluginUnreachable, match="did not answer GetInfo within"):
            await client.get_info(timeout=0.05)
