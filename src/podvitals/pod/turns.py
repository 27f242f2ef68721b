"""Whose turn it is to be written. Pure: what is to be written and what became of it go in with `now`, one at a time comes out.

Two shells write pods, the agent's and the lab's kubelet's, and both keep these rules: nothing is queued but that this pod is to be
written; what failed is tried again until it succeeds or is forgotten; a server in trouble is asked by one request at a time, with growing
pauses and never before it said, and by all again once it answers; and pauses are drawn, so that nobody comes back together with everybody.
What is written, and which answer means what, is its owner's business.
"""

import heapq
import math
from collections.abc import Callable
from enum import StrEnum

IN_FLIGHT = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
SPREAD = 0.5
"""The part of a Retry-After by which those that were told the same moment come later, each by another."""


def doubled(times: int, first: float, longest: float) -> float:
    """Seconds that double with each of `times`, from `first` to `longest`; how much of them is waited is to be drawn."""
    return min(longest, first * 2.0 ** min(max(times - 1, 0), 16))


class Ending(StrEnum):
    """What became of a turn."""

    DONE = "done"
    OTHERWISE = "otherwise"  # not taken as it was; something else is tried at once
    AGAIN = "again"  # this one failed; others may succeed
    TROUBLE = "trouble"  # the server has trouble, or there is none


class _Turn:
    """`wanted`: from when on it is to be written; never, where that is infinite. `alarm`: when the heap will show it."""

    __slots__ = ("alarm", "failures", "in_flight", "not_before", "wanted")

    def __init__(self) -> None:
        self.wanted = self.alarm = math.inf
        self.not_before = 0.0
        self.failures = 0
        self.in_flight = False


class Turns:
    """`jitter` gives a number from 0 to 1 for each pause. Each `take` is followed by `done` or `give_back`, unless its pod is forgotten."""

    def __init__(self, jitter: Callable[[], float], in_flight: int = IN_FLIGHT) -> None:
        self._jitter, self._most = jitter, in_flight
        self._turns: dict[str, _Turn] = {}
        """Of those alone that wait or are under way."""
        self._ready: dict[str, None] = {}
        self._later: list[tuple[float, str]] = []
        self._in_flight = 0
        self._trouble = 0
        self._paused_until = 0.0

    # --- events ------------------------------------------------------------------------------------------------------------------

    def want(self, uid: str, at: float, now: float) -> None:
        """It is to be written, at `at` at the earliest; once more, where it is under way."""
        turn = self._turns.setdefault(uid, _Turn())
        turn.wanted = min(turn.wanted, at)
        self._place(uid, turn, now)

    def forget(self, uid: str) -> None:
        turn = self._turns.pop(uid, None)
        self._ready.pop(uid, None)
        if turn is not None and turn.in_flight:
            self._in_flight -= 1

    def take(self, now: float) -> str | None:
        """One that is to be built and written now."""
        while self._later and self._later[0][0] <= now:
            at, uid = heapq.heappop(self._later)
            turn = self._turns.get(uid)
            if turn is not None and turn.alarm == at:
                turn.alarm = math.inf
                self._place(uid, turn, now)
        if now < self._paused_until or self._in_flight >= self._room or not self._ready:
            return None
        uid = next(iter(self._ready))
        del self._ready[uid]
        turn = self._turns[uid]
        turn.wanted, turn.in_flight = math.inf, True
        self._in_flight += 1
        return uid

    def give_back(self, uid: str, now: float) -> None:
        """There was nothing to write: the server was not asked."""
        turn = self._turns.get(uid)
        if turn is not None and turn.in_flight:
            self._land(uid, turn, now)

    def done(self, uid: str, ending: Ending, now: float, retry_after: float = 0.0) -> None:
        """What became of it. `retry_after`: what the server asked for, 0 for nothing."""
        # Never sooner than the server asked, and not all at the moment it named.
        asked = retry_after * (1.0 + SPREAD * self._jitter())
        self._judge(ending, now, asked)
        turn = self._turns.get(uid)
        if turn is None or not turn.in_flight:
            return
        if ending is not Ending.DONE:
            turn.wanted = now
            turn.failures += 1
        if ending is Ending.AGAIN:
            turn.not_before = now + asked + self._pause(turn.failures)
        self._land(uid, turn, now, failed=ending is not Ending.DONE)

    # --- questions ---------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `take` may have something although nothing happened; None: not before something does."""
        if self._in_flight >= self._room:
            return None
        if self._ready:
            return self._paused_until
        return max(self._later[0][0], self._paused_until) if self._later else None

    def under_way(self, uid: str) -> bool:
        turn = self._turns.get(uid)
        return turn is not None and turn.in_flight

    @property
    def waiting(self) -> int:
        """How many wait or are under way."""
        return len(self._turns)

    # --- how ---------------------------------------------------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        return 1 if self._trouble else self._most

    def _place(self, uid: str, turn: _Turn, now: float) -> None:
        """Among those that are due, or those that will be. Who is due already keeps its place."""
        if turn.in_flight:
            return
        due = max(turn.wanted, turn.not_before)
        if due <= now:
            self._ready[uid] = None
        elif due < turn.alarm:
            turn.alarm = due
            heapq.heappush(self._later, (due, uid))

    def _land(self, uid: str, turn: _Turn, now: float, *, failed: bool = False) -> None:
        turn.in_flight = False
        self._in_flight -= 1
        if not failed:
            turn.failures, turn.not_before = 0, 0.0
        if turn.wanted == math.inf:
            del self._turns[uid]
        else:
            self._place(uid, turn, now)

    def _judge(self, ending: Ending, now: float, asked: float) -> None:
        """Whether the server is in trouble, for all."""
        if ending is Ending.TROUBLE:
            # Requests that were under way together and failed together are one sign of trouble, not eight.
            self._trouble += now >= self._paused_until
            self._paused_until = max(self._paused_until, now + asked + self._pause(self._trouble))
        else:
            self._trouble = 0
            self._paused_until = 0.0

    def _pause(self, failures: int) -> float:
        return doubled(failures, FIRST_PAUSE, LONGEST_PAUSE) * (0.5 + 0.5 * self._jitter())
