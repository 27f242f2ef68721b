"""Time, in one place, so that every shell can be given another.

Two clocks, for two questions. `now()` is CLOCK_BOOTTIME: it never jumps and goes on while the machine is suspended, so leases
are measured with it. `wall()` is what people and Kubernetes objects read; it may jump and decides nothing while a machine is up.
"""

import asyncio
import time
from pathlib import Path
from typing import Any, Protocol

# asyncio sleeps on CLOCK_MONOTONIC, which stands still while the machine is suspended: sleep in slices, look at boottime after each.
LONGEST_SLEEP = 1.0


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since boot, suspension included (CLOCK_BOOTTIME)."""

    def wall(self) -> float:
        """Unix seconds."""

    async def sleep_until(self, deadline: float) -> None:
        """Returns once `now() >= deadline`."""


class SystemClock:
    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        return time.time()

    async def sleep_until(self, deadline: float) -> None:
        while (left := deadline - self.now()) > 0:
            await asyncio.sleep(min(left, LONGEST_SLEEP))


SYSTEM: Clock = SystemClock()


def boot_id() -> str:
    """Identifies this boot of the machine: the kernel's /proc/sys/kernel/random/boot_id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def done_by(future: "asyncio.Future[Any]", clock: Clock, deadline: float | None) -> bool:
    """Waits for `future` until `deadline` (None: for ever); whether it is done. Neither takes its result nor cancels it."""
    if deadline is None or future.done():
        await asyncio.wait({future})
        return True
    sleeper = asyncio.ensure_future(clock.sleep_until(deadline))
    try:
        await asyncio.wait({future, sleeper}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeper.cancel()
        await asyncio.gather(sleeper, return_exceptions=True)
    return future.done()


async def set_by(event: asyncio.Event, clock: Clock, deadline: float | None) -> bool:
    """Waits for `event` until `deadline` (None: for ever); whether it is set."""
    if event.is_set():
        return True
    waiter = asyncio.ensure_future(event.wait())
    try:
        await done_by(waiter, clock, deadline)
    finally:
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    return event.is_set()
