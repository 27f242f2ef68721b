"""What the API shows, as any client would see it: a list and a watch of each kind, with the moment each change arrived.

The story believes nothing else: a step happened when a watch of the API said so.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from podvitals.clock import Clock
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import LEASES, NODES, PODS, SLICES, Resource

T = TypeVar("T")
REMEMBERED = 2000
"""Changes of a kind: far more than a story brings."""
KINDS: tuple[Resource[Any], ...] = (NODES, SLICES, LEASES, PODS)


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """`at`: boottime of the arrival."""

    object: T
    at: float


class NotSeen(Exception):
    """What was waited for did not come in time."""


@dataclass(slots=True)
class _Waiter:
    resource: str
    holds: Callable[[Any], object]
    seen: "asyncio.Future[Seen[Any]]"


@dataclass(slots=True)
class Observer:
    """`run` until cancelled; `until` waits for an object of which something holds."""

    client: Client
    clock: Clock
    _seen: dict[str, deque[Seen[Any]]] = field(default_factory=dict)
    _waiters: list[_Waiter] = field(default_factory=list)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for resource in KINDS:
                tasks.create_task(self._follow(resource), name=f"lab story: follow {resource.name}")

    async def until(self, resource: Resource[T], holds: Callable[[T], object], timeout: float, what: str, since: float = 0.0) -> Seen[T]:
        """The first change that arrived after `since` and of which `holds` is true, past or to come. Raises NotSeen with `what`."""
        for seen in self._seen.get(resource.name, ()):
            if seen.at >= since and holds(seen.object):
                return seen
        waiter = _Waiter(resource.name, holds, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter.seen
        except TimeoutError:
            raise NotSeen(f"{what} (waited {timeout:g} s)") from None
        finally:
            self._waiters.remove(waiter)

    async def _follow(self, resource: Resource[Any]) -> None:
        history = self._seen.setdefault(resource.name, deque(maxlen=REMEMBERED))
        async with aclosing(follow(self.client, resource, clock=self.clock)) as changes:
            async for change in changes:
                if change.object is None or change.kind == "deleted":
                    continue
                seen = Seen(change.object, self.clock.now())
                history.append(seen)
                for waiter in self._waiters:
                    if waiter.resource == resource.name and not waiter.seen.done() and waiter.holds(change.object):
                        waiter.seen.set_result(seen)
