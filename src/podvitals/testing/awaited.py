"""Waiting for a claim to become true, bounded, with a failure that tells what was there instead."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Changes:
    """Something that changes; who waits looks again after each `tell`."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def until_changed(self, true: Callable[[], bool]) -> None:
        """Returns when `true()`, however long it takes."""
        while not true():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)

    async def until(self, found: Callable[[], T | None], timeout: float, failure: Callable[[], str]) -> T:
        """What `found` returns once it is not None. AssertionError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self.until_changed(lambda: found() is not None)
        except TimeoutError:
            raise AssertionError(f"not within {timeout:g} s: {failure()}") from None
        result = found()
        assert result is not None
        return result
