"""How often something happened within a time. Pure; exact, and no larger than the number that matters."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts up to `enough` within `within` seconds (0: for ever)."""

    enough: float
    within: float
    seen: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, at: float, weight: float) -> None:
        if weight <= 0:
            return
        if self.seen and self.seen[-1][0] >= at:
            at, before = self.seen.pop()
            weight += before
        self.seen.append((at, weight))
        # What came before the latest `enough` can never be needed again: the later ones are in the window for longer.
        spare = sum(weight for _, weight in self.seen) - self.enough
        while len(self.seen) > 1 and self.seen[0][1] <= spare:
            spare -= self.seen.popleft()[1]

    def reached(self, now: float) -> bool:
        while self.within and self.seen and self.seen[0][0] + self.within <= now:
            self.seen.popleft()
        return sum(weight for _, weight in self.seen) >= self.enough
