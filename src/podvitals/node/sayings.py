"""What may be said in the log, so that no driver fills it. Pure.

The same of the same party once a minute, and of one kind a few a minute for all parties together: a party may change its name.
"""

from collections import deque

EVERY = 60.0
MOST_A_MINUTE = 20
_MOST_REMEMBERED = 1024


class Sayings:
    def __init__(self) -> None:
        self._said: dict[tuple[str, str], float] = {}
        self._unsaid: dict[tuple[str, str], int] = {}
        self._lately: dict[str, deque[float]] = {}

    def may(self, kind: str, who: str, now: float, times: int = 1) -> int:
        """How often it happened since it was last said, if it may be said now; else 0."""
        key = kind, who
        count = self._unsaid.pop(key, 0) + times
        lately = self._lately.setdefault(kind, deque())
        while lately and now - lately[0] >= EVERY:
            lately.popleft()
        if now - self._said.get(key, now - EVERY) < EVERY or len(lately) >= MOST_A_MINUTE:
            self._unsaid[key] = count
            _bound(self._unsaid)
            return 0
        lately.append(now)
        self._said.pop(key, None)
        self._said[key] = now
        _bound(self._said)
        return count


def _bound(remembered: dict[tuple[str, str], float] | dict[tuple[str, str], int]) -> None:
    if len(remembered) > _MOST_REMEMBERED:
        del remembered[next(iter(remembered))]
