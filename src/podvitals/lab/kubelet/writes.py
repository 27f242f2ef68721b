"""When which pod's status is written. Pure: marks, outcomes and `now` go in, pods to write come out.

Rules kept: nothing is queued but "this pod's status is not what it should be", and the status is built when it is sent, so a slow API
server sees the newest truth and never a backlog; a write that failed is made again until it succeeds or its pod is gone; a server in
trouble is asked by one request at a time, with growing pauses and the ones it asks for; and pauses are drawn, so that nobody comes back
together with everybody.
"""

import heapq
from collections.abc import Callable
from enum import StrEnum

IN_FLIGHT = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0


class Outcome(StrEnum):
    WRITTEN = "written"
    GONE = "gone"  # the pod is no more, or another has its name
    AGAIN = "again"  # this write failed; others may succeed
    TROUBLE = "trouble"  # the server has trouble, or there is none


class _Pod:
    __slots__ = ("dirty", "failures", "in_flight", "not_before")

    def __init__(self) -> None:
        self.dirty = self.in_flight = False
        self.failures = 0
        self.not_before = 0.0


class Writes:
    """`jitter` gives a number from 0 to 1 for each pause."""

    def __init__(self, jitter: Callable[[], float], in_flight: int = IN_FLIGHT) -> None:
        self._jitter, self._most = jitter, in_flight
        self._pods: dict[str, _Pod] = {}
        self._ready: dict[str, None] = {}
        self._later: list[tuple[float, str]] = []
        self._in_flight = 0
        self._trouble = 0
        self._paused_until = 0.0

    def mark(self, uid: str, now: float) -> None:
        """Its status may not be what it should be."""
        pod = self._pods.setdefault(uid, _Pod())
        pod.dirty = True
        if not pod.in_flight and pod.not_before <= now:
            self._ready[uid] = None

    def forget(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        self._ready.pop(uid, None)
        if pod is not None and pod.in_flight:
            self._in_flight -= 1

    def take(self, now: float) -> str | None:
        """A pod whose status is to be built and written now; answer with `done`."""
        while self._later and self._later[0][0] <= now:
            _, uid = heapq.heappop(self._later)
            pod = self._pods.get(uid)
            if pod is not None and pod.dirty and not pod.in_flight and pod.not_before <= now:
                self._ready[uid] = None
        if now < self._paused_until or self._in_flight >= self._room or not self._ready:
            return None
        uid = next(iter(self._ready))
        del self._ready[uid]
        pod = self._pods[uid]
        pod.dirty, pod.in_flight = False, True
        self._in_flight += 1
        return uid

    def done(self, uid: str, outcome: Outcome, now: float, retry_after: float = 0.0) -> None:
        """What became of it. `retry_after`: what the server asked for, 0 for nothing."""
        self._judge(outcome, now, retry_after)
        pod = self._pods.get(uid)
        if pod is None or not pod.in_flight:
            return
        pod.in_flight = False
        self._in_flight -= 1
        if outcome is Outcome.GONE:
            self.forget(uid)
        elif outcome is Outcome.WRITTEN:
            pod.failures = 0
            if pod.dirty:
                self._ready[uid] = None
        else:
            self._fail(uid, pod, outcome, now, retry_after)

    def next_deadline(self) -> float | None:
        """When `take` may have something although nothing happened; None: not before something does."""
        if self._in_flight >= self._room:
            return None
        if self._ready:
            return self._paused_until
        return max(self._later[0][0], self._paused_until) if self._later else None

    @property
    def waiting(self) -> int:
        """Pods whose status is not known to be what it should be."""
        return sum(pod.dirty or pod.in_flight for pod in self._pods.values())

    @property
    def troubled(self) -> bool:
        return self._trouble > 0

    @property
    def _room(self) -> int:
        return 1 if self._trouble else self._most

    def _judge(self, outcome: Outcome, now: float, retry_after: float) -> None:
        if outcome is Outcome.TROUBLE:
            # Writes that were under way together and failed together are one sign of trouble, not eight.
            self._trouble += now >= self._paused_until
            self._paused_until = max(self._paused_until, now + retry_after + self._pause(self._trouble))
        else:
            self._trouble = 0
            self._paused_until = 0.0

    def _fail(self, uid: str, pod: _Pod, outcome: Outcome, now: float, retry_after: float) -> None:
        pod.dirty = True
        pod.failures += 1
        if outcome is Outcome.TROUBLE:
            self._ready[uid] = None  # the pause is everybody's
        else:
            pod.not_before = now + retry_after + self._pause(pod.failures)
            heapq.heappush(self._later, (pod.not_before, uid))

    def _pause(self, failures: int) -> float:
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16)) * (0.5 + 0.5 * self._jitter())
