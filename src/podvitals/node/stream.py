"""One endpoint's health stream: what of it was refused, and how much of our time it may have."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from podvitals.clock import Clock

SAY_EVERY = 60.0
BUSY_AT_MOST = 0.005
"""Seconds one stream keeps the event loop before it has to rest for as long: half of a core at most, and others come in between."""

log = logging.getLogger(__name__)


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

    @contextmanager
    def work(self) -> Iterator[None]:
        since = time.perf_counter()
        yield
        self._busy += time.perf_counter() - since

    async def rest(self) -> None:
        if self._busy > BUSY_AT_MOST:
            rest, self._busy = self._busy, 0.0
            await asyncio.sleep(rest)
