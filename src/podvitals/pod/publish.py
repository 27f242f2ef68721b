"""Writes condition and annotation to the pods that need it: the shell around the outbox, the only writer of pods.

One strategic-merge patch on `pods/status` with `metadata.uid`, so that nothing is ever written to another pod of the same name
(CONTRACT §4). Each failure goes back to the outbox as an outcome; here only the words for the log are found.
"""

import asyncio
import logging
import random
from collections.abc import Callable

import msgspec

from podvitals.claim.meta import Condition
from podvitals.claim.pod import Pod
from podvitals.clock import Clock
from podvitals.device.health import Health
from podvitals.errors import (
    ApiUnreachable,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PodvitalsError,
    ServerFault,
    TooManyRequests,
    Unauthorized,
)
from podvitals.kube.client import Client
from podvitals.kube.resources import PODS
from podvitals.pod.book import Book, Record
from podvitals.pod.entry import ANNOTATION, CONDITION, PodDevices
from podvitals.pod.outbox import Letter, Outbox, Outcome, Shown, Wanted
from podvitals.pod.status import Said, said

log = logging.getLogger(__name__)

PATCH_TIMEOUT = 10.0
"""Seconds; a patch that got no answer may still arrive, the watch then shows it and it is written over."""
_TROUBLED = (502, 503, 504)
Result = Callable[[Outcome, float], None]
Told = Callable[[Record, PodDevices], None]


class _Seen:
    """The newest of ours that the API has shown on a pod: in an answer to a patch or in the watch, whichever is newer."""

    __slots__ = ("condition", "shown", "version")

    def __init__(self) -> None:
        self.version = -1
        self.condition: Condition | None = None
        self.shown = Shown()

    def take(self, pod: Pod) -> bool:
        """False for what is older than what was seen already."""
        version = int(pod.metadata.resource_version) if pod.metadata.resource_version.isdecimal() else self.version
        if version < self.version:
            return False
        self.version = version
        self.condition = pod.condition(CONDITION)
        told = None
        if self.condition is not None:
            told = Said(self.condition.status, self.condition.reason or "", self.condition.message or "")
        self.shown = Shown(told, pod.metadata.annotations.get(ANNOTATION))
        return True


