"""The proxy's faults, between a client and a server that answers each line with 1,000 bytes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.crash.proxy import Fault, Proxy

ANSWER = b"a" * 999 + b"\n"
SOON = 5.0


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readline():
                writer.write(ANSWER)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as made:
        yield made
    server.close()


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, proxy: Proxy) -> "Caller":
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def ask(self) -> bytes:
        """The answer as far as it came."""
        self.writer.write(b"?\n")
        return await self.rest()

    async def rest(self) -> bytes:
        got = b""
        async with asyncio.timeout(SOON):
            while len(got) < len(ANSWER) and (data := await self.reader.read(len(ANSWER))):
                got += data
        return got


async def test_it_passes_everything_on(proxy: Proxy) -> None:
    caller = await Caller.of(proxy)
    assert [await caller.ask(), await caller.ask()] == [ANSWER, ANSWER]
    caller.writer.close()


async def test_what_is_held_comes_when_it_ends(proxy: Proxy) -> None:
    caller = await Caller.of(proxy)
    assert await caller.ask() == ANSWER
    await proxy.breaks(Fault.HOLD)
    waiting = asyncio.create_task(caller.ask())
    await asyncio.sleep(0)
    assert not waiting.done()
    await proxy.mends()
    assert await waiting == ANSWER
    caller.writer.close()


async def test_a_truncated_answer_ends_in_order(proxy: Proxy) -> None:
    await proxy.breaks(Fault.TRUNCATE, size=300)
    caller = await Caller.of(proxy)
    assert await caller.ask() == ANSWER[:300]
    await proxy.mends()
    whole = await Caller.of(proxy)
    assert await whole.ask() == ANSWER
    whole.writer.close()
    caller.writer.close()


async def test_a_reset_connection_breaks(proxy: Proxy) -> None:
    before = await Caller.of(proxy)
    assert await before.ask() == ANSWER
    await proxy.breaks(Fault.RESET, size=300)
    with pytest.raises(ConnectionResetError):
        await before.rest()
    after = await Caller.of(proxy)

    async def asks_on() -> None:
        while await after.ask():
            pass

    with pytest.raises(ConnectionResetError):
        await asks_on()
    before.writer.close()
    after.writer.close()


async def test_who_is_refused_is_let_in_again_at_the_same_address(proxy: Proxy) -> None:
    await proxy.breaks(Fault.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        await Caller.of(proxy)
    await proxy.mends()
    caller = await Caller.of(proxy)
    assert await caller.ask() == ANSWER
    caller.writer.close()


async def test_it_is_open_again_when_everybody_who_shut_it_has_opened_it(proxy: Proxy) -> None:
    await proxy.shut()
    await proxy.breaks(Fault.REFUSE)
    await proxy.mends()
    with pytest.raises(ConnectionRefusedError):
        await Caller.of(proxy)
    await proxy.breaks(Fault.DELAY, seconds=0.0)
    await proxy.reopen()
    caller = await Caller.of(proxy)
    assert await caller.ask() == ANSWER
    caller.writer.close()
