"""One endpoint's health stream: what of it was refused, and how much of our time it may have."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from podvitals.clock import Clock
from podvitals.device.text import clean
from podvitals.node.record import SourceKey
from podvitals.node.sayings import Sayings

BUSY_AT_MOST = 0.005
"""Seconds one stream keeps the event loop before it has to rest for as long (the longer, the more do): half of a core at most for all of
them together, and others come in between."""

log = logging.getLogger(__name__)


class Refusals:
    """What one party said and was not taken, by reason; each reason is logged at most once a minute, with the count since."""

    def __init__(self, who: str, clock: Clock, sayings: Sayings) -> None:
        self.who = clean(who)
        self._clock, self._sayings = clock, sayings
        self.counts: Counter[str] = Counter()

    def count(self, reason: str, text: str, times: int = 1) -> None:
        self.counts[reason] += times
        if since := self._sayings.may(reason, self.who, self._clock.now(), times):
            log.warning("refused: %s", clean(text), extra={"who": self.who, "reason": reason, "times": since})


class Gone:
    """The refusals of endpoints that are gone, by source: of the last `most` sources that had any, since names cost nothing."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[SourceKey, Counter[str]] = {}

    def add(self, source: SourceKey, counts: Counter[str]) -> None:
        if counts:
            self._counts[source] = self._counts.pop(source, Counter()) + counts
            if len(self._counts) > self._most:
                del self._counts[next(iter(self._counts))]

    def of(self, source: SourceKey) -> Counter[str]:
        return self._counts.get(source, Counter())


class Pace:
    """Lets a stream work for a while, then makes it rest for as long. Not reading is what slows the other side down."""

    _resting = 0

    def __init__(self) -> None:
        self._busy = 0.0

    @contextmanager
    def work(self) -> Iterator[None]:
        since = time.perf_counter()
        yield
        self._busy += time.perf_counter() - since

    async def rest(self) -> None:
        if self._busy <= BUSY_AT_MOST:
            return
        Pace._resting += 1
        try:
            rest, self._busy = self._busy * Pace._resting, 0.0
            await asyncio.sleep(rest)
        finally:
            Pace._resting -= 1
