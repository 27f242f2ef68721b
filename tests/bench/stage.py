"""What the bench plays on: pods that hold devices of one scripted driver, their twins that hold none, and the processes in between.

Claims are allocated by hand: what is measured begins with a device that a pod holds, and schedulers are not part of it.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from podvitals.device.health import Health
from tests.bench.driver import devices_of_claim
from tests.bench.recorder import Recorder
from tests.cluster.api import Api, Object
from tests.cluster.cluster import NODE, Cluster

DRIVER = "bench.example.com"
_numbers = itertools.count(1)
AT_ONCE = 8
REPOSITORY = Path(__file__).parents[2]
PODVITALS = [sys.executable, "-m", "podvitals"]


@dataclass(frozen=True)
class Subject:
    """A running Kubernetes, real or the lab's. `agent`: how to run one on it; none where it runs its own, process `agent_pid`.
    `rights`: the kubeconfig of the agent, and of the bare patches it is compared with."""

    name: str
    kubeconfig: Path
    kubelet_dir: Path
    node: str
    environment: Mapping[str, str]
    rights: Path
    agent: Sequence[str] = ()
    agent_pid: int = 0

    def log(self, process: str) -> Path:
        return self.kubeconfig.with_name(f"bench-{process}.log")

    @asynccontextmanager
    async def running_agent(self) -> AsyncIterator[int]:
        """Its process id."""
        if not self.agent:
            yield self.agent_pid
            return
        async with Child.running(self.agent, self.log("agent"), self.environment) as child:
            yield child.process.pid


class Child:
    """A process of the bench; its log beside it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    @asynccontextmanager
    async def running(cls, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> AsyncIterator["Child"]:
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=file, env=environment
            )
        try:
            yield cls(process)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(10):
                    await process.communicate()
            except TimeoutError:
                process.kill()
                await process.communicate()

    async def line(self) -> str:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the bench ended: see its log")
        return line.decode().strip()

    async def read_on(self) -> None:
        while True:
            await self.line()


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
        ]
        async with Child.running(arguments, subject.log("driver"), subject.environment) as child:
            await child.line()
            yield cls(child)

    async def change(self, changes: Mapping[str, tuple[Health, str]]) -> float:
        """Reports them; returns the second at which it did."""
        assert self._child.process.stdin is not None
        async with self._turn:
            self._child.process.stdin.write(json.dumps(changes).encode() + b"\n")
            return float(await self._child.line())


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

    async def _fill(self, pods: int, twins: int, per_claim: int) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(name: str, holds: bool) -> None:
            async with gate:
                pod = await self.api.create(self.pods, _pod(name, holds))
                if holds:
                    await self._claim(name, pod["metadata"]["uid"], per_claim)
                target = {"apiVersion": "v1", "kind": "Node", "name": self.subject.node}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
                await self.api.create(f"{self.pods}/{name}/binding", binding)

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
                await self.api.delete(f"{self.pods}/{name}", grace=1)

        await asyncio.gather(*(ended(name) for name in list(self.recorder.pods)))
        async with asyncio.timeout(120):
            while self.recorder.pods:
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


@asynccontextmanager
async def real(version: str) -> AsyncIterator[Subject]:
    """A Kubernetes of its own; the agent with exactly the rights of deploy/agent-rbac.yaml."""
    cluster = await asyncio.to_thread(Cluster(version).up)
    try:
        for rights in sorted((REPOSITORY / "deploy").glob("*-rbac.yaml")):
            await asyncio.to_thread(cluster.run_kubectl, "apply", "-f", str(rights))
        kubeconfig = await asyncio.to_thread(cluster.kubeconfig_for_service_account, "kube-system", "podvitals-agent")
        flags = ["--node-name", NODE, "--kubeconfig", str(kubeconfig), "--plugin-dir", str(cluster.plugin_dir)]
        yield Subject(
            name=f"Kubernetes {version}",
            kubeconfig=cluster.kubeconfig,
            kubelet_dir=cluster.kubelet_dir,
            node=NODE,
            environment=cluster.environment,
            rights=kubeconfig,
            agent=[*PODVITALS, "agent", *flags, "--state-dir", str(cluster.root / "agent")],
        )
    finally:
        await asyncio.to_thread(cluster.down)


@asynccontextmanager
async def lab() -> AsyncIterator[Subject]:
    """`podvitals lab`, once its story is told, with the agent it runs."""
    with tempfile.TemporaryDirectory(prefix="pv-bench-") as directory:
        root = Path(directory) / "lab"
        arguments = [*PODVITALS, "lab", "--dir", str(root), "--device", "file"]
        async with Child.running(arguments, Path(directory) / "lab.log", os.environ) as child:
            async with asyncio.timeout(60):
                while "stays up" not in await child.line():
                    pass
            # Read on: a lab whose terminal is full would stop.
            reading = asyncio.create_task(child.read_on(), name="bench: the lab's output")
            children = {each["name"]: each["pid"] for each in json.loads((root / "run.json").read_text())["children"]}
            try:
                yield Subject("lab", root / "kubeconfig", root, "lab", os.environ, root / "kubeconfig", agent_pid=children["agent"])
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)


def rss(pid: int) -> float:
    """MB of memory the process holds now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
