"""Where the agent answers, and what it refuses to listen on."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from podvitals.agent import listen
from podvitals.agent.listen import Answers, Listener, parse_address
from podvitals.errors import InvalidInput, LocalError, SocketTaken


class Stage:
    waits: tuple[str, ...] = ()

    def listener(self, path: Path, address: tuple[str, int] | None = None) -> Listener:
        async def metrics() -> bytes:
            return b"podvitals_ready 1\n"

        return Listener(Answers(self.state, metrics, lambda: self.waits), path / "agent.sock", address)

    def state(self) -> bytes:
        return b'{"node":"n"}'


@asynccontextmanager
async def asking(path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession("http://agent", connector=aiohttp.UnixConnector(str(path / "agent.sock"))) as session:
        yield session


@asynccontextmanager
async def listening(listener: Listener) -> AsyncIterator[Listener]:
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def test_the_socket_answers_and_is_its_owners_alone(tmp_path: Path) -> None:
    async with listening(Stage().listener(tmp_path)), asking(tmp_path) as session:
        assert await (await session.get("/state")).json() == {"node": "n"}
        assert await (await session.get("/metrics")).text() == "podvitals_ready 1\n"
        assert (await session.get("/healthz")).status == 200
        assert (tmp_path / "agent.sock").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "agent.sock").exists()


async def test_readiness_says_what_it_waits_for(tmp_path: Path) -> None:
    stage = Stage()
    stage.waits = ("the pods of this node: connection refused",)
    async with listening(stage.listener(tmp_path)), asking(tmp_path) as session:
        answer = await session.get("/readyz")
        assert (answer.status, await answer.text()) == (503, "waiting for the pods of this node: connection refused\n")
        stage.waits = ()
        assert (await session.get("/readyz")).status == 200


async def said(path: Path, request: bytes) -> bytes:
    """The whole answer to these bytes."""
    reader, writer = await asyncio.open_unix_connection(path / "agent.sock")
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                return await reader.read()
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /nothing HTTP/1.1", b"404"),
        (b"POST /state HTTP/1.1", b"405"),
        (b"HEAD /state HTTP/1.1", b"200"),
        (b"nonsense", b"400"),
        (b"GET /\xff HTTP/1.1", b"400"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1", b"400"),
    ],
)
async def test_what_is_no_question_gets_an_answer_too(tmp_path: Path, request_line: bytes, status: bytes) -> None:
    async with listening(Stage().listener(tmp_path)):
        answer = await said(tmp_path, request_line + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert (b'{"node"' in answer) is False


async def test_an_answer_that_fails_is_said_and_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr(stage, "state", lambda: b"x" + stage.waits[7].encode())
    async with listening(stage.listener(tmp_path)), asking(tmp_path) as session:
        assert (await session.get("/state")).status == 500
        assert (await session.get("/healthz")).status == 200


async def test_a_client_that_says_nothing_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "PATIENCE", 0.05)
    async with listening(Stage().listener(tmp_path)):
        assert await said(tmp_path, b"GET /state") == b""


async def test_more_clients_than_it_bears_are_sent_away_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "MOST_AT_ONCE", 1)
    async with listening(Stage().listener(tmp_path)):
        _, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
        assert await said(tmp_path, b"GET /healthz HTTP/1.1\r\n\r\n") == b""
        writer.close()
        await writer.wait_closed()


async def test_clients_that_hang_on_do_not_hold_up_the_end(tmp_path: Path) -> None:
    listener = Stage().listener(tmp_path)
    await listener.start()
    _, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
    async with asyncio.timeout(1):
        await listener.stop()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_port_answers_only_where_it_was_asked_for(tmp_path: Path) -> None:
    async with listening(Stage().listener(tmp_path)) as listener:
        assert listener.port == 0
    async with listening(Stage().listener(tmp_path, ("127.0.0.1", 0))) as listener, aiohttp.ClientSession() as session:
        assert (await session.get(f"http://127.0.0.1:{listener.port}/healthz")).status == 200


async def test_a_second_agent_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    async with listening(Stage().listener(tmp_path)), asking(tmp_path) as session:
        with pytest.raises(SocketTaken, match="another agent listens"):
            await Stage().listener(tmp_path).start()
        assert (await session.get("/healthz")).status == 200


async def test_the_socket_of_a_dead_agent_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        await asyncio.to_thread(dead.bind, str(tmp_path / "agent.sock"))
    async with listening(Stage().listener(tmp_path)), asking(tmp_path) as session:
        assert (await session.get("/healthz")).status == 200


async def test_a_port_in_use_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LocalError, match="another program does"):
            await Stage().listener(tmp_path, ("127.0.0.1", taken.getsockname()[1])).start()


async def test_a_path_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="107"):
        await Stage().listener(tmp_path / ("x" * 120)).start()


@pytest.mark.parametrize(("text", "address"), [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:94", ("::1", 94)), (":9470", ("0.0.0.0", 9470))])
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "9470", "host:", "host:port", "host:70000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        parse_address(text)
