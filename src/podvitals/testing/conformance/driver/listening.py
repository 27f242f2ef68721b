"""Listening to a driver's health on one stream, and keeping what comes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from podvitals.testing.conformance.case import Failed
from podvitals.testing.conformance.driver.observation import Heard, Watcher
from podvitals.testing.conformance.line import Line, status_of
from podvitals.wire.services import watch_method
from podvitals.wire.stream import CallFailed, PeerLost, Stream


class Listening:
    """One stream. `watcher` holds what was heard, and how it ended."""

    def __init__(self, version: str) -> None:
        self.watcher = Watcher(version, time.monotonic())
        self._news = asyncio.Event()

    async def heard(self, timeout: float) -> None:
        """Returns when something came, when nothing will any more, or after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            pass

    def end(self, why: str) -> None:
        self.watcher.ended = why or "it ended"
        self._news.set()

    async def keep(self, stream: Stream) -> None:
        try:
            while (raw := await stream.message()) is not None:
                self.watcher.heard.append(Heard(time.monotonic(), raw))
                self._news.set()
            self.end(str(status_of(stream)))
        except (PeerLost, CallFailed) as error:
            self.end(str(error))
        finally:
            stream.close()


@asynccontextmanager
async def listening(line: Line, version: str) -> AsyncIterator[Listening]:
    """Listens while the body runs. A stream that cannot even be opened is one that ended."""
    listener = Listening(version)
    try:
        stream = await line.watch(watch_method(version))
    except Failed as failed:
        listener.end(failed.seen)
        yield listener
        return
    task = asyncio.create_task(listener.keep(stream), name=f"conformance: watch {version}")
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
