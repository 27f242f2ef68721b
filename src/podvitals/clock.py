"""Time, in one place, so that every shell can be given another.

Two clocks, for two questions. `now()` is CLOCK_BOOTTIME: it never jumps and goes on while the machine is suspended, so leases
are measured with it. `wall()` is what people and Kubernetes objects read; it may jump and decides nothing while a machine is up.
"""

import asyncio
import time
from pathlib import Path
from typing import Protocol

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
