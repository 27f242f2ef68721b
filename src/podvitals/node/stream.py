"""One endpoint's health stream: what it said last, what of it was refused, and how much of our time it may have.

A report that repeats the bytes of an earlier one is recognised by comparing bytes; only others are decoded. The bytes kept are bounded.
"""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass

from podvitals.clock import Clock
from podvitals.node.ledger import Delivery

MOST_REMEMBERED = 8
"""Reports: a driver that splits its state over more messages than this is decoded each time."""
MOST_BYTES = 2 * 1024 * 1024
SAY_EVERY = 60.0
BUSY_AT_MOST = 0.005
"""Seconds one stream keeps the event loop before it has to rest for as long: half of a core at most, and others come in between."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Heard:
    """A report as it came at `arrived` (boottime). `delivery` is None while it was not taken, because another endpoint spoke."""

    raw: bytes
    arrived: float
    delivery: Delivery | None


class Memory:
    """The last reports of one connection, oldest first."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []
        self._bytes = 0

    def find(self, raw: bytes) -> Heard | None:
        return next((heard for heard in self._heard if len(heard.raw) == len(raw) and heard.raw == raw), None)

    def keep(self, raw: bytes, arrived: float, delivery: Delivery | None) -> None:
        known = self.find(raw)
        if known is not None:
            self._drop(known)
        if len(raw) > MOST_BYTES:
            return
        self._heard.append(Heard(raw, arrived, delivery))
        self._bytes += len(raw)
        while len(self._heard) > MOST_REMEMBERED or self._bytes > MOST_BYTES:
            self._drop(self._heard[0])

    def not_taken(self) -> list[Heard]:
        return [heard for heard in self._heard if heard.delivery is None]

    def clear(self) -> None:
        self._heard.clear()
        self._bytes = 0

    def _drop(self, heard: Heard) -> None:
        self._heard.remove(heard)
        self._bytes -= len(heard.raw)


class Refusals:
    """What one party said and was not taken, by reason; each reason is logged at most once a minute, with the count since."""

    def __init__(self, who: str, clock: Clock) -> None:
        self._who = who
        self._clock = clock
        self._said: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def count(self, reason: str, text: str, times: int = 1) -> None:
        self.counts[reason] += times
        self._unsaid[reason] += times
        now = self._clock.now()
        if now - self._said.get(reason, now - SAY_EVERY) >= SAY_EVERY:
            self._said[reason] = now
            log.warning("refused: %s", text, extra={"who": self._who, "reason": reason, "times": self._unsaid.pop(reason)})


class Pace:
    """Lets a stream work for a while, then makes it rest for as long. Not reading is what slows the other side down."""

    def __init__(self) -> None:
        self._busy = 0.0
        self._since = 0.0

    def begin(self) -> None:
        self._since = time.perf_counter()

    async def end(self) -> None:
        self._busy += time.perf_counter() - self._since
        if self._busy > BUSY_AT_MOST:
            rest, self._busy = self._busy, 0.0
            await asyncio.sleep(rest)
