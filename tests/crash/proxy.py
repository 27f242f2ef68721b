"""The network between a node and its API server: a TCP proxy that delays, holds, resets, truncates and refuses."""

import asyncio
import socket
import struct
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Fault(Enum):
    NONE = "none"
    DELAY = "delay"  # each piece takes `seconds` longer
    HOLD = "hold"  # nothing passes, nobody is told; what waited passes when it ends
    RESET = "reset"  # each connection breaks after `size` bytes of answers
    TRUNCATE = "truncate"  # each connection ends in order after `size` bytes of answers
    REFUSE = "refuse"  # nobody listens, and what was connected is broken


class Proxy:
    """`async with Proxy(port) as proxy`: listens on `proxy.port`, the same for ever, and leads to `port` of this machine."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.port = 0
        self.fault = Fault.NONE
        self._seconds, self._size, self._shut = 0.0, 0, 0
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def breaks(self, fault: Fault, *, seconds: float = 0.0, size: int = 0) -> None:
        self.fault, self._seconds, self._size = fault, seconds, size
        if fault is Fault.HOLD:
            self._passing.clear()
        if fault is Fault.REFUSE:
            await self.shut()
        if fault in (Fault.RESET, Fault.TRUNCATE):
            self.drop()

    async def mends(self) -> None:
        refused, self.fault = self.fault is Fault.REFUSE, Fault.NONE
        self._passing.set()
        if refused:
            await self.reopen()

    async def shut(self) -> None:
        """Nobody listens any more, and what was connected is broken, until as many have called `reopen`."""
        self._shut += 1
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()

    async def reopen(self) -> None:
        self._shut -= 1
        if not self._shut:
            await self._listen()

    def drop(self) -> None:
        """Breaks what is connected, by a reset."""
        for writer in self._writers:
            _reset(writer)

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._passing.set()
        await self.shut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="crash: a connection through the proxy")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        ends = [writer]
        try:
            await self._passing.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers.add(far_writer)
            ends.append(far_writer)
            there = asyncio.create_task(self._pipe(reader, far_writer, answers=False), name="crash: proxy, requests")
            back = asyncio.create_task(self._pipe(far_reader, writer, answers=True), name="crash: proxy, answers")
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        except OSError:
            _reset(writer)
        finally:
            for end in ends:
                self._writers.discard(end)
                end.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        passed = 0
        with suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                await self._passing.wait()
                if self.fault is Fault.DELAY:
                    await asyncio.sleep(self._seconds)
                cut = answers and self.fault in (Fault.RESET, Fault.TRUNCATE)
                if cut and passed + len(data) > self._size:
                    writer.write(data[: max(0, self._size - passed)])
                    await writer.drain()
                    if self.fault is Fault.RESET:
                        _reset(writer)
                    return
                passed += len(data)
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """As if the other end had crashed: RST in place of FIN."""
    connected = writer.get_extra_info("socket")
    if connected is not None and not writer.transport.is_closing():
        with suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
