"""The reader: watches pods and the agent's Lease, and believes what fleet.inventory lets it believe."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from podvitals.claim.cluster import Lease
from podvitals.claim.pod import Pod
from podvitals.fleet.inventory import AgentView, PodView, agent_view, lease_name, pod_view
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import LEASES, PODS

NAMESPACE, LEASE_NAMESPACE = "default", "kube-system"
Seen = Callable[[Pod, bool], None]


class Reader:
    """`on_pod(pod, gone)` hears of each change of a pod. `believes_the_dead`: a twin, which does not look at Leases."""

    def __init__(self, client: Client, node: str, on_pod: Seen, *, believes_the_dead: bool = False) -> None:
        self._client, self._node, self._on_pod, self._believes_the_dead = client, node, on_pod, believes_the_dead
        self.pods: dict[str, Pod] = {}
        self.lease: Lease | None = None
        self._bell = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_pods(), name="crash: reader of pods")
            tasks.create_task(self._watch_lease(), name="crash: reader of the Lease")

    @property
    def renewed(self) -> float:
        """When the agent renewed its Lease last, Unix seconds; 0.0: never."""
        return agent_view(self._node, self.lease).renewed or 0.0

    def agent(self, now: float) -> AgentView:
        """`now`: Unix seconds."""
        return AgentView(self._node, now) if self._believes_the_dead else agent_view(self._node, self.lease)

    def view(self, uid: str, now: float) -> PodView | None:
        pod = self.pods.get(uid)
        return None if pod is None else pod_view(pod, self.agent(now), now)

    async def until(self, true: Callable[[], bool], within: float) -> bool:
        """Whether it came true, as what is watched changed, in that many seconds."""
        try:
            async with asyncio.timeout(within):
                while not true():
                    await self._bell.wait()
        except TimeoutError:
            return False
        return True

    def ring(self) -> None:
        """Something else that somebody may wait for changed."""
        self._bell.set()
        self._bell = asyncio.Event()

    async def _watch_pods(self) -> None:
        async with aclosing(follow(self._client, PODS, NAMESPACE)) as changes:
            async for change in changes:
                if change.object is not None:
                    gone = change.kind == "deleted"
                    if gone:
                        self.pods.pop(change.object.metadata.uid, None)
                    else:
                        self.pods[change.object.metadata.uid] = change.object
                    self._on_pod(change.object, gone)
                    self.ring()

    async def _watch_lease(self) -> None:
        async with aclosing(follow(self._client, LEASES, LEASE_NAMESPACE)) as changes:
            async for change in changes:
                if change.object is not None and change.object.metadata.name == lease_name(self._node):
                    self.lease = None if change.kind == "deleted" else change.object
                    self.ring()
