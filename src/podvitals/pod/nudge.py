"""When a pod's annotation is written once more although it says nothing new: while the kubelet's own field lags behind it, and while the
pod's devices are not prepared. Pure.

Each changed annotation makes the kubelet sync the pod and read its own cache (CONTRACT §4). Where a driver renews each of its watchers at
another moment, the kubelet's lease ends later than ours, and one nudge comes too early. So there are a few, with growing pauses, and then
no more until something else is said: a kubelet that cannot agree must not be kept busy.

A prepare that failed, because its driver, the relay or the kubelet itself was away for a second, is tried again 60 to 90 s later, or when
the pod is synced: the same few nudges make a pod late by seconds.
"""

import heapq
from dataclasses import dataclass

from podvitals.claim.pod import Pod
from podvitals.pod.agreement import Told, late, told, unprepared
from podvitals.pod.entry import PodDevices

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before each nudge: about a minute, the longest that a lease usually is."""


@dataclass(slots=True)
class _Pod:
    said: Told | None = None
    count: int = 0
    tries: int = 0
    due: float | None = None


class Nudges:
    """`count` is part of what the annotation says, so that a nudge changes its bytes."""

    def __init__(self) -> None:
        self._pods: dict[str, _Pod] = {}
        self._later: list[tuple[float, str]] = []

    def begin(self, uid: str, count: int) -> None:
        """What an earlier agent wrote last: it is not written anew for another number."""
        if count > 0:
            self._pods[uid] = _Pod(count=count)

    def count(self, uid: str, devices: PodDevices) -> int:
        """How often what is said now has been said again."""
        said = told(devices)
        pod = self._pods.get(uid)
        if pod is None:
            pod = self._pods[uid] = _Pod()
        elif pod.said not in (None, said):
            pod.count, pod.tries, pod.due = 0, 0, None
        pod.said = said
        return pod.count

    def look(self, pod: Pod, now: float) -> None:
        """What the API shows of the kubelet's work, beside what was said last."""
        known = self._pods.get(pod.metadata.uid)
        if known is None or known.said is None:
            return
        if pod.ended or not (late(pod, known.said) or unprepared(pod)):
            known.due, known.tries = None, 0
        elif known.due is None and known.tries < len(PAUSES):
            known.due = now + PAUSES[known.tries]
            heapq.heappush(self._later, (known.due, pod.metadata.uid))

    def take(self, now: float) -> list[str]:
        """The pods to be written once more."""
        found = []
        while self._later and self._later[0][0] <= now:
            due, uid = heapq.heappop(self._later)
            pod = self._pods.get(uid)
            if pod is not None and pod.due == due:
                pod.due, pod.tries, pod.count = None, pod.tries + 1, pod.count + 1
                found.append(uid)
        return found

    def next_deadline(self) -> float | None:
        return self._later[0][0] if self._later else None

    def forget(self, uid: str) -> None:
        self._pods.pop(uid, None)
