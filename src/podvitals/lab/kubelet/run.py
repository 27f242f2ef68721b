"""The kubelet's shell: registers the node, keeps its Lease, and gives each pod bound to it a worker."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podvitals.claim.times import rfc3339, rfc3339_micro
from podvitals.clock import Clock
from podvitals.device.key import DeviceKey
from podvitals.errors import Conflict, NotFound, PodvitalsError
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import LEASES, NODES
from podvitals.lab.kubelet import logs, status
from podvitals.lab.kubelet.backoff import BackoffSettings
from podvitals.lab.kubelet.ended import EndedPod
from podvitals.lab.kubelet.gates import Gates
from podvitals.lab.kubelet.memory import Memory
from podvitals.lab.kubelet.prepare import Drivers, Preparer
from podvitals.lab.kubelet.publish import Publisher
from podvitals.lab.kubelet.worker import PodWorker, Tools
from podvitals.lab.pods import RUNNABLE_PODS, RunnablePod
from podvitals.lab.recorder import Recorder
from podvitals.pod.turns import Turns

log = logging.getLogger(__name__)

LEASE_SECONDS, RENEW_EVERY = 40, 10.0
"""Upstream's."""
NODE_LEASES = "kube-node-lease"
KUBELET_VERSION = "v1.37.2+podvitals-lab"
"""The release whose behaviour the lab's kubelet follows where CONTRACT does not want better."""


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """`cdi`: where drivers put CDI files. `logs`, `pods`, `memory`: directories of this kubelet's own, of which the last outlives it.
    `environment`: what each container gets."""

    node_name: str
    cdi: Path
    logs: Path
    pods: Path
    memory: Path
    backoff: BackoffSettings = field(default_factory=BackoffSettings)
    gates: Gates = field(default_factory=Gates)
    environment: dict[str, str] = field(default_factory=dict)


