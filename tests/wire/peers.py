"""Peers that do not behave: raw HTTP/2 from h2, or no HTTP/2 at all, on a real socket."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, ResponseReceived, StreamEnded, TrailersReceived
from h2.settings import SettingCodes

OK = [(":status", "200"), ("content-type", "application/grpc")]


def message(raw: bytes) -> bytes:
    return struct.pack(">BI", 0, len(raw)) + raw


def open_windows(h2: H2Connection, *, connection: int = 64 * 1024 * 1024, stream: int = 64 * 1024 * 1024) -> None:
    """Lets the other side send so many bytes unread: then only the socket holds it back."""
    if connection:
        h2.increment_flow_control_window(connection)
    h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: stream})


class RawServer:
    """`script(h2, stream_id)` writes the answer to each request; then `after(writer)`, if given, decides what becomes of the connection."""

    def __init__(self, script: Callable[[H2Connection, int], None], after: Callable[[asyncio.StreamWriter], None] | None = None) -> None:
        self.script, self.after = script, after
        self.connections = 0
        self.events: list[Event] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        h2.initiate_connection()
        writer.write(h2.data_to_send())
        try:
            while data := await reader.read(65536):
                for event in h2.receive_data(data):
                    self.events.append(event)
                    if isinstance(event, DataReceived) and event.stream_ended is not None:
                        self.script(h2, event.stream_id)
                        writer.write(h2.data_to_send())
                        if self.after is not None:
                            self.after(writer)
                writer.write(h2.data_to_send())
        except ConnectionError:
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def at(self, path: Path) -> AsyncIterator["RawServer"]:
        server = await asyncio.start_unix_server(self.serve, path)
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            await settle()


async def settle() -> None:
    """Lets the handlers of asyncio's stream server see that their connections are closed."""
    async with asyncio.timeout(5):
        while [task for task in asyncio.all_tasks() if "serve" in repr(task.get_coro()) and task is not asyncio.current_task()]:
            await asyncio.sleep(0.001)


class RawClient:
    """One connection on which anything may be sent; `call` returns headers, messages and trailers of an answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def call(
        self, path: str, *bodies: bytes, method: str = "POST", content_type: str = "application/grpc"
    ) -> tuple[dict[str, str], bytes, dict[str, str]]:
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "x"),
            ("te", "trailers"),
            ("content-type", content_type),
        ]
        self.h2.send_headers(stream, headers, end_stream=not bodies)
        for number, body in enumerate(bodies, 1):
            self.h2.send_data(stream, body, end_stream=number == len(bodies))
        self.flush()
        return await self.answer(stream)

    async def answer(self, stream: int) -> tuple[dict[str, str], bytes, dict[str, str]]:
        headers: dict[str, str] = {}
        trailers: dict[str, str] = {}
        body = b""
        async with asyncio.timeout(5):
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    if getattr(event, "stream_id", None) != stream:
                        continue
                    if isinstance(event, RequestReceived | ResponseReceived):
                        headers = text(event.headers)
                    elif isinstance(event, TrailersReceived):
                        trailers = text(event.headers)
                    elif isinstance(event, DataReceived):
                        body += event.data or b""
                        self.h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                    elif isinstance(event, StreamEnded):
                        return headers, body, trailers
                self.flush()
        raise ConnectionError("closed in the middle of an answer")


def text(headers: object) -> dict[str, str]:
    assert isinstance(headers, list)
    return dict(headers)


@asynccontextmanager
async def raw_client(path: Path) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
