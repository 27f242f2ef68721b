"""One suite, two subjects: what its tests are given, whether the API server is the lab's or the real one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from podvitals.errors import ApiError
from podvitals.kube.client import Client, WatchEvent
from podvitals.kube.resources import NAMESPACES, PODS, Resource

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """An API server, and a namespace of it in which nobody else does anything."""

    client: Client
    namespace: str

    def pod(self, name: str = "a", *, node: str = "", **meta: Any) -> Json:
        """A pod no scheduler touches. Its node, where it has one, does not exist: no kubelet touches it either."""
        spec: Json = {"schedulerName": "nobody", "containers": [{"name": "main", "image": "example.com/x:1"}]}
        if node:
            spec["nodeName"] = node
        return {"metadata": {"name": name, "namespace": self.namespace, **meta}, "spec": spec}

    async def create_pod(self, name: str = "a", *, node: str = "", **meta: Any) -> Json:
        return await self.client.create(PODS.untyped(), self.pod(name, node=node, **meta))

    async def get_pod(self, name: str = "a") -> Json:
        return await self.client.get(PODS.untyped(), name, self.namespace)

    async def patch_status(self, patch: Json, name: str = "a") -> Json:
        return await self.client.patch(PODS.untyped(), name, patch, self.namespace, subresource="status")

    async def names(self, resource: Resource[Any], *, labels: str | None = None, fields: str | None = None) -> list[str]:
        listing = await self.client.list(resource.untyped(), self.namespace, labels=labels, fields=fields)
        return [item["metadata"]["name"] for item in listing.items]

    async def raw(self, path: str, **query: str) -> Json:
        answer: Json = json.loads(await self.client.raw("GET", path, query=query))
        return answer

    @asynccontextmanager
    async def watching(self, resource: Resource[Any], **options: Any) -> AsyncIterator["Seen"]:
        """What a watch tells, in order, from now or from `resource_version`; never None for the object of what is no bookmark."""
        if "resource_version" not in options:
            options["resource_version"] = (await self.client.list(resource.untyped(), self.namespace)).resource_version
        events = self.client.watch(resource.untyped(), self.namespace, **options)
        try:
            yield Seen(events)
        finally:
            await events.aclose()


class Seen:
    def __init__(self, events: AsyncIterator[WatchEvent[Json]]) -> None:
        self._events = events

    async def next(self) -> tuple[str, Json]:
        """The next event that is no bookmark, as (type, object)."""
        while True:
            event = await self.any()
            if event.object is not None:
                return event.type, event.object

    async def any(self) -> WatchEvent[Json]:
        async with asyncio.timeout(10):
            return await anext(self._events)

    async def rest(self) -> AsyncIterator[WatchEvent[Json]]:
        """Everything until the server ends the watch."""
        async with asyncio.timeout(10):
            async for event in self._events:
                yield event

    async def named(self, count: int) -> list[str]:
        """The next events as `ADDED a`."""
        return [f"{kind} {body['metadata']['name']}" for kind, body in [await self.next() for _ in range(count)]]


async def refused(call: Awaitable[Any], status: int, reason: str, text: str = "") -> ApiError:
    """The call is refused with this status and reason, and a message with `text` in it."""
    with pytest.raises(ApiError) as caught:
        await call
    assert (caught.value.status, caught.value.reason) == (status, reason), str(caught.value)
    assert text in caught.value.message
    return caught.value


@asynccontextmanager
async def subject_on(client: Client) -> AsyncIterator[Subject]:
    """A fresh namespace there, gone afterwards."""
    made = await client.create(NAMESPACES, {"metadata": {"generateName": "suite-"}})
    try:
        yield Subject(client, made.metadata.name)
    finally:
        await client.delete(NAMESPACES, made.metadata.name)
