"""The agent's Lease: what tells every reader that what pods say of their devices is kept up to date (rule 8).

It is renewed every 10 s, and only while everything this agent knows has been told: an agent that can renew a Lease but not write a pod's
status would otherwise vouch for a stale Healthy.
"""

import logging
import random
from collections.abc import Callable

from podvitals.claim.times import rfc3339_micro
from podvitals.clock import Clock
from podvitals.errors import Conflict, NotFound, PodvitalsError
from podvitals.fleet.inventory import AGENT_SILENT_AFTER, lease_name
from podvitals.kube.client import Client
from podvitals.kube.resources import LEASES

log = logging.getLogger(__name__)

PERIOD = 10.0
RETRY = 2.0
UNTOLD_LIMIT = 20.0
"""Seconds a truth may wait to be told before the Lease is no longer renewed."""


class Renewer:
    """`untold_since`: since when (boottime) the truth about some pod could not be told; None where all was."""

    def __init__(self, client: Client, node: str, namespace: str, clock: Clock, untold_since: Callable[[], float | None]) -> None:
        self._client, self._node, self._namespace, self._clock, self._untold_since = client, node, namespace, clock, untold_since
        self._acquired = rfc3339_micro(clock.wall())
        self.renewed: float | None = None
        """When it was last renewed, boottime."""

    async def run(self) -> None:
        """Renews until cancelled."""
        while True:
            pause = PERIOD
            untold = self._untold_since()
            if untold is not None and self._clock.now() - untold > UNTOLD_LIMIT:
                log.error("lease not renewed", extra={"lease": lease_name(self._node), "reason": "a pod could not be told the truth"})
                pause = RETRY
            else:
                try:
                    await self._renew()
                except PodvitalsError as error:
                    log.warning("lease not renewed", extra={"lease": lease_name(self._node), "reason": str(error)})
                    pause = RETRY
            await self._clock.sleep_until(self._clock.now() + pause * random.uniform(0.9, 1.0))

    async def _renew(self) -> None:
        spec = {
            "holderIdentity": self._node,
            "leaseDurationSeconds": int(AGENT_SILENT_AFTER),
            "acquireTime": self._acquired,
            "renewTime": rfc3339_micro(self._client.wall()),
        }
        name = lease_name(self._node)
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, self._namespace, kind="merge", timeout=PERIOD)
        except NotFound:
            try:
                await self._client.create(LEASES, {"metadata": {"name": name}, "spec": spec}, self._namespace, timeout=PERIOD)
            except Conflict:
                return await self._renew()
        self.renewed = self._clock.now()
        return None
