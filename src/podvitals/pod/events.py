"""Writes the events on pods: the shell around the notices. One at a time; what pods say of themselves comes first, events after."""

import asyncio
import logging
import random

from podvitals.claim.times import rfc3339
from podvitals.clock import Clock
from podvitals.errors import ApiUnreachable, Conflict, Forbidden, Invalid, NotFound, PodvitalsError, ServerFault, TooManyRequests
from podvitals.kube.client import Client
from podvitals.kube.resources import EVENTS
from podvitals.pod.notice import RETRY_PAUSE, Notice, Notices

log = logging.getLogger(__name__)

COMPONENT = "podvitals-agent"
DENIED_PAUSE = 60.0
LAST_WORDS = 1.0
"""Seconds the end of the process waits for events that are not written yet."""


class Announcer:
    """`wake` when there may be notices to write."""

    def __init__(self, client: Client, node: str, notices: Notices, clock: Clock) -> None:
        self._client, self._node, self._notices, self._clock = client, node, notices, clock
        self._told = asyncio.Event()
        self._ending = False

    def wake(self) -> None:
        self._told.set()

    async def run(self) -> None:
        """Writes until cancelled, and then what waits: the next agent finds the pod told already, and would not announce it."""
        writer = asyncio.create_task(self._write_all(), name="events: writer")
        try:
            await asyncio.shield(writer)
        finally:
            self._ending = True
            self._told.set()
            try:
                await asyncio.wait({writer}, timeout=LAST_WORDS)
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)

    async def _write_all(self) -> None:
        while True:
            self._told.clear()
            now = self._clock.now()
            notice = self._notices.take(now)
            if notice is not None:
                await self._write(notice)
                continue
            if self._ending:
                return
            await self._until(self._notices.next_deadline(now))

    async def _until(self, deadline: float | None) -> None:
        told = asyncio.create_task(self._told.wait(), name="events: something to tell")
        tasks = [told]
        if deadline is not None:
            tasks.append(asyncio.create_task(self._clock.sleep_until(deadline), name="events: the next deadline"))  # type: ignore[arg-type]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, notice: Notice) -> None:
        try:
            await (self._create(notice) if notice.count <= 1 else self._again(notice))
        except PodvitalsError as error:
            # An event that will never be taken is not worth a second try: its namespace goes, or its text is refused.
            hopeless = isinstance(error, Invalid | NotFound) or (isinstance(error, Forbidden) and "being terminated" in str(error))
            self._notices.done(notice, self._clock.now(), written=hopeless, pause=_pause(error), trouble=_is_trouble(error))
            if not hopeless:
                pod = f"{notice.namespace}/{notice.pod}"
                log.warning("event not written", extra={"pod": pod, "event": notice.reason.value, "reason": str(error)})
        else:
            self._notices.done(notice, self._clock.now(), written=True)

    async def _create(self, notice: Notice) -> None:
        try:
            await self._client.create(EVENTS, self._body(notice), notice.namespace)
        except Conflict:
            if notice.surely:
                return
            # An earlier agent wrote it: its count goes on. The answer to a patch tells it, so that no right to read events is needed.
            body = {"lastTimestamp": rfc3339(notice.last)}
            before = await self._client.patch(EVENTS, notice.name, body, notice.namespace)
            notice.count += before.count
            await self._again(notice)

    async def _again(self, notice: Notice) -> None:
        body = {"count": notice.count, "lastTimestamp": rfc3339(notice.last), "message": notice.message}
        try:
            await self._client.patch(EVENTS, notice.name, body, notice.namespace)
        except NotFound:
            # Events live for an hour.
            await self._client.create(EVENTS, self._body(notice), notice.namespace)

    def _body(self, notice: Notice) -> dict[str, object]:
        return {
            "metadata": {"name": notice.name, "namespace": notice.namespace},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": notice.namespace, "name": notice.pod, "uid": notice.uid},
            "reason": notice.reason.value,
            "message": notice.message,
            "type": notice.reason.kind,
            "count": notice.count,
            "firstTimestamp": rfc3339(notice.first),
            "lastTimestamp": rfc3339(notice.last),
            "source": {"component": COMPONENT, "host": self._node},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node,
        }


def _pause(error: PodvitalsError) -> float:
    if isinstance(error, Forbidden):
        return DENIED_PAUSE
    asked = error.retry_after if isinstance(error, TooManyRequests | ServerFault) else 0.0
    return max(RETRY_PAUSE, asked) * random.uniform(1.0, 1.5)


def _is_trouble(error: PodvitalsError) -> bool:
    return isinstance(error, ApiUnreachable | TooManyRequests | ServerFault)
