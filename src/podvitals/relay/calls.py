"""Passes the kubelet's calls on to a driver, and holds them while it is away.

A prepare call that fails costs its pod 60 to 90 s (CONTRACT §2), and a driver that restarts is away for a few. So a call that finds
nobody waits; and one whose driver went while it was under way is made again when the driver is back, since the contract says that both
calls are repeated and idempotent. Other services promise no such thing: of those only a call that was never made waits.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from podvitals.clock import Clock, set_by
from podvitals.device.text import clean
from podvitals.errors import PluginUnreachable
from podvitals.node.sayings import Sayings
from podvitals.relay.standing import HOLD
from podvitals.wire.client import PluginClient
from podvitals.wire.passing import Outcome, RawAnswer, RawCall

log = logging.getLogger(__name__)

MARGIN = 1.0
"""Seconds before its caller's deadline at which a held call is answered, so that the answer still says why."""
MOST_HELD = 1024
RETRY = 0.25
"""Seconds until an endpoint that seems connected and did not answer is tried again."""


class Calls:
    """A `podvitals.wire.passing.PassHandler` for one driver. `newest`: its newest connected endpoint, or None."""

    def __init__(self, driver: str, newest: Callable[[], PluginClient | None], clock: Clock) -> None:
        self._driver, self._newest, self._clock = driver, newest, clock
        self._moved = asyncio.Event()
        self._sayings = Sayings()
        self.passed = 0
        self.held = 0
        """Calls that wait for the driver now."""
        self.failed = 0
        """Calls that waited in vain."""

    def moved(self) -> None:
        """An endpoint of the driver came or went."""
        self._moved.set()
        self._moved = asyncio.Event()

    def begin(self, call: RawCall, done: Callable[[Outcome], None]) -> Callable[[], None] | None:
        """Straight to the driver, where it is there. A call that comes to no answer is then `pass_on`'s, which makes it again."""
        client = self._newest() if _idempotent(call.method) else None

        def ended(outcome: Outcome) -> None:
            if isinstance(outcome, RawAnswer):
                self.passed += 1
            elif isinstance(outcome, PluginUnreachable):
                outcome = self._in_vain(call, str(outcome))
            done(outcome)

        return None if client is None else client.begin(call, ended)

    async def pass_on(self, call: RawCall) -> RawAnswer:
        """The driver's own answer. PluginUnreachable, naming the driver, where it did not come back in time."""
        now = self._clock.now()
        ends = None if call.timeout is None else now + call.timeout
        until = now + HOLD if ends is None else min(now + HOLD, max(now, ends - MARGIN))
        why = "none of its endpoints is connected"
        while True:
            moved, client = self._moved, self._newest()
            if client is not None:
                try:
                    answer = await client.pass_on(replace(call, timeout=None if ends is None else max(0.001, ends - self._clock.now())))
                except PluginUnreachable as error:
                    why = str(error)
                    if not _idempotent(call.method):
                        self._say("call lost: it may not be made twice", call, why)
                        raise
                else:
                    self.passed += 1
                    return answer
            now = self._clock.now()
            if now >= until or self.held >= MOST_HELD:
                raise self._in_vain(call, why)
            await self._wait(moved, until if client is None else min(until, now + RETRY))

    def _in_vain(self, call: RawCall, why: str) -> PluginUnreachable:
        self.failed += 1
        self._say("call held in vain", call, why)
        return PluginUnreachable(f"driver {self._driver} did not come back while the call was held for it: {why}")

    def _say(self, text: str, call: RawCall, why: str) -> None:
        """Once a minute for each method: a kubelet whose driver is gone asks for each of its pods."""
        method = clean(call.method.rpartition("/")[2], 200)
        if times := self._sayings.may(text, method, self._clock.now()):
            log.warning(text, extra={"driver": self._driver, "method": method, "reason": why, "times": times})

    async def _wait(self, moved: asyncio.Event, until: float) -> None:
        self.held += 1
        try:
            await set_by(moved, self._clock, until)
        finally:
            self.held -= 1


def _idempotent(method: str) -> bool:
    return method.rpartition("/")[0].endswith(".DRAPlugin")
