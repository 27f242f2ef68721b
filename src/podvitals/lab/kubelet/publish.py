"""Writes one pod's status: always the newest, never a queue, again when somebody else changed what is the kubelet's.

Rules: a change is written at once (upstream's pod worker takes one a second); an unchanged status is not written; what another writer did
to the container statuses is undone, as upstream's 10 s reconcile does, but at once.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from podvitals.claim.pod import PodStatus
from podvitals.clock import Clock
from podvitals.errors import Conflict, Invalid, NotFound, PodvitalsError
from podvitals.kube.client import Client
from podvitals.lab.pods import RUNNABLE_PODS, RunnablePod

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts while the API does not take the status."""


class Publisher:
    """`build` gives the status as it should be now. `changed()` after anything that may have changed it; `run` until cancelled."""

    def __init__(self, client: Client, pod: RunnablePod, build: Callable[[], dict[str, Any]], clock: Clock) -> None:
        self._client, self._build, self._clock = client, build, clock
        self._name, self._namespace, self._uid = pod.metadata.name, pod.metadata.namespace, pod.metadata.uid
        self._wanted = asyncio.Event()
        self._writing = asyncio.Lock()
        self._published: dict[str, Any] | None = None
        self._version = 0

    def changed(self) -> None:
        self._wanted.set()

    def observe(self, pod: RunnablePod) -> None:
        """The pod as the watch shows it: if it is newer than our last write and says something else of our fields, that is put right."""
        if self._published is None or _version(pod) <= self._version:
            return
        ours: PodStatus = msgspec.convert(self._published, PodStatus)
        if _owned(pod.status) != _owned(ours):
            log.info("status of pod %s/%s was changed by another writer and is put right", self._namespace, self._name)
            self._published = None
            self._wanted.set()

    async def run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.publish()
                pause = FIRST_PAUSE
            except (NotFound, Conflict) as error:
                log.debug("pod %s/%s is gone: %s", self._namespace, self._name, error)
            except Invalid as error:
                log.error("the API refused the status of pod %s/%s: %s", self._namespace, self._name, error)
                await self._clock.sleep_until(self._clock.now() + LONGEST_PAUSE)
            except PodvitalsError as error:
                log.warning("status of pod %s/%s waits: %s", self._namespace, self._name, error)
                await self._clock.sleep_until(self._clock.now() + pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                self._wanted.set()

    async def publish(self) -> None:
        """Writes the status if it differs from what was written last. One write at a time, each of the newest."""
        async with self._writing:
            status = self._build()
            if status == self._published:
                return
            body = {"metadata": {"uid": self._uid}, "status": status}
            pod = await self._client.patch(RUNNABLE_PODS, self._name, body, self._namespace, subresource="status")
            self._published, self._version = status, _version(pod)


def _owned(status: PodStatus) -> tuple[object, ...]:
    return status.phase, status.container_statuses, status.init_container_statuses


def _version(pod: RunnablePod) -> int:
    version = pod.metadata.resource_version
    return int(version) if version.isdigit() else 0