class Kubelet:
    """`run` until cancelled; then every container has ended. `log_source` is what the API server asks for pods/log."""

    def __init__(self, client: Client, drivers: Drivers, settings: KubeletSettings, clock: Clock) -> None:
        self._client, self._clock, self._settings = client, clock, settings
        self._recorder = Recorder(client, "kubelet", settings.node_name, clock)
        self._tools = Tools(
            client,
            clock,
            drivers,
            Preparer(client, drivers, settings.cdi, clock),
            Publisher(client, clock),
            self._recorder,
            logs.Logs(settings.logs),
            settings.pods,
            settings.environment,
            settings.backoff,
            settings.gates,
            Memory(settings.memory),
            self._held,
            self._serves_another,
        )
        self._workers: dict[str, PodWorker | EndedPod] = {}
        drivers.subscribe(self._health_changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._recorder.run(), name="lab kubelet: events")
            tasks.create_task(self._keep_node(), name="lab kubelet: node")
            tasks.create_task(self._tools.logs.keep_small(self._clock), name="lab kubelet: logs")
            tasks.create_task(self._tools.publisher.run(), name="lab kubelet: pod statuses")
            tasks.create_task(self._follow(tasks), name="lab kubelet: follow pods")

    @property
    def statuses(self) -> Turns:
        """Which pods' statuses wait to be written."""
        return self._tools.publisher.turns

    def log_source(self, namespace: str, pod: str, container: str, previous: bool, follows: bool, tail: int | None) -> AsyncIterator[bytes]:
        """As `lab.api.LogSource`. Raises NotFound for what this kubelet never ran."""
        worker = next((w for w in self._workers.values() if (w.pod.metadata.namespace, w.pod.metadata.name) == (namespace, pod)), None)
        if worker is None:
            raise NotFound(f'pod "{pod}" does not run on this node', status=404, reason="NotFound")
        path, _ = worker.log_file(container, previous)

        def running() -> bool:
            current, runs = worker.log_file(container, False)
            return runs and current == path

        return logs.read(path, self._clock, tail=tail, follow=running if follows and not previous else None)

    def _health_changed(self, keys: frozenset[DeviceKey]) -> None:
        for worker in self._workers.values():
            if not keys.isdisjoint(worker.keys):
                worker.page.changed()

    async def _held(self, worker: PodWorker, keys: frozenset[DeviceKey]) -> None:
        for other in list(self._workers.values()):
            if other is not worker and other.over and not keys.isdisjoint(other.keys):
                other.close(keys)
                await other.remember()

    def _serves_another(self, worker: PodWorker, key: DeviceKey) -> bool:
        return any(other is not worker and not other.over and key in other.keys for other in self._workers.values())

    async def _follow(self, tasks: asyncio.TaskGroup) -> None:
        mine = f"spec.nodeName={self._settings.node_name}"
        async with aclosing(follow(self._client, RUNNABLE_PODS, fields=mine, clock=self._clock)) as changes:
            there: set[str] | None = set()
            async for change in changes:
                pod = change.object
                if pod is None:
                    if there is not None:
                        await self._tools.memory.keep_only(there)
                    there = None
                    continue
                if there is not None:
                    there.add(pod.metadata.uid)
                worker = self._workers.get(pod.metadata.uid)
                if change.kind == "deleted":
                    if worker is not None:
                        worker.forget()
                elif worker is not None:
                    worker.observe(pod)
                elif (found := await self._worker(pod)) is not None:
                    self._workers[pod.metadata.uid] = found
                    name = f"lab kubelet: pod {pod.metadata.namespace}/{pod.metadata.name}"
                    tasks.create_task(self._work(found, pod), name=name)

    async def _worker(self, pod: RunnablePod) -> PodWorker | EndedPod | None:
        """None for a pod that has ended and of which nothing is remembered."""
        if not pod.ended:
            return PodWorker(pod, self._tools)
        held = await self._tools.memory.read(pod.metadata.uid) if self._settings.gates.resource_health_status else ()
        return EndedPod(pod, held, self._tools) if held else None

    async def _work(self, worker: PodWorker | EndedPod, pod: RunnablePod) -> None:
        try:
            await worker.run()
        except Exception as error:
            # A fault of ours with one pod must not cost the others.
            log.exception("pod %s/%s is given up", pod.metadata.namespace, pod.metadata.name)
            self._recorder.tell(pod.metadata, "Failed", f"the lab's kubelet failed: {error!r}; its log has the traceback", warning=True)
        finally:
            del self._workers[pod.metadata.uid]

    async def _keep_node(self) -> None:
        """The node object at once, then its Lease, renewed; both are made again if somebody deletes them."""
        while True:
            try:
                await self._write_node()
                await self._renew()
                pause = RENEW_EVERY
            except PodvitalsError as error:
                log.warning("node %s cannot be kept: %s", self._settings.node_name, error)
                pause = 0.5
            await self._clock.sleep_until(self._clock.now() + pause)

    async def _write_node(self) -> None:
        name = self._settings.node_name
        try:
            await self._client.get(NODES, name)
        except NotFound:
            labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
            try:
                await self._client.create(NODES, {"metadata": {"name": name, "labels": labels}})
            except Conflict:
                log.debug("node %s was made by somebody else", name)
            await self._client.patch(NODES, name, {"status": self._node_status()}, subresource="status")

    def _node_status(self) -> dict[str, Any]:
        now = rfc3339(self._clock.wall())
        machine = os.uname()
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        amounts = {"cpu": str(os.cpu_count() or 1), "pods": "110"}
        info = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine.machine, machine.machine),
            "bootID": "",
            "containerRuntimeVersion": "processes://",
            "kernelVersion": machine.release,
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "this machine",
            "systemUUID": "",
        }
        return {
            "addresses": [{"type": "InternalIP", "address": status.HOST}, {"type": "Hostname", "address": self._settings.node_name}],
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [ready],
            "nodeInfo": info,
        }

    async def _renew(self) -> None:
        name = self._settings.node_name
        spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": rfc3339_micro(self._clock.wall())}
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, NODE_LEASES, kind="merge")
        except NotFound:
            await self._client.create(LEASES, {"metadata": {"name": name}, "spec": spec}, NODE_LEASES)
