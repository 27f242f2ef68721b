"""Events of the lab's scheduler and kubelet: in order, repeated ones counted, never in the way of what they tell about."""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any

from podvitals.claim.meta import ObjectMeta
from podvitals.claim.times import rfc3339
from podvitals.clock import Clock
from podvitals.device.text import clean
from podvitals.errors import NotFound, PodvitalsError
from podvitals.kube.client import Client
from podvitals.kube.resources import EVENTS

log = logging.getLogger(__name__)

MOST_REMEMBERED = 1000
MOST_WAITING = 500
"""Events beyond these are dropped: what they tell about is in the objects' status too."""


@dataclass(frozen=True, slots=True)
class Told:
    """One kind of event of one object; a repetition of it counts up."""

    pod: ObjectMeta
    reason: str
    message: str
    warning: bool
    field_path: str


@dataclass(frozen=True, slots=True)
class _Written:
    name: str
    count: int


class Recorder:
    """`tell` at any time; `run` writes until cancelled."""

    def __init__(self, client: Client, component: str, host: str, clock: Clock) -> None:
        self._client, self._component, self._host, self._clock = client, component, host, clock
        self._waiting: asyncio.Queue[tuple[Told, float]] = asyncio.Queue(MOST_WAITING)
        self._written: dict[tuple[str, str, str, str], _Written] = {}

    def tell(self, pod: ObjectMeta, reason: str, message: str, *, warning: bool = False, path: str = "") -> None:
        """`path`: the part of the pod that is meant, spec.containers{main}."""
        told = Told(pod, reason, clean(message), warning, path)
        if self._waiting.full():
            log.warning("too many events wait for the API: %s of %s/%s is not recorded", reason, pod.namespace, pod.name)
            return
        self._waiting.put_nowait((told, self._clock.wall()))

    async def run(self) -> None:
        while True:
            told, wall = await self._waiting.get()
            try:
                await self._write(told, wall)
            except PodvitalsError as error:
                log.warning("event %s of %s/%s is lost: %s", told.reason, told.pod.namespace, told.pod.name, error)

    async def _write(self, told: Told, wall: float) -> None:
        key = (told.pod.uid, told.reason, told.message, told.field_path)
        before = self._written.pop(key, None)
        if before is not None:
            again = replace(before, count=before.count + 1)
            try:
                body = {"count": again.count, "lastTimestamp": rfc3339(wall)}
                await self._client.patch(EVENTS, again.name, body, told.pod.namespace, kind="merge")
                self._written[key] = again
                return
            except NotFound:
                pass  # it was deleted meanwhile: told anew
        made = await self._client.create(EVENTS, self._event(told, wall), told.pod.namespace)
        self._written[key] = _Written(made.metadata.name, 1)
        while len(self._written) > MOST_REMEMBERED:
            del self._written[next(iter(self._written))]

    def _event(self, told: Told, wall: float) -> dict[str, Any]:
        about = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": told.pod.namespace,
            "name": told.pod.name,
            "uid": told.pod.uid,
            "resourceVersion": told.pod.resource_version,
        }
        return {
            # As upstream's recorder names them; unique because no two events of a pod come in one nanosecond.
            "metadata": {"name": f"{told.pod.name}.{int(wall * 1e9):x}{len(self._written) & 0xFFF:03x}", "namespace": told.pod.namespace},
            "involvedObject": about | ({"fieldPath": told.field_path} if told.field_path else {}),
            "reason": told.reason,
            "message": told.message,
            "type": "Warning" if told.warning else "Normal",
            "count": 1,
            "firstTimestamp": rfc3339(wall),
            "lastTimestamp": rfc3339(wall),
            "source": {"component": self._component, "host": self._host},
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
