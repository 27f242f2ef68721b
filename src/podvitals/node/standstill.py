"""When did this process stand still, and was the wall clock stepped? Pure.

A process that was stopped, or whose machine slept, reads afterwards what lay in its sockets. Such a report is not as new as it looks: it
may have come right after the process stood still, so its leases count from then. And a lease that ends meanwhile says nothing of a driver.
"""

import math

STEP = 1.0
"""Seconds between two looks by which the wall clock must go otherwise than boottime for a step: whoever slews it takes longer."""
TICK = 1.0
"""Seconds between two looks."""
NOTICED_AFTER = 2.0
"""Seconds without a look that make a standstill."""
OLD_NEWS = 0.5
"""Seconds after it during which what is read may have lain in the sockets."""


class Standstill:
    """Times are boottime, and count from the first look. `woke`: when the last standstill was over."""

    def __init__(self) -> None:
        self._alive = self._since = math.inf
        self.woke = -math.inf

    def look(self, now: float) -> None:
        """To be called at least every NOTICED_AFTER seconds."""
        if now - self._alive > NOTICED_AFTER:
            self._since, self.woke = self._alive, now
        self._alive = now

    def arrived(self, now: float, opened: float) -> float:
        """When a report read `now` came, at the earliest; its connection was `opened` then."""
        self.look(now)
        old = now < self.woke + OLD_NEWS and opened < self.woke
        # A connection may have been opened since the last look, and before the standstill.
        return max(self._since, opened) if old else now

    @property
    def seconds(self) -> float:
        """How long the last one was."""
        return max(0.0, self.woke - self._since)

    def explains(self, since: float, until: float) -> bool:
        """Why nothing was heard in that time, or could be: the process stood still, and has listened for less than half of it since."""
        return self._since <= until and since < self.woke and 2 * (until - self.woke) < until - since


class WallClock:
    def __init__(self) -> None:
        self._ahead: float | None = None

    def look(self, now: float, wall: float) -> float:
        """Seconds by which it was set forward (back: negative) since the last look, 0.0 for none."""
        ahead, before = wall - now, self._ahead
        self._ahead = ahead
        return ahead - before if before is not None and abs(ahead - before) >= STEP else 0.0
