"""A model of the API server: pods, claims, events, one Lease, a watch; and everything that can become of a request on its way.

`mode` is what happens to requests now. A request that hangs is answered by nobody and may be carried out half a minute later; one that is
reset may have been carried out or not.
"""

import random
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from podvitals.claim.cluster import Event, Lease
from podvitals.claim.meta import Condition
from podvitals.claim.pod import Pod
from podvitals.claim.resource import ResourceClaim
from podvitals.errors import (
    ApiUnreachable,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    PodvitalsError,
    ServerFault,
    TooManyRequests,
    Unauthorized,
)
from podvitals.kube.client import Listing, WatchEvent
from podvitals.pod.entry import ANNOTATION
from tests.chaos.cast import WALL
from tests.chaos.loop import Await, Loop, Timer

FAILURES: dict[str, Callable[[], PodvitalsError]] = {
    "401": lambda: Unauthorized("who are you", status=401),
    "403": lambda: Forbidden("you may not", status=403),
    "409": lambda: Conflict("it changed", status=409),
    "422": lambda: Invalid("not so", status=422),
    "429": lambda: TooManyRequests("slow down", retry_after=2.0),
    "500": lambda: ServerFault("etcd", status=500),
    "503": lambda: ServerFault("overloaded", status=503, retry_after=1.0),
    "gone": lambda: ApiUnreachable("connection refused"),
}
MODES = (*FAILURES, "slow", "hang", "reset", "broken pipe")


class Api:
    """`on_write(pod before, pod after)` hears each change of a pod. `stripped`, `refused`: uids of pods whose annotation an admission rule
    takes away, or whose patches it refuses ("annotation" or "all")."""

    def __init__(self, loop: Loop, rng: random.Random) -> None:
        self.loop, self.rng = loop, rng
        self.pods: dict[str, Pod] = {}
        self.claims: dict[str, ResourceClaim] = {}
        self.events: dict[str, dict[str, Any]] = {}
        self.lease: dict[str, Any] | None = None
        self.lease_version = 0
        self.version = 1
        self.mode = ""
        self.watch_delay = 0.0
        self.refused: dict[str, str] = {}
        self.stripped: set[str] = set()
        self.writes = 0
        self.latest_effect = 0.0
        self.on_write: Callable[[Pod | None, Pod | None], None] = lambda before, after: None
        self.on_lease: Callable[[], None] = lambda: None
        self._log: list[tuple[int, float, str, Pod]] = []
        self._forgotten = 0
        self._watchers: list[Watcher] = []

    def wall(self) -> float:
        return WALL + self.loop.now

    # --- objects ---------------------------------------------------------------------------------------------------------------

    def put(self, pod: Pod) -> Pod:
        """Creates or replaces; the same object is no change."""
        before = self.pods.get(pod.metadata.name)
        if before == pod:
            return pod
        self.version += 1
        meta = msgspec.structs.replace(pod.metadata, resource_version=str(self.version))
        pod = self.pods[pod.metadata.name] = msgspec.structs.replace(pod, metadata=meta)
        self._tell("ADDED" if before is None else "MODIFIED", pod)
        self.on_write(before, pod)
        return pod

    def delete(self, name: str) -> None:
        pod = self.pods.pop(name, None)
        if pod is not None:
            self.version += 1
            meta = msgspec.structs.replace(pod.metadata, resource_version=str(self.version))
            self._tell("DELETED", msgspec.structs.replace(pod, metadata=meta))
            self.on_write(pod, None)

    def _tell(self, kind: str, pod: Pod) -> None:
        self._log.append((self.version, self.loop.now, kind, pod))
        for watcher in self._watchers:
            watcher.wake()

    def forget(self) -> None:
        """Versions before now are compacted: who watches from there is told 410, and every watch ends."""
        self._forgotten = self.version
        self.break_watches()

    def break_watches(self) -> None:
        for watcher in list(self._watchers):
            watcher.fail(ApiUnreachable("watch reset"))

    # --- requests --------------------------------------------------------------------------------------------------------------

    def call(self, act: Callable[[], Any], resume: Callable[[Any], None], timeout: float) -> None:
        loop, rng = self.loop, self.rng
        go, back = loop.now + rng.uniform(0.0005, 0.01), rng.uniform(0.0005, 0.01)
        mode = self.mode if self.mode and rng.random() < 0.85 else ""
        if mode in FAILURES:
            loop.at(go, resume, FAILURES[mode]())
        elif mode == "hang":
            self._lose(act, rng.choice((None, 3.0, 9.0, 30.0)))
            loop.after(timeout, resume, ApiUnreachable("no answer"))
        elif mode == "reset":
            loop.at(go, resume, ApiUnreachable("reset"))
        elif mode == "broken pipe":
            self._lose(act, go - loop.now)
            loop.at(go + back, resume, ApiUnreachable("reset after it was sent"))
        else:
            if mode == "slow":
                go += rng.uniform(0.5, 1.5)
            loop.at(go, lambda: loop.after(back, resume, _tried(act)))

    def _lose(self, act: Callable[[], Any], after: float | None) -> None:
        if after is not None:
            self.latest_effect = max(self.latest_effect, self.loop.now + after)
            self.loop.after(after, _tried, act)

    def patch_pod(self, name: str, body: dict[str, Any]) -> Pod:
        pod = self.pods.get(name)
        if pod is None:
            raise NotFound(f"pods {name}", status=404)
        metadata = body.get("metadata", {})
        if metadata.get("uid", pod.metadata.uid) != pod.metadata.uid:
            raise Invalid("metadata.uid is immutable", status=422)
        annotations = metadata.get("annotations", {})
        refused = self.refused.get(pod.metadata.uid)
        if refused == "all" or (refused == "annotation" and annotations):
            raise Invalid("an admission rule does not want it", status=422)
        if pod.metadata.uid in self.stripped:
            annotations = {}
        self.writes += 1
        merged = {**pod.metadata.annotations, **annotations}
        kept = {key: text for key, text in merged.items() if text is not None}
        conditions = _merged(pod.status.conditions, body.get("status", {}).get("conditions", ()))
        meta = msgspec.structs.replace(pod.metadata, annotations=kept)
        return self.put(msgspec.structs.replace(pod, metadata=meta, status=msgspec.structs.replace(pod.status, conditions=conditions)))

    def patch_lease(self, body: dict[str, Any]) -> Lease:
        if self.lease is None:
            raise NotFound("lease", status=404)
        _merge(self.lease, body)
        return self._leased()

    def create_lease(self, body: dict[str, Any]) -> Lease:
        if self.lease is not None:
            raise Conflict("lease exists", status=409)
        self.lease = msgspec.json.decode(msgspec.json.encode(body))
        return self._leased()

    def _leased(self) -> Lease:
        self.lease_version += 1
        lease = msgspec.convert(self.lease, Lease)
        self.on_lease()
        return lease

    def patch_event(self, name: str, body: dict[str, Any]) -> Event:
        if name not in self.events:
            raise NotFound(f"event {name}", status=404)
        _merge(self.events[name], body)
        return msgspec.convert(self.events[name], Event)

    def create_event(self, body: dict[str, Any]) -> Event:
        name = body["metadata"]["name"]
        if name in self.events:
            raise Conflict(f"event {name} exists", status=409)
        self.events[name] = msgspec.json.decode(msgspec.json.encode(body))
        return msgspec.convert(self.events[name], Event)

    def claim(self, name: str) -> ResourceClaim:
        if name not in self.claims:
            raise NotFound(f"claim {name}", status=404)
        return self.claims[name]

    def pod(self, name: str) -> Pod:
        if name not in self.pods:
            raise NotFound(f"pod {name}", status=404)
        return self.pods[name]

    # --- the watch -------------------------------------------------------------------------------------------------------------

    def listing(self) -> Listing[Pod]:
        return Listing(list(self.pods.values()), str(self.version))

    async def watch(self, version: int, opened: Callable[[], None]) -> AsyncGenerator[WatchEvent[Pod]]:
        if self.mode in FAILURES:
            await Await(lambda resume: self.loop.after(0.005, resume, FAILURES[self.mode]()))
        if version < self._forgotten:
            raise Gone("too old resource version", status=410)
        watcher = Watcher(self)
        self._watchers.append(watcher)
        opened()
        at = next((index for index, entry in enumerate(self._log) if entry[0] > version), len(self._log))
        try:
            while True:
                while at < len(self._log):
                    changed, when, kind, pod = self._log[at]
                    await Await(watcher.until(when + self.watch_delay))
                    at += 1
                    yield WatchEvent(kind, pod, str(changed))
                await Await(watcher.wait)
        finally:
            self._watchers.remove(watcher)


