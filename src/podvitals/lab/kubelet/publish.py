"""Writes the pods' statuses: always the newest, never a queue, again when somebody else changed what is the kubelet's.

Rules: a change is written at once (upstream's pod worker takes one a second); an unchanged status is not written; what another writer did
to the container statuses is undone, as upstream's 10 s reconcile does, but at once. Whose turn it is is decided by `pod.turns`.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import msgspec

from podvitals.claim.pod import PodStatus
from podvitals.clock import Clock, set_by
from podvitals.errors import ApiUnreachable, Conflict, Invalid, NotFound, PodvitalsError, ServerFault, TooManyRequests
from podvitals.kube.client import Client
from podvitals.lab.pods import RUNNABLE_PODS, RunnablePod
from podvitals.pod.turns import Ending, Turns

log = logging.getLogger(__name__)

PATCH_TIMEOUT = 30.0
REMOVALS = 4
"""Pods whose objects are being removed at once: hundreds that are deleted together would else time each other out."""
SAY_EVERY = 60.0
_TROUBLED = (500, 502, 503, 504)


class Page:
    """One pod's status. `changed()` after anything that may have changed it; `last()` writes it a last time; `close()` when the pod is
    over."""

    def __init__(self, publisher: "Publisher", pod: RunnablePod, build: Callable[[], dict[str, Any]]) -> None:
        self._publisher, self._build = publisher, build
        self.name, self.namespace, self.uid = pod.metadata.name, pod.metadata.namespace, pod.metadata.uid
        self.complained = -SAY_EVERY
        self._writing = asyncio.Lock()
        self._published: dict[str, Any] | None = None
        self._version = 0

    def changed(self) -> None:
        self._publisher.mark(self.uid)

    def observe(self, pod: RunnablePod) -> None:
        """The pod as the watch shows it: if it is newer than our last write and says something else of our fields, that is put right."""
        if self._published is None or _version(pod) <= self._version:
            return
        ours: PodStatus = msgspec.convert(self._published, PodStatus)
        if _owned(pod.status) != _owned(ours):
            log.info("status of pod %s/%s was changed by another writer and is put right", self.namespace, self.name)
            self._published = None
            self.changed()

    async def is_another(self) -> bool:
        """Whether the pod is gone, or another has its name now."""
        try:
            pod = await self._publisher.client.get(RUNNABLE_PODS, self.name, self.namespace, timeout=PATCH_TIMEOUT)
        except NotFound:
            return True
        except PodvitalsError:
            return False
        return pod.metadata.uid != self.uid

    async def last(self) -> None:
        await self.write(self._publisher.client)

    def close(self) -> None:
        self._publisher.close(self.uid)

    async def write(self, client: Client) -> None:
        """Writes the status if it differs from what was written last. One write at a time, each of the newest."""
        async with self._writing:
            status = self._build()
            if status == self._published:
                return
            body = {"metadata": {"uid": self.uid}, "status": status}
            # Until its answer comes nobody knows what stands there.
            self._published = None
            pod = await client.patch(RUNNABLE_PODS, self.name, body, self.namespace, subresource="status", timeout=PATCH_TIMEOUT)
            self._published, self._version = status, _version(pod)


class Publisher:
    """`open` a page for each pod; `run` until cancelled."""

    def __init__(self, client: Client, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self.client, self._clock = client, clock
        self.turns = Turns(jitter)
        self.removals = asyncio.Semaphore(REMOVALS)
        self._pages: dict[str, Page] = {}
        self._news = asyncio.Event()
        self._troubled = False

    def open(self, pod: RunnablePod, build: Callable[[], dict[str, Any]]) -> Page:
        """`build` gives the status as it should be now."""
        page = self._pages[pod.metadata.uid] = Page(self, pod, build)
        return page

    def close(self, uid: str) -> None:
        self._pages.pop(uid, None)
        self.turns.forget(uid)
        self._news.set()

    def mark(self, uid: str) -> None:
        if uid in self._pages:
            now = self._clock.now()
            self.turns.want(uid, now, now)
            self._news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                while (uid := self.turns.take(self._clock.now())) is not None:
                    page = self._pages[uid]
                    tasks.create_task(self._write(page), name=f"lab kubelet: status of pod {page.namespace}/{page.name}")
                await set_by(self._news, self._clock, self.turns.next_deadline())

    async def _write(self, page: Page) -> None:
        wait, ending = 0.0, Ending.DONE
        try:
            await page.write(self.client)
        except PodvitalsError as error:
            ending = await self._ending(error, page)
            wait = error.retry_after if isinstance(error, TooManyRequests | ServerFault) else 0.0
            self._complain(error, ending, page)
        if self._troubled and ending is not Ending.TROUBLE:
            self._troubled = False
            log.info("the API answers again: %d pod statuses wait", self.turns.waiting)
        self.turns.done(page.uid, ending, self._clock.now(), wait)
        self._news.set()

    async def _ending(self, error: PodvitalsError, page: Page) -> Ending:
        if isinstance(error, NotFound):
            return Ending.DONE  # there is nothing to write any more
        if isinstance(error, Conflict | Invalid) and await page.is_another():
            return Ending.DONE
        if isinstance(error, ApiUnreachable | TooManyRequests) or (isinstance(error, ServerFault) and error.status in _TROUBLED):
            return Ending.TROUBLE
        return Ending.AGAIN

    def _complain(self, error: PodvitalsError, ending: Ending, page: Page) -> None:
        if ending is Ending.TROUBLE:
            if not self._troubled:
                self._troubled = True
                log.warning("pod statuses wait for the API: %s", error)
        elif ending is Ending.AGAIN and self._clock.now() - page.complained >= SAY_EVERY:
            page.complained = self._clock.now()
            log.warning("status of pod %s/%s is not taken, and tried again: %s", page.namespace, page.name, error)


def _owned(status: PodStatus) -> tuple[object, ...]:
    return status.phase, status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses


def _version(pod: RunnablePod) -> int:
    version = pod.metadata.resource_version
    return int(version) if version.isdigit() else 0
