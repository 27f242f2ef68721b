"""What `get` and `describe` read from the API, as views of fleet/. A right that is missing costs what it would have shown, and is said."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from podvitals.claim.holdings import claim_names
from podvitals.claim.pod import Pod
from podvitals.claim.resource import ResourceClaim
from podvitals.cli.output import clock
from podvitals.errors import ApiError, Forbidden, NotFound
from podvitals.fleet.inventory import AgentView, PodView, agent_view, lease_name, pod_view
from podvitals.kube.client import Client
from podvitals.kube.resources import CLAIMS, LEASES, PODS
from podvitals.pod.entry import ANNOTATION

T = TypeVar("T")
_CLAIMS_AT_ONCE = 8
_LEASES = "the agents' Leases"


@dataclass(slots=True)
class Reading:
    """One command's reading of a cluster. `missing`: what could not be read, a sentence each; `refusals`: the API's own words for it."""

    client: Client
    agent_namespace: str
    missing: list[str] = field(default_factory=list)
    refusals: list[ApiError] = field(default_factory=list)
    _claims_at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CLAIMS_AT_ONCE))

    async def pod(self, namespace: str, name: str) -> PodView:
        """One pod. NotFound says where it was looked for."""
        try:
            pod = await self.client.get(PODS, name, namespace)
        except NotFound:
            raise NotFound(f"there is no pod {name!r} in namespace {namespace!r}; another namespace? (-n)", status=404) from None
        return await self._view(pod, await self._agent(pod.spec.node_name))

    async def pods(self, namespace: str | None, labels: str | None, agents: Mapping[str, AgentView]) -> list[PodView]:
        """All pods of a namespace (None: of all namespaces), whether they have devices or not."""
        listing = await self.client.list(PODS, namespace, labels=labels)
        return list(await asyncio.gather(*(self._view(pod, self.agent_of(pod.spec.node_name, agents)) for pod in listing.items)))

    async def agents(self) -> dict[str, AgentView]:
        """The agents of all nodes, by node, as their Leases tell."""
        listing = await self.allowed(self.client.list(LEASES, self.agent_namespace), _LEASES)
        prefix = lease_name("")
        leases = [lease for lease in listing.items if lease.metadata.name.startswith(prefix)] if listing else []
        return {node: agent_view(node, lease) for lease in leases if (node := lease.metadata.name.removeprefix(prefix))}

    def agent_of(self, node: str, agents: Mapping[str, AgentView]) -> AgentView:
        return agents.get(node) or AgentView(node, None, hidden=any(_LEASES in sentence for sentence in self.missing))

    async def allowed(self, call: Awaitable[T], what: str) -> T | None:
        """The answer, or None where the right is missing or the kind is not served, which is then kept in `missing`."""
        try:
            return await call
        except Forbidden as error:
            self.missing.append(f"no right to read {what}: {error}")
            self.refusals.append(error)
        except NotFound as error:
            self.missing.append(f"this API server does not serve {what}")
            self.refusals.append(error)
        return None

    async def _view(self, pod: Pod, agent: AgentView) -> PodView:
        now = self.client.wall()
        return pod_view(pod, agent, now, await self._claims(pod), lambda moment: clock(moment, now))

    async def _agent(self, node: str) -> AgentView:
        if not node:
            return AgentView(node, None)
        try:
            lease = await self.client.get(LEASES, lease_name(node), self.agent_namespace)
        except NotFound:
            return AgentView(node, None)
        except Forbidden:
            return AgentView(node, None, hidden=True)
        return agent_view(node, lease)

    async def _claims(self, pod: Pod) -> dict[str, ResourceClaim]:
        """The claims a pod names, where they are needed: to trace the kubelet's resource ids, when no agent has written names."""
        if ANNOTATION in pod.metadata.annotations or not any(status.allocated_resources_status for status in pod.status.container_statuses):
            return {}

        async def claim(name: str) -> ResourceClaim | None:
            async with self._claims_at_once:
                try:
                    return await self.client.get(CLAIMS, name, pod.metadata.namespace)
                except (NotFound, Forbidden):
                    return None

        found = await asyncio.gather(*(claim(name) for name in sorted(claim_names(pod))))
        return {claim.metadata.name: claim for claim in found if claim is not None}
