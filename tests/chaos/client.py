"""What the agent's shells take for a Kubernetes client: the same calls, answered by the model of the API server."""

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from podvitals.claim.pod import Pod
from podvitals.kube.client import Listing, WatchEvent
from podvitals.kube.resources import CLAIMS, EVENTS, LEASES, PODS, Resource
from tests.chaos.loop import Await

if TYPE_CHECKING:
    from tests.chaos.agent import Agent

TIMEOUT = 30.0


class SimClient:
    def __init__(self, agent: "Agent") -> None:
        self._agent, self._api = agent, agent.world.api

    def wall(self) -> float:
        """By the server's clock, as its answers tell it."""
        return self._api.wall()

    async def get(self, resource: Resource[Any], name: str, namespace: str | None = None, *, timeout: float | None = None) -> Any:
        find: Callable[[str], Any] = self._api.claim if resource is CLAIMS else self._api.pod
        return await self._call(lambda: find(name), timeout)

    async def patch(
        self,
        resource: Resource[Any],
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        subresource: str = "",
        kind: str = "strategic",
        timeout: float | None = None,
    ) -> Any:
        api, content = self._api, _content(body)
        if resource is PODS:
            if self._agent.world.fuse("patch"):
                await Await(lambda resume: None)
            return await self._call(lambda: api.patch_pod(name, content), timeout)
        if resource is LEASES:
            return await self._call(lambda: api.patch_lease(content), timeout)
        assert resource is EVENTS
        return await self._call(lambda: api.patch_event(name, content), timeout)

    async def create(self, resource: Resource[Any], body: Any, namespace: str | None = None, *, timeout: float | None = None) -> Any:
        api, content = self._api, _content(body)
        return await self._call(lambda: api.create_lease(content) if resource is LEASES else api.create_event(content), timeout)

    async def list(self, resource: Resource[Any], namespace: str | None = None, **more: Any) -> Listing[Pod]:
        listing: Listing[Pod] = await self._call(self._api.listing, None)
        return listing

    async def watch(self, resource: Resource[Any], namespace: str | None = None, **more: Any) -> AsyncGenerator[WatchEvent[Pod]]:
        events = self._api.watch(int(more["resource_version"]), more["opened"])
        try:
            async for event in events:
                if self._agent.stopped:
                    await Await(lambda resume: self._agent.hear(resume, None))
                yield event
        finally:
            await events.aclose()

    async def _call(self, act: Callable[[], Any], timeout: float | None) -> Any:
        agent = self._agent
        seconds = timeout or TIMEOUT
        return await Await(lambda resume: self._api.call(act, lambda result: agent.hear(resume, result), seconds))


def _content(body: Any) -> Any:
    return msgspec.json.decode(body) if isinstance(body, bytes) else msgspec.json.decode(msgspec.json.encode(body))