class Watcher:
    """One watch that waits for the next change, or for the moment when a change has come through."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._resume: Callable[[Any], None] | None = None
        self._timer: Timer | None = None
        self._failed: PodvitalsError | None = None

    def wait(self, resume: Callable[[Any], None]) -> None:
        self._resume = resume
        if self._failed is not None:
            self._timer = self._api.loop.after(0.001, self._go)

    def until(self, when: float) -> Callable[[Callable[[Any], None]], None]:
        def begin(resume: Callable[[Any], None]) -> None:
            self._resume = resume
            delay = max(0.0, when - self._api.loop.now) + self._api.rng.uniform(0.0005, 0.02)
            self._timer = self._api.loop.after(0.001 if self._failed else delay, self._go)

        return begin

    def wake(self) -> None:
        if self._resume is not None and self._timer is None:
            self._timer = self._api.loop.after(0.0, self._go)

    def fail(self, error: PodvitalsError) -> None:
        self._failed = error
        if self._resume is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._api.loop.after(0.001, self._go)

    def _go(self) -> None:
        resume, self._resume, self._timer = self._resume, None, None
        if resume is not None:
            resume(self._failed)


def _tried(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except PodvitalsError as error:
        return error


def _merged(conditions: tuple[Condition, ...], patches: Any) -> tuple[Condition, ...]:
    by_type = {condition.type: msgspec.to_builtins(condition) for condition in conditions} if patches else {}
    for patch in patches:
        if patch.get("$patch") == "delete":
            by_type.pop(patch["type"], None)
        else:
            by_type[patch["type"]] = {**by_type.get(patch["type"], {}), **patch}
    return tuple(msgspec.convert(condition, Condition) for condition in by_type.values()) if patches else conditions


def _merge(into: dict[str, Any], body: Any) -> None:
    """A JSON merge patch."""
    for key, value in msgspec.to_builtins(body).items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


__all__ = ["ANNOTATION", "FAILURES", "MODES", "Api"]
