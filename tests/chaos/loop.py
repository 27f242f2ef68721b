"""Virtual time: a heap of calls, and coroutines of the shells that run on it without asyncio.

A shell that only awaits what it was given (a client, a clock) runs here as it is: each await yields an `Await`, which says how to begin
what is waited for; the loop goes on with the coroutine when that is done.
"""

import heapq
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any


class Timer:
    __slots__ = ("args", "at", "call", "live")

    def __init__(self, at: float, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.at, self.call, self.args, self.live = at, call, args, True

    def cancel(self) -> None:
        self.live = False


class Loop:
    """`now`: true time in seconds, which no process of the simulated machine can read. What is due at one instant runs in the order asked.

    `wrong`: what a judge found in the midst of an event; raised when the event is over."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.steps = 0
        self.wrong: Exception | None = None
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0

    def at(self, when: float, call: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(max(when, self.now), call, args)
        self._count += 1
        heapq.heappush(self._heap, (timer.at, self._count, timer))
        return timer

    def after(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        return self.at(self.now + seconds, call, *args)

    def run(self, until: float, most: int = 400_000) -> None:
        """`most`: a world that does more than this in its life spins, which is a finding too."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            at, _, timer = heapq.heappop(heap)
            if not timer.live:
                continue
            self.now = at
            self.steps += 1
            if self.steps > most:
                raise AssertionError(f"the world spins: more than {most} events, the last {timer.call}{timer.args}")
            timer.call(*timer.args)
            if self.wrong is not None:
                raise self.wrong
        self.now = max(self.now, until)


class Await:
    """What a coroutine waits for: `begin(resume)` starts it; `resume(result)` goes on, an exception as the result is raised there."""

    __slots__ = ("begin",)

    def __init__(self, begin: Callable[[Callable[[Any], None]], object]) -> None:
        self.begin = begin

    def __await__(self) -> Generator["Await", Any, Any]:
        return (yield self)


class Killed(BaseException):
    """Thrown into what a process that is no more was waiting for."""


class Task:
    """A coroutine of a shell, run as far as it goes, and on whenever what it waits for is there."""

    __slots__ = ("_begun", "_coroutine", "_loop", "over")

    def __init__(self, loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop, self._coroutine = loop, coroutine
        self.over = False
        self._resume()

    def _resume(self, result: Any = None) -> None:
        if self.over:
            return
        try:
            waits = self._coroutine.throw(result) if isinstance(result, Exception) else self._coroutine.send(result)
        except StopIteration:
            self.over = True
            return
        except BaseException:
            self.over = True
            raise
        waits.begin(self._resume)

    def cancel(self) -> None:
        if not self.over:
            self.over = True
            self._loop.after(0.0, self._unwind)

    def _unwind(self) -> None:
        with suppress(Killed, StopIteration):
            self._coroutine.throw(Killed())


class Signal:
    """What an asyncio.Event is to a shell. `later(seconds, call)` is a timer of its process."""

    __slots__ = ("_later", "_set", "_waiters")

    def __init__(self, later: Callable[..., Timer], *, is_set: bool = False) -> None:
        self._later, self._set = later, is_set
        self._waiters: list[Callable[[], None]] = []

    def set(self) -> None:
        self._set = True
        waiters, self._waiters = self._waiters, []
        for go in waiters:
            self._later(0.0, go)

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    async def wait(self, seconds: float | None = None) -> None:
        """Until it is set, or for so long."""
        if not self._set:
            await Await(lambda resume: self._begin(resume, seconds))

    def _begin(self, resume: Callable[[Any], None], seconds: float | None) -> None:
        gone = False

        def go() -> None:
            nonlocal gone
            if not gone:
                gone = True
                resume(None)

        self._waiters.append(go)
        if seconds is not None:
            self._later(seconds, go)
