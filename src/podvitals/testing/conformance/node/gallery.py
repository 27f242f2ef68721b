"""Every state of the pods of a namespace, with the moment it was seen: what a case waits for, and looks back on."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TypeVar

from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import PODS
from podvitals.testing.awaited import Changes
from podvitals.testing.conformance.node.reading import Object

T = TypeVar("T")


class Gallery:
    """`run` until cancelled."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self._seen: dict[str, list[tuple[float, Object]]] = {}
        self._there: set[str] = set()
        self._changes = Changes()

    async def run(self) -> None:
        async with aclosing(follow(self._client, PODS.untyped(), self._namespace)) as changes:
            async for change in changes:
                if change.object is None:
                    continue
                name = change.object["metadata"]["name"]
                self._seen.setdefault(name, []).append((time.monotonic(), change.object))
                if change.kind == "deleted":
                    self._there.discard(name)
                else:
                    self._there.add(name)
                self._changes.tell()

    def states(self, name: str, since: float = 0.0) -> list[tuple[float, Object]]:
        """The states seen after `since`, and the one that stood then, at `since`."""
        seen = self._seen.get(name, [])
        before = [pod for at, pod in seen if at <= since]
        return [*((since, pod) for pod in before[-1:]), *((at, pod) for at, pod in seen if at > since)]

    def newest(self, name: str) -> Object:
        return self._seen[name][-1][1] if self._seen.get(name) else {}

    async def first(self, name: str, since: float, found: Callable[[Object], T | None], until: float) -> tuple[float, T] | None:
        """The first state after `since` of which `found` makes something, and when it was seen; None when there is none by `until`."""
        looked_at = 0
        while True:
            states = self.states(name, since)
            for at, pod in states[looked_at:]:
                if (value := found(pod)) is not None:
                    return at, value
            looked_at, count = len(states), len(self._seen.get(name, ()))
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    await self._changes.until_changed(lambda count=count: len(self._seen.get(name, ())) > count)  # type: ignore[misc]
            except TimeoutError:
                return None

    async def gone(self, name: str, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._changes.until_changed(lambda: name not in self._there)
        except TimeoutError:
            return False
        return True
