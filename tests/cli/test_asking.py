"""Asking a relay or an agent over its socket."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from podvitals.agent.listen import Answers, Listener
from podvitals.cli.asking import state_at
from podvitals.cli.relaying import ask
from podvitals.errors import LocalError


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        yield Path(directory)


async def scrape() -> bytes:
    return b""


async def test_what_it_says_of_itself_is_given_whole(place: Path) -> None:
    said = b'{"drivers":[' + b" " * 300_000 + b"]}"
    listener = Listener(Answers(lambda: said, scrape, lambda: ()), place / "relay.sock", None)
    await listener.start()
    try:
        assert await state_at(str(place / "relay.sock")) == said
        assert await asyncio.to_thread(ask, place) == said
    finally:
        await listener.stop()


async def test_who_answers_something_else_is_named_with_what_he_said(place: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 no\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(answer, place / "relay.sock"):
        with pytest.raises(LocalError, match=r"it answered 'HTTP/1\.1 503 no'"):
            await asyncio.to_thread(ask, place)


def test_where_nobody_answers_that_is_said(place: Path) -> None:
    with pytest.raises(LocalError, match=r"no relay answers at .*relay\.sock: No such file or directory; is it running"):
        ask(place)
