"""What the bench plays on: pods that hold devices of one scripted driver, their twins that hold none, and the processes in between.

Claims are allocated by hand: what is measured begins with a device that a pod holds, and schedulers are not part of it.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from podvitals.device.health import Health
from podvitals.pod.entry import ANNOTATION
from tests.bench.driver import LEASE, devices_of_claim
from tests.bench.recorder import Recorder
from tests.bench.subject import Child, Subject
from tests.cluster.api import Api, Object

DRIVER = "bench.example.com"
_numbers = itertools.count(1)
AT_ONCE = 8


class Devices:
    """The scripted driver, as a process."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._turn = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def registered(cls, subject: Subject, *, devices: int, per_claim: int) -> AsyncIterator["Devices"]:
        arguments = [
            sys.executable,
            "-m",
            "tests.bench.driver",
            DRIVER,
            str(subject.kubelet_dir),
            str(devices),
            str(per_claim),
            subject.node,
            *([] if subject.kubelet_pid else ["--alone"]),
        ]
        async with Child.running(arguments, subject.log("driver"), subject.environment) as child:
            await child.line()
            yield cls(child)

    async def change(self, changes: Mapping[str, tuple[Health, str]], lease: float = LEASE) -> float:
        """Reports them; returns the second at which it did. With another lease than usual they are not reported again."""
        return float(await self._ask({"say": changes, "lease": lease}))

    async def flood(self, kind: str, rate: float, reports: int) -> int:
        """Whole reports, `rate` a second; returns when they are sent."""
        return int(await self._ask({"flood": kind, "rate": rate, "reports": reports}))

    async def _ask(self, said: Mapping[str, Any]) -> str:
        assert self._child.process.stdin is not None
        async with self._turn:
            self._child.process.stdin.write(json.dumps(said).encode() + b"\n")
            return await self._child.line()


class Stage:
    """Pods bench-0 … with a claim each, and twin-0 … without."""

    def __init__(self, subject: Subject, api: Api, bare: Api, recorder: Recorder, devices: Devices) -> None:
        self.subject, self.api, self.bare, self.recorder, self.devices = subject, api, bare, recorder, devices
        # One of its own: that of an earlier stage takes its time to go.
        self.namespace = f"bench-{next(_numbers)}"
        self.pods = f"/api/v1/namespaces/{self.namespace}/pods"
        self._claims = f"/apis/resource.k8s.io/v1/namespaces/{self.namespace}/resourceclaims"

    @classmethod
    @asynccontextmanager
    async def open(cls, subject: Subject, *, pods: int, twins: int = 0, devices: int, per_claim: int = 1) -> AsyncIterator["Stage"]:
        served = Devices.registered(subject, devices=devices, per_claim=per_claim)
        async with Api(subject.kubeconfig) as api, Api(subject.rights) as bare, served as driver:
            recorder = Recorder()
            stage = cls(subject, api, bare, recorder, driver)
            await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.namespace}})
            async with api.watching(stage.pods) as events:
                watch = asyncio.create_task(recorder.run(events), name="bench: watch")
                try:
                    await stage._fill(pods, twins, per_claim)
                    yield stage
                finally:
                    await stage._clear()
                    watch.cancel()
                    await asyncio.gather(watch, return_exceptions=True)

    async def until_running(self, names: Sequence[str], within: float) -> None:
        async with asyncio.timeout(within):
            while not all(self.recorder.pods.get(name, {}).get("status", {}).get("phase") == "Running" for name in names):
                await asyncio.sleep(0.1)

    async def until_told(self, pods: Iterable[int], within: float) -> None:
        """Until the agent has written of the devices of each."""
        names = [f"bench-{pod}" for pod in pods]
        deadline = time.monotonic() + within
        while untold := [name for name in names if not self._told(name)]:
            if time.monotonic() > deadline:
                log = await asyncio.to_thread(self.subject.log("agent").read_text)
                raise RuntimeError(f"nothing was written on {', '.join(untold)} within {within:g} s; the agent's log ends:\n{log[-2000:]}")
            await asyncio.sleep(0.02)

    def _told(self, name: str) -> bool:
        return ANNOTATION in self.recorder.pods.get(name, {}).get("metadata", {}).get("annotations", {})

    async def begin(self, name: str, *, holds: bool = True, per_claim: int = 1) -> None:
        """One more pod, bound to the node; twins hold nothing."""
        pod = await self.api.create(self.pods, _pod(name, holds))
        if holds:
            await self._claim(name, pod["metadata"]["uid"], per_claim)
        target = {"apiVersion": "v1", "kind": "Node", "name": self.subject.node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self.api.create(f"{self.pods}/{name}/binding", binding)
        if not self.subject.kubelet_pid:
            await self.api.patch_status(f"{self.pods}/{name}", {"status": {"phase": "Running"}})

    async def _fill(self, pods: int, twins: int, per_claim: int) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(name: str, holds: bool) -> None:
            async with gate:
                await self.begin(name, holds=holds, per_claim=per_claim)

        await asyncio.gather(*(one(f"bench-{n}", True) for n in range(pods)), *(one(f"twin-{n}", False) for n in range(twins)))
        await self.until_running([f"bench-{n}" for n in range(pods)] + [f"twin-{n}" for n in range(twins)], within=240)

    async def _claim(self, name: str, pod_uid: str, per_claim: int) -> None:
        request = {"name": "device", "exactly": {"deviceClassName": DRIVER, "count": per_claim}}
        meta = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"}
        claim = await self.api.create(self._claims, {**meta, "metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}})
        node = self.subject.node
        results = [{"request": "device", "driver": DRIVER, "pool": node, "device": device} for device in devices_of_claim(name, per_claim)]
        reserved = [{"resource": "pods", "name": name, "uid": pod_uid}]
        status = {"allocation": {"devices": {"results": results}}, "reservedFor": reserved}
        await self.api.request("PUT", f"{self._claims}/{name}/status", {**claim, "status": status})

    async def _clear(self) -> None:
        """While the driver still runs, for the kubelet unprepares their claims through it."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def ended(name: str) -> None:
            async with gate:
                await self.api.delete(f"{self.pods}/{name}", grace=1 if self.subject.kubelet_pid else 0)

        await asyncio.gather(*(ended(name) for name in list(self.recorder.pods)))
        async with asyncio.timeout(120):
            while self.recorder.pods and self.recorder.broken is None:
                await asyncio.sleep(0.1)
        await self.api.delete(f"/api/v1/namespaces/{self.namespace}")


def _pod(name: str, holds: bool) -> Object:
    """Of no scheduler: the bench binds it, once its claim is its own."""
    container: Object = {"name": "main", "image": "none", "command": ["sleep", "infinity"]}
    spec: Object = {"schedulerName": "bench", "terminationGracePeriodSeconds": 0, "containers": [container]}
    if holds:
        container["resources"] = {"claims": [{"name": "devices"}]}
        spec["resourceClaims"] = [{"name": "devices", "resourceClaimName": name}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
