"""What `get` and `describe` read from the API, as views of fleet/. A right that is missing costs what it would have shown, and is said."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from podvitals.claim.holdings import claim_names
from podvitals.claim.pod import Pod
from podvitals.claim.resource import ResourceClaim
from podvitals.cli.kinds import meant
from podvitals.cli.output import clock
from podvitals.errors import ApiError, Forbidden, NotFound
from podvitals.fleet.inventory import Agents, AgentView, PodView, agent_view, lease_name, pod_view
from podvitals.kube.client import Client
from podvitals.kube.resources import CLAIMS, LEASES, PODS
from podvitals.pod.entry import ANNOTATION

T = TypeVar("T")
_CLAIMS_AT_ONCE = 8


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
            hint = await self.hint(namespace, name) or "; another namespace? (-n)"
            raise NotFound(f"there is no pod {name!r} in namespace {namespace!r}{hint}", status=404) from None
        return await self._view(pod, await self._agent(pod.spec.node_name))

    async def hint(self, namespace: str, name: str) -> str:
        """What was probably meant by a pod that is not there: the namespaces that have it, or names much like it; else ""."""
        try:
            pods = (await self.client.list(PODS, None)).items
        except (Forbidden, NotFound):
            try:
                pods = (await self.client.list(PODS, namespace)).items
            except (Forbidden, NotFound):
                return ""
        elsewhere = sorted(pod.metadata.namespace for pod in pods if pod.metadata.name == name)
        if elsewhere:
            return f"; there is one in {', '.join(elsewhere[:3])} (-n {elsewhere[0]})"
        return meant(name, [pod.metadata.name for pod in pods if pod.metadata.namespace == namespace])

    async def pods(self, namespace: str | None, labels: str | None, agents: Agents) -> list[PodView]:
        """All pods of a namespace (None: of all namespaces), whether they have devices or not."""
        listing = await self.client.list(PODS, namespace, labels=labels)
        return list(await asyncio.gather(*(self._view(pod, agents.of(pod.spec.node_name)) for pod in listing.items)))

    async def agents(self) -> Agents:
        """The agents of all nodes."""
        listing = await self.allowed(self.client.list(LEASES, self.agent_namespace), "the agents' Leases")
        if listing is None:
            return Agents(hidden=True)
        prefix = lease_name("")
        leases = [lease for lease in listing.items if lease.metadata.name.startswith(prefix)]
        return Agents(agent_view(node, lease) for lease in leases if (node := lease.metadata.name.removeprefix(prefix)))

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
