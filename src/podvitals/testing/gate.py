"""A gate: where a test holds a call until it lets it go on."""

import asyncio


class Gate:
    """Open at first. The code under test `await gate.passing()`; the test closes it, waits `reached()`, looks round and opens it."""

    def __init__(self, *, closed: bool = False) -> None:
        self._open = asyncio.Event()
        self._arrived = asyncio.Event()
        self.waiting = 0
        if not closed:
            self._open.set()

    def close(self) -> None:
        self._open.clear()
        self._arrived.clear()

    def open(self) -> None:
        self._open.set()

    async def passing(self) -> None:
        """Returns at once when open, else when opened."""
        self.waiting += 1
        self._arrived.set()
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1

    async def reached(self, timeout: float = 5.0) -> None:
        """Returns when somebody has come to the gate since it was last closed."""
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"nobody came to the gate within {timeout:g} s") from None
