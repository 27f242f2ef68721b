"""When did this process stand still? Pure.

A process that was stopped, or whose machine slept, reads afterwards what lay in its sockets. Such a report is not as new as it looks: it
may have come right after the process stood still, so its leases count from then.
"""

TICK = 1.0
"""Seconds between two looks."""
NOTICED_AFTER = 2.0
"""Seconds without a look that make a standstill."""
OLD_NEWS = 0.5
"""Seconds after it during which what is read may have lain in the sockets."""


class Standstill:
    """Times are boottime."""

    def __init__(self, now: float) -> None:
        self._alive = now
        self._since = self._until = now

    def look(self, now: float) -> None:
        """To be called at least every NOTICED_AFTER seconds."""
        if now - self._alive > NOTICED_AFTER:
            self._since, self._until = self._alive, now + OLD_NEWS
        self._alive = now

    def arrived(self, now: float, opened: float) -> float:
        """When a report read `now` came, at the earliest; its connection was `opened` then."""
        self.look(now)
        old = now < self._until and opened < self._until - OLD_NEWS
        # A connection may have been opened since the last look, and before the standstill.
        return max(self._since, opened) if old else now
