"""The agent's Lease: what tells every reader that what pods say of their devices is kept up to date (rule 8).

It is renewed every 10 s, and only while that is so: an agent that can renew a Lease but not write a pod's status would otherwise vouch
for a stale Healthy. A few pods that cannot be written are named in an annotation of the Lease, and readers show Unknown for those alone;
where it is more than a few, the Lease is left to end. After a silence (a start, a suspended machine, an outage) it vouches for nothing that
is not so already.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

import msgspec

from podvitals.claim.times import rfc3339, rfc3339_micro
from podvitals.clock import Clock, set_by
from podvitals.errors import Conflict, NotFound, PodvitalsError, ServerFault, TooManyRequests
from podvitals.fleet.inventory import AGENT_SILENT_AFTER, UNTOLD, lease_name
from podvitals.kube.client import Client
from podvitals.kube.resources import LEASES
from podvitals.pod.desk import UNTOLD_LIMIT, Vouch
from podvitals.pod.turns import doubled

log = logging.getLogger(__name__)

PERIOD = 10.0
RETRY = 2.0
PACE = 0.25
"""Seconds between two writes at least, however quickly pods are told."""
STANDING = AGENT_SILENT_AFTER - PERIOD
"""Seconds after a renewal during which readers surely believe it still."""
_TRIES = 3


class Renewer:
    """`vouch(standing)` tells what the Lease may say; call `look` when that may have become better. `named` names a pod for the log."""

    def __init__(
        self, client: Client, node: str, namespace: str, clock: Clock, vouch: Callable[[bool], Vouch], named: Callable[[str], str] = str
    ) -> None:
        self._client, self._node, self._namespace, self._clock, self._vouch = client, node, namespace, clock, vouch
        self._named_by = named
        self._acquired = rfc3339_micro(clock.wall())
        self._began = clock.now()
        self._better = asyncio.Event()
        self._trouble, self._failures = "", 0
        self._said: frozenset[str] | None = None
        self.renewed: float | None = None
        """When it was last renewed, boottime."""

    @property
    def untold(self) -> int:
        """How many pods the Lease names."""
        return len(self._said or ())

    def look(self) -> None:
        """A pod was told, or all have been seen."""
        if self._said != frozenset() or not self._standing():
            self._better.set()

    async def run(self) -> None:
        """Renews until cancelled."""
        while True:
            self._better.clear()
            began = self._clock.now()
            pause = await self._turn()
            await set_by(self._better, self._clock, self._clock.now() + pause * random.uniform(0.9, 1.0))
            await self._clock.sleep_until(began + PACE)

    def _standing(self) -> bool:
        return self.renewed is not None and self._clock.now() - self.renewed <= STANDING

    async def _turn(self) -> float:
        """Seconds until the next."""
        vouch = self._vouch(self._standing())
        if vouch.withheld:
            self._said = None
            # At a start there is a moment in which nothing is known yet: that is no trouble.
            if self.renewed is not None or self._clock.now() - self._began > UNTOLD_LIMIT:
                self._complain(vouch.withheld)
            return RETRY
        try:
            await self._renew(vouch.untold)
        except PodvitalsError as error:
            self._complain(str(error))
            self._failures += 1
            asked = error.retry_after if isinstance(error, TooManyRequests | ServerFault) else 0.0
            return max(asked * 1.5, doubled(self._failures, RETRY, PERIOD)) * random.uniform(0.7, 1.0)
        self._failures = 0
        if self._trouble:
            log.info("lease renewed again", extra={"lease": lease_name(self._node)})
            self._trouble = ""
        self._tell(frozenset(vouch.untold))
        return PERIOD

    async def _renew(self, untold: Mapping[str, float]) -> None:
        now, name = self._clock.now(), lease_name(self._node)
        spec = {
            "holderIdentity": self._node,
            "leaseDurationSeconds": int(AGENT_SILENT_AFTER),
            "acquireTime": self._acquired,
            "renewTime": rfc3339_micro(self._client.wall()),
        }
        # null takes the annotation away, and is not there when the Lease is made.
        named = self._named(untold, now) if untold else None
        body = {"metadata": {"name": name, "annotations": {UNTOLD: named}}, "spec": spec}
        for left in reversed(range(_TRIES)):
            try:
                await self._client.patch(LEASES, name, body, self._namespace, kind="merge", timeout=PERIOD)
                break
            except NotFound:
                made = body if named else {"metadata": {"name": name}, "spec": spec}
                try:
                    await self._client.create(LEASES, made, self._namespace, timeout=PERIOD)
                    break
                except Conflict:
                    if not left:
                        raise
        self.renewed = now

    def _named(self, untold: Mapping[str, float], now: float) -> str:
        wall = self._client.wall()
        return msgspec.json.encode({uid: rfc3339(wall - (now - since)) for uid, since in sorted(untold.items())}).decode()

    def _tell(self, untold: frozenset[str]) -> None:
        if untold and untold != self._said:
            pods = ",".join(sorted(map(self._named_by, untold)))
            log.error("pods not told the truth", extra={"lease": lease_name(self._node), "count": len(untold), "pods": pods})
        elif not untold and self._said:
            log.info("all pods told again", extra={"lease": lease_name(self._node)})
        self._said = untold

    def _complain(self, reason: str) -> None:
        self._trouble = reason
        log.error("lease not renewed", extra={"lease": lease_name(self._node), "reason": reason})
