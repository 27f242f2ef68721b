"""Follow a kind of object: list it, watch it, and go on whatever happens, until cancelled.

What the consumer sees is always a consistent story: each object "added" once before it is "modified" or "deleted", and after a gap
(410 Gone, a server that was away) the differences are told as changes. "synced" comes after each complete list.
"""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from podvitals.clock import SYSTEM, Clock
from podvitals.errors import Gone, PodvitalsError, ServerFault, TooManyRequests
from podvitals.kube.answer import LONGEST_ASKED
from podvitals.kube.client import Client, Listing, WatchEvent
from podvitals.kube.resources import Resource

T = TypeVar("T")

FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0
LASTING = 5.0
"""Seconds after which a watch that ends, in order or not, counts as one that worked."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """`object` is None for "synced"; for "deleted" it is the last state known."""

    kind: Literal["added", "modified", "deleted", "synced"]
    object: T | None = None


async def follow(
    client: Client,
    resource: Resource[T],
    namespace: str | None = None,
    *,
    labels: str | None = None,
    fields: str | None = None,
    clock: Clock = SYSTEM,
    on_error: Callable[[PodvitalsError, float], None] | None = None,
    kept: Callable[[T], T] | None = None,
) -> AsyncGenerator[Change[T]]:
    """All objects that match, and from then on each change as it happens. Ends only by cancellation or `aclose()`.

    `kept` makes of an object what is remembered of it, to be told again when it is deleted: it may leave out what is large.
    An error of the API is not raised: `on_error(error, seconds until the next try)` hears of it, and what it raises ends the following.
    Leave with `async with contextlib.aclosing(follow(...)) as changes`."""
    known: _Known[T] = _Known(kept)
    backoff = Backoff(clock)
    version = ""
    while True:
        try:
            if not version:
                listing = await client.list(resource, namespace, labels=labels, fields=fields)
                for change in known.relist(listing):
                    yield change
                version = listing.resource_version
                yield Change("synced")
            watch = client.watch(resource, namespace, resource_version=version, labels=labels, fields=fields, opened=backoff.opened)
            async with aclosing(watch) as events:
                async for event in events:
                    version = event.resource_version or version
                    backoff.reset()
                    if (told := known.apply(event)) is not None:
                        yield told
            delay = backoff.ended()
        except PodvitalsError as error:
            version = "" if isinstance(error, Gone) else version
            delay = backoff.failed(error)
            if on_error is not None:
                on_error(error, delay)
        await clock.sleep_until(clock.now() + delay)


class Backoff:
    """Exponential with full jitter, from 0.1 to 30 s; never sooner than the server asks. Reset by an event, by a watch that lasted, and by
    the first 410 since then: it is the answer of a server that is back, and asks for a list."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._failures, self._gone = 0, False
        self._opened: float | None = None

    def opened(self) -> None:
        """The server has taken the watch: from now on it lasts."""
        self._opened = self._clock.now()

    def reset(self) -> None:
        self._failures, self._gone = 0, False

    def failed(self, error: PodvitalsError) -> float:
        """Seconds to wait after `error`."""
        if self._lasted():
            self.reset()
        if isinstance(error, Gone) and not self._gone:
            self._failures, self._gone = 0, True
        asked = error.retry_after if isinstance(error, TooManyRequests | ServerFault) else 0.0
        return min(asked, LONGEST_ASKED) * random.uniform(1.0, 1.5) + self._jitter()

    def ended(self) -> float:
        """Seconds to wait after a watch the server ended in order: none, unless it ends them all at once, when it must not be hammered."""
        if self._lasted():
            self.reset()
            return 0.0
        return self._jitter()

    def _lasted(self) -> bool:
        """Whether the watch that is over now was open long enough."""
        opened, self._opened = self._opened, None
        return opened is not None and self._clock.now() - opened >= LASTING

    def _jitter(self) -> float:
        ceiling = min(LONGEST_DELAY, FIRST_DELAY * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return random.uniform(0, ceiling)


@dataclass(slots=True)
class _Known(Generic[T]):
    """What the consumer was told exists: uid and version, and the object itself for the deletions found by a list."""

    kept: Callable[[T], T] | None = None
    objects: dict[tuple[str, str], T] = field(default_factory=dict)

    def relist(self, listing: Listing[T]) -> list[Change[T]]:
        now = {_name(item): item for item in listing.items}
        changes: list[Change[T]] = [Change("deleted", gone) for name, gone in self.objects.items() if _uid(now.get(name)) != _uid(gone)]
        for name, item in now.items():
            before = self.objects.get(name)
            if before is None or _uid(before) != _uid(item):
                changes.append(Change("added", item))
            elif _version(before) != _version(item):
                changes.append(Change("modified", item))
        self.objects = {name: self._kept(item) for name, item in now.items()}
        return changes

    def apply(self, event: WatchEvent[T]) -> Change[T] | None:
        if event.object is None:
            return None
        name = _name(event.object)
        if event.type == "DELETED":
            return None if self.objects.pop(name, None) is None else Change("deleted", event.object)
        seen = name in self.objects
        self.objects[name] = self._kept(event.object)
        return Change("modified" if seen else "added", event.object)

    def _kept(self, item: T) -> T:
        return item if self.kept is None else self.kept(item)


def _meta(item: Any) -> Any:
    return item["metadata"] if isinstance(item, dict) else item.metadata


def _name(item: Any) -> tuple[str, str]:
    meta = _meta(item)
    return (meta.get("namespace", ""), meta["name"]) if isinstance(meta, dict) else (meta.namespace, meta.name)


def _uid(item: Any) -> str | None:
    if item is None:
        return None
    meta = _meta(item)
    uid: str = meta.get("uid", "") if isinstance(meta, dict) else meta.uid
    return uid


def _version(item: Any) -> str:
    meta = _meta(item)
    version: str = meta.get("resourceVersion", "") if isinstance(meta, dict) else meta.resource_version
    return version
