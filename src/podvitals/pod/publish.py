"""Writes condition and annotation to the pods that need it: the shell around the desk, the only writer of pods.

Each failure goes back to the desk as an outcome; here only the words for the log are found.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from podvitals.clock import Clock
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
from podvitals.pod.desk import Desk, Patch
from podvitals.pod.outbox import Outcome

log = logging.getLogger(__name__)

PATCH_TIMEOUT = 10.0
"""Seconds; a patch that got no answer may still arrive, the watch then shows it and it is written over."""
LOOKS = 8
"""Pods that are looked at in one turn of the event loop: three milliseconds where each holds 32 devices."""
_TROUBLED = (502, 503, 504)
Result = Callable[[Outcome, float], None]


class Publisher:
    """`on_posted` is called whenever all patches that are due were built, be there any or not. `on_result` hears of each patch: its outcome
    and how many seconds it took."""

    def __init__(self, client: Client, desk: Desk, clock: Clock, *, on_posted: Callable[[], None], on_result: Result) -> None:
        self._client, self._desk, self._clock, self._on_posted, self._on_result = client, desk, clock, on_posted, on_result
        self._tasks: asyncio.TaskGroup | None = None
        self._moved = asyncio.Event()
        self._wakes_at: float | None = None
        self._posting = False

    async def run(self) -> None:
        """Writes until cancelled. What the desk heard before waits for this."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._keep_time()
            finally:
                self._tasks = None

    def go(self) -> None:
        """The desk was told something: its patches start in the next turn of the loop, when what comes in this turn is known too."""
        if self._tasks is None or self._posting:
            return
        self._posting = True
        asyncio.get_running_loop().call_soon(self._post)

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _post(self) -> None:
        self._posting = False
        if self._tasks is None:
            return
        now = self._clock.now()
        patch = self._desk.take(now, self._clock.wall(), LOOKS)
        if patch is not None:
            self._tasks.create_task(self._send(patch), name=f"write pod {patch.namespace}/{patch.name}")
        due = self._desk.next_deadline()
        if patch is not None or (due is not None and due <= now):
            # The rest in the next turns: what is built leaves first, and drivers are heard in between.
            self.go()
            return
        self._on_posted()
        if due is not None and (self._wakes_at is None or due < self._wakes_at):
            self._moved.set()

    async def _keep_time(self) -> None:
        while True:
            self._post()
            self._moved.clear()
            # While posting goes on, what is due is not to be waited for; its end tells what is.
            self._wakes_at = None if self._posting else self._desk.next_deadline()
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

    async def _send(self, patch: Patch) -> None:
        before, body = self._clock.now(), msgspec.json.encode(patch.body)
        retry_after, pod = 0.0, None
        try:
            pod = await self._client.patch(PODS, patch.name, body, patch.namespace, subresource="status", timeout=PATCH_TIMEOUT)
            outcome = Outcome.SENT
        except PodvitalsError as error:
            outcome = await self._outcome(error, patch)
            retry_after = error.retry_after if isinstance(error, TooManyRequests | ServerFault) else 0.0
            _tell(error, outcome, patch)
        now = self._clock.now()
        self._on_result(outcome, now - before)
        self._desk.done(patch.uid, outcome, now, pod=pod, retry_after=retry_after)
        self.go()

    async def _outcome(self, error: PodvitalsError, patch: Patch) -> Outcome:
        if isinstance(error, NotFound):
            return Outcome.GONE
        if isinstance(error, Invalid | Conflict) and await self._is_another(patch):
            return Outcome.GONE
        if isinstance(error, Invalid):
            return Outcome.REFUSED
        if isinstance(error, Unauthorized | Forbidden):
            return Outcome.DENIED
        if isinstance(error, ApiUnreachable | TooManyRequests) or (isinstance(error, ServerFault) and error.status in _TROUBLED):
            return Outcome.TROUBLE
        return Outcome.AGAIN

    async def _is_another(self, patch: Patch) -> bool:
        """Whether the pod is gone, or another has its name now."""
        try:
            pod = await self._client.get(PODS, patch.name, patch.namespace, timeout=PATCH_TIMEOUT)
        except NotFound:
            return True
        except PodvitalsError:
            return False
        return pod.metadata.uid != patch.uid


def _tell(error: PodvitalsError, outcome: Outcome, patch: Patch) -> None:
    if outcome is Outcome.GONE:
        return
    level = logging.ERROR if outcome in (Outcome.DENIED, Outcome.REFUSED) else logging.WARNING
    pod = f"{patch.namespace}/{patch.name}"
    log.log(level, "pod status not written", extra={"pod": pod, "outcome": outcome.value, "reason": str(error)})
