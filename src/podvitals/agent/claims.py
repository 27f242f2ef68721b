"""Reads the claims of this node's pods, by name, and never watches all claims of a cluster (rule 11).

A claim's allocation does not change while a pod that it is reserved for lives, so an agent reads it once a pod, and again only while it is
not yet there, not yet allocated, or reserved for another pod: then with growing pauses, and at once when the pod itself changes. What an
earlier agent remembered is shown until then; it may have known but half of it.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from podvitals.claim.holdings import Holding, claim_names, holdings, settled
from podvitals.claim.pod import Pod
from podvitals.claim.resource import ResourceClaim
from podvitals.clock import Clock
from podvitals.errors import Forbidden, NotFound, PodvitalsError, ServerFault, TooManyRequests
from podvitals.kube.client import Client
from podvitals.kube.resources import CLAIMS
from podvitals.pod.turns import doubled

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0
AT_ONCE = 4
"""Reads under way together. A full node's pods all come at once, at the start; each further TLS connection costs 128 KiB that Python never
gives back."""

Held = Callable[[str, tuple[Holding, ...]], None]


class _Reading:
    """A pod whose claims are being read."""

    __slots__ = ("changed", "pod", "task")

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class ClaimReader:
    """`on_held(uid, holdings)` hears of what a pod holds, as soon as it is known: of nothing only where that is certain."""

    def __init__(self, client: Client, clock: Clock, on_held: Held) -> None:
        self._client, self._clock, self._on_held = client, clock, on_held
        self._places = asyncio.Semaphore(AT_ONCE)
        self._reading: dict[str, _Reading] = {}
        self._read: dict[str, frozenset[str]] = {}

    def want(self, pod: Pod, tasks: asyncio.TaskGroup) -> None:
        """The pod was seen. Nothing happens where its claims are known; a pod that ended has no claims any more."""
        uid, names = pod.metadata.uid, claim_names(pod)
        if pod.ended or not names or self._read.get(uid) == names:
            return
        reading = self._reading.get(uid)
        if reading is not None:
            reading.pod = pod
            reading.changed.set()
            return
        reading = self._reading[uid] = _Reading(pod)
        reading.task = tasks.create_task(self._follow(reading), name=f"claims of pod {pod.metadata.namespace}/{pod.metadata.name}")

    def forget(self, uid: str) -> None:
        """The pod is gone or has ended: its claims say nothing of it any more."""
        self._read.pop(uid, None)
        reading = self._reading.pop(uid, None)
        if reading is not None and reading.task is not None:
            reading.task.cancel()

    async def _follow(self, reading: _Reading) -> None:
        uid, tries = reading.pod.metadata.uid, 1
        while True:
            reading.changed.clear()
            pod, asked = reading.pod, 0.0
            try:
                complete = self._take(pod, await self._get(pod))
            except PodvitalsError as error:
                _tell(pod, error)
                complete = False
                asked = error.retry_after * random.uniform(1.0, 1.5) if isinstance(error, TooManyRequests | ServerFault) else 0.0
            if complete and not reading.changed.is_set():
                self._read[uid] = claim_names(pod)
                self._reading.pop(uid, None)
                return
            await self._wait(reading, doubled(tries, FIRST_PAUSE, LONGEST_PAUSE) * random.uniform(0.5, 1.0) + asked)
            # A pod that changes is no reason to ask more seldom.
            tries += not reading.changed.is_set()

    def _take(self, pod: Pod, claims: dict[str, ResourceClaim]) -> bool:
        """Whether nothing more will come."""
        held, complete = holdings(pod, claims), settled(pod, claims)
        if held or complete:
            self._on_held(pod.metadata.uid, held)
        return complete

    async def _wait(self, reading: _Reading, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await reading.changed.wait()

    async def _get(self, pod: Pod) -> dict[str, ResourceClaim]:
        """Those of its claims that exist, by name."""

        async def one(name: str) -> ResourceClaim | None:
            async with self._places:
                try:
                    return await self._client.get(CLAIMS, name, pod.metadata.namespace)
                except NotFound:
                    return None

        got = await asyncio.gather(*(one(name) for name in sorted(claim_names(pod))))
        return {claim.metadata.name: claim for claim in got if claim is not None}


def _tell(pod: Pod, error: PodvitalsError) -> None:
    level = logging.ERROR if isinstance(error, Forbidden) else logging.WARNING
    log.log(level, "claims not read", extra={"pod": f"{pod.metadata.namespace}/{pod.metadata.name}", "reason": str(error)})
