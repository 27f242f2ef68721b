"""How much of our time one connection may take by being read, whatever it sends.

Flow control bounds what a peer's messages may cost; nothing in HTTP/2 bounds pings, settings and empty frames. So the time spent reading is
counted, and a connection that took more than its share is not read for a while: its own socket fills, and its sender waits.
"""

import asyncio
import time

SHARE = 0.5
"""Of a core, for all connections together that take more than a little."""
BURST = 0.05
"""Seconds one may take at once: four megabytes of reports."""
LONG = 0.002
"""Seconds a single read should not exceed: tiny frames cost a thousand times as much as large ones."""
MOST, LEAST = 16 * 1024, 1024
"""Bytes read at a time: the 256 KiB asyncio reads by itself, full of tiny frames, kept the event loop busy for 60 ms."""


class Fairness:
    """Of one connection."""

    _resting = 0

    def __init__(self) -> None:
        self._taken = 0.0
        self._counted = time.perf_counter()
        self._began = 0.0
        self._rest: asyncio.TimerHandle | None = None
        self.size = MOST

    def begin(self) -> None:
        self._began = time.perf_counter()

    def end(self, transport: asyncio.Transport) -> None:
        """What was read since `begin` is handled."""
        now = time.perf_counter()
        took = now - self._began
        self.size = max(LEAST, self.size // 2) if took > LONG else min(MOST, self.size * 2)
        self._taken = max(0.0, self._taken - SHARE * (self._began - self._counted)) + took
        self._counted = now
        if self._taken > BURST and self._rest is None:
            Fairness._resting += 1
            transport.pause_reading()
            rest = (self._taken - BURST / 2) / SHARE * Fairness._resting
            self._rest = asyncio.get_running_loop().call_later(rest, self._go_on, transport)

    def stop(self) -> None:
        """The connection is over."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
            Fairness._resting -= 1

    def _go_on(self, transport: asyncio.Transport) -> None:
        self.stop()
        transport.resume_reading()