class Publisher:
    """`on_told` hears what is about to be said of a pod; `on_result` of each patch: its outcome and how many seconds it took."""

    def __init__(self, client: Client, book: Book, clock: Clock, *, on_told: Told, on_result: Result) -> None:
        self._client, self._book, self._clock, self._on_told, self._on_result = client, book, clock, on_told, on_result
        self.outbox = Outbox(random.random)
        self._seen: dict[str, _Seen] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._moved = asyncio.Event()
        self._wakes_at: float | None = None

    async def run(self) -> None:
        """Writes until cancelled. What was marked before waits for this."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._keep_time()
            finally:
                self._tasks = None

    def mark(self, uid: str) -> None:
        """Something else is to be said of this pod; its patch starts before this loop turns twice."""
        self.outbox.mark(uid, self._clock.now())
        self._go()

    def observe(self, pod: Pod) -> None:
        """The pod as a watch shows it: where somebody else changed what is ours, it is written again."""
        seen = self._seen.setdefault(pod.metadata.uid, _Seen())
        if seen.take(pod):
            self.outbox.observe(pod.metadata.uid, seen.shown, self._clock.now())
            self._go()

    def forget(self, uid: str) -> None:
        self._seen.pop(uid, None)
        self.outbox.forget(uid)

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _go(self) -> None:
        if self._tasks is None:
            return
        while (uid := self.outbox.take(self._clock.now())) is not None:
            self._tasks.create_task(self._send(uid), name=f"write pod {uid}")
        deadline = self.outbox.next_deadline()
        if deadline is not None and (self._wakes_at is None or deadline < self._wakes_at):
            self._moved.set()

    async def _keep_time(self) -> None:
        while True:
            self._go()
            self._moved.clear()
            self._wakes_at = self.outbox.next_deadline()
            await self._until(self._wakes_at)

    async def _until(self, deadline: float | None) -> None:
        """Until `deadline`, or until an earlier one exists."""
        if deadline is None:
            await self._moved.wait()
            return
        moved = asyncio.create_task(self._moved.wait(), name="publisher: an earlier deadline")
        slept = asyncio.create_task(self._clock.sleep_until(deadline), name="publisher: the next deadline")
        try:
            await asyncio.wait((moved, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            moved.cancel()
            slept.cancel()
            await asyncio.gather(moved, slept, return_exceptions=True)

    async def _send(self, uid: str) -> None:
        letter = self.outbox.compose(uid, self._wanted(uid), self._clock.now())
        record = self._book.get(uid)
        if letter is None or record is None:
            if letter is not None:
                self.outbox.done(uid, Outcome.GONE, self._clock.now())
            self._go()
            return
        name, namespace = record.pod.metadata.name, record.pod.metadata.namespace
        body = self._body(uid, letter)
        before = self._clock.now()
        retry_after, shown = 0.0, None
        try:
            pod = await self._client.patch(PODS, name, body, namespace, subresource="status", timeout=PATCH_TIMEOUT)
            outcome, shown = Outcome.SENT, self._answered(uid, pod)
        except PodvitalsError as error:
            outcome = await self._outcome(error, uid, name, namespace)
            retry_after = error.retry_after if isinstance(error, TooManyRequests | ServerFault) else 0.0
            _tell(error, outcome, name, namespace)
        now = self._clock.now()
        self._on_result(outcome, now - before)
        self.outbox.done(uid, outcome, now, shown=shown, retry_after=retry_after)
        if (seen := self._seen.get(uid)) is not None and outcome is not Outcome.GONE:
            # What the watch showed while the letter was under way, if it is newer than the answer.
            self.outbox.observe(uid, seen.shown, now)
        self._go()

    def _wanted(self, uid: str) -> Wanted | None:
        devices, record = self._book.devices(uid), self._book.get(uid)
        if devices is None or record is None:
            return None
        self._on_told(record, devices)
        unknown = frozenset(entry.key for entry in devices.entries if entry.health is Health.UNKNOWN)
        return Wanted(said(devices.entries), devices.encode, unknown)

    def _body(self, uid: str, letter: Letter) -> bytes:
        metadata: dict[str, object] = {"uid": uid}
        body: dict[str, object] = {"metadata": metadata}
        if letter.annotation is not None:
            metadata["annotations"] = {ANNOTATION: letter.annotation}
        if letter.condition is not None:
            seen = self._seen.get(uid)
            stamped = letter.condition.stamped(seen.condition if seen is not None else None, self._clock.wall())
            body["status"] = {"conditions": [_written(stamped)]}
        return msgspec.json.encode(body)

    def _answered(self, uid: str, pod: Pod) -> Shown:
        answer = _Seen()
        answer.take(pod)
        if (seen := self._seen.get(uid)) is not None:
            seen.take(pod)
        return answer.shown

    async def _outcome(self, error: PodvitalsError, uid: str, name: str, namespace: str) -> Outcome:
        if isinstance(error, NotFound):
            return Outcome.GONE
        if isinstance(error, Invalid | Conflict) and await self._is_another(uid, name, namespace):
            return Outcome.GONE
        if isinstance(error, Invalid):
            return Outcome.REFUSED
        if isinstance(error, Unauthorized | Forbidden):
            return Outcome.DENIED
        if isinstance(error, ApiUnreachable | TooManyRequests) or (isinstance(error, ServerFault) and error.status in _TROUBLED):
            return Outcome.TROUBLE
        return Outcome.AGAIN

    async def _is_another(self, uid: str, name: str, namespace: str) -> bool:
        """Whether the pod is gone, or another has its name now."""
        try:
            pod = await self._client.get(PODS, name, namespace, timeout=PATCH_TIMEOUT)
        except NotFound:
            return True
        except PodvitalsError:
            return False
        return pod.metadata.uid != uid


def _written(condition: Condition) -> dict[str, object]:
    """Every field by name: the struct leaves out what is its default, and a merge would keep the status that was there before."""
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
    }


def _tell(error: PodvitalsError, outcome: Outcome, name: str, namespace: str) -> None:
    if outcome is Outcome.GONE:
        return
    level = logging.ERROR if outcome in (Outcome.DENIED, Outcome.REFUSED) else logging.WARNING
    log.log(level, "pod status not written", extra={"pod": f"{namespace}/{name}", "outcome": outcome.value, "reason": str(error)})
