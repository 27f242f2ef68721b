"""A clock that stands still until a test moves it."""

import asyncio
from itertools import count

_TURNS = 50
"""Turns of the event loop a woken task gets before time goes on: enough for a chain of events and callbacks, none for real I/O."""


class ManualClock:
    """`podvitals.clock.Clock` by hand. `sleepers` tells who waits, so that a test can wait for the waiting."""

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._wall = wall
        self._order = count()
        self._sleeping: dict[int, tuple[float, asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall

    def set_wall(self, wall: float) -> None:
        """The wall clock jumps, as NTP or a person makes it; `now()` does not."""
        self._wall = wall

    @property
    def sleepers(self) -> tuple[float, ...]:
        """The deadlines waited for, soonest first."""
        return tuple(sorted(deadline for deadline, _ in self._sleeping.values()))

    async def sleep_until(self, deadline: float) -> None:
        if deadline <= self._now:
            await asyncio.sleep(0)
            return
        number, woken = next(self._order), asyncio.get_running_loop().create_future()
        self._sleeping[number] = (deadline, woken)
        self._changed.set()
        try:
            await woken
        finally:
            del self._sleeping[number]

    async def slept_on(self, count: int = 1, timeout: float = 5.0) -> None:
        """Returns when at least `count` tasks sleep on this clock."""
        try:
            async with asyncio.timeout(timeout):
                while len(self._sleeping) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{len(self._sleeping)} tasks sleep on the clock after {timeout:g} s, expected {count}") from None

    async def advance(self, seconds: float) -> None:
        """Moves both clocks on, from one deadline to the next; each sleeper runs at its own time, and may sleep again within this."""
        end = self._now + seconds
        while True:
            await self._settle()
            due = min(
                (entry for entry in self._sleeping.items() if entry[1][0] <= end), key=lambda entry: (entry[1][0], entry[0]), default=None
            )
            if due is None:
                break
            deadline, woken = due[1]
            self._move(deadline)
            if not woken.done():
                woken.set_result(None)
        self._move(end)
        await self._settle()

    def _move(self, to: float) -> None:
        # Never back: a sleeper may have been late for a deadline that has passed.
        step = max(0.0, to - self._now)
        self._now += step
        self._wall += step

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
