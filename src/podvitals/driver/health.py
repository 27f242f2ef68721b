"""The health service: any number of watchers, each told from the newest state at its own pace.

Nothing is queued: while a watcher is slow to take a report, its changes gather as names, and what it gets next is the state of that moment.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

from podvitals.clock import Clock, set_by
from podvitals.device.verdict import Verdict
from podvitals.driver.report import Teller
from podvitals.wire.convert import encode_report

log = logging.getLogger("podvitals.driver")


class Verdicts(Protocol):
    """What is to be told: a `podvitals.detect.schedule.Schedule`, or what it says in other names."""

    clock: Clock

    @property
    def shortest_lease(self) -> float: ...

    @property
    def verdicts(self) -> Mapping[str, Verdict]: ...

    def verdict(self, name: str) -> Verdict | None: ...

    def subscribe(self, listener: Callable[[frozenset[str]], None]) -> Callable[[], None]: ...

    def expire(self) -> None: ...


class Health:
    """A `podvitals.wire.server.HealthHandler`."""

    def __init__(self, schedule: Verdicts) -> None:
        self._schedule = schedule
        self.watchers = 0

    async def watch(self) -> AsyncGenerator[bytes, None]:
        schedule, teller = self._schedule, Teller()
        changed: set[str] = set()
        news = asyncio.Event()

        def listen(names: frozenset[str]) -> None:
            changed.update(names)
            news.set()

        unsubscribe = schedule.subscribe(listen)
        self.watchers += 1
        log.info("health watcher came, now %d", self.watchers)
        try:
            look_at = schedule.clock.now()
            while True:
                schedule.expire()
                news.clear()
                now = schedule.clock.now()
                if now >= look_at:
                    look_at = teller.next_look(now, schedule.shortest_lease)
                    verdicts = list(schedule.verdicts.values())
                else:
                    verdicts = [verdict for name in sorted(changed) if (verdict := schedule.verdict(name)) is not None]
                changed.clear()
                if reports := teller.due(verdicts, now):
                    for raw in encode_report(reports):
                        yield raw
                await set_by(news, schedule.clock, look_at)
        finally:
            unsubscribe()
            self.watchers -= 1
            log.info("health watcher went, now %d", self.watchers)
