"""What a test of this suite works with: real processes (drivers, agents), and a corner of the cluster of its own."""

import asyncio
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals
from typing import Any

from podvitals.wire.messages import ALL_VERSIONS, ClaimRef, PreparedDevice
from tests.cluster.api import Api, Object
from tests.cluster.cluster import NODE, Cluster
from tests.cluster.scripted import ScriptedDriver

_numbers = itertools.count(1)
DRIVERS = Path(__file__).parent / "drivers"


@dataclass
class Process:
    """One process of a test, its output in a file; it lives until it is ended."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    _popen: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Process":
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        return self

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def signal(self, number: Signals) -> None:
        assert self._popen is not None
        self._popen.send_signal(number)

    def kill(self) -> None:
        """kill -9, as the kernel's OOM killer does: nothing of its own is tidied up."""
        self.end(SIGKILL)

    def end(self, number: Signals = SIGTERM) -> int:
        assert self._popen is not None
        if self._popen.poll() is None:
            self._popen.send_signal(number)
            self._popen.send_signal(SIGCONT)
        try:
            return self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(10)
            raise AssertionError(f"{self.name} did not end within 10 s of {number.name}") from None

    def said(self, text: str) -> int:
        """How often its output holds the words of `text`, and not only their ends: `unprepared` does not say `prepared`."""
        return len(re.findall(rf"\b{re.escape(text)}", self.log.read_text()))

    async def says(self, text: str, *, times: int = 1, within: float = 10) -> None:
        """Returns once its output holds `text` so many times. There is no event for a line in a file: looks again, not for ever."""
        deadline = time.monotonic() + within
        while self.said(text) < times:
            assert time.monotonic() < deadline, f"{self.name} did not say {text!r} within {within} s"
            await asyncio.sleep(0.05)

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None


@dataclass
class Processes:
    """The processes of one test; all of them end with it."""

    cluster: Cluster
    _all: list[Process] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str], **environment: str) -> Process:
        log = self.cluster.root / "logs" / f"test-{next(_numbers)}-{name}.log"
        process = Process(name, arguments, {**self.cluster.environment, "PYTHONUNBUFFERED": "1", **environment}, log)
        self._all.append(process)
        return process.start()

    def python(self, name: str, *arguments: str, **environment: str) -> Process:
        return self.start(name, [sys.executable, *arguments], **environment)

    def logs(self) -> dict[str, Path]:
        return {process.name: process.log for process in self._all}

    def end_all(self) -> None:
        for process in reversed(self._all):
            if process.alive:
                process.kill()


@dataclass
class World:
    """A namespace, a driver name with its device class, a directory of device files; and the ways to look at what comes of them."""

    cluster: Cluster
    api: Api
    processes: Processes
    namespace: str
    driver: str
    devices: Path
    drivers_dir: Path | None = None
    """Where drivers register, in its plugins_registry; None: with the kubelet."""
    equal_names: bool = False
    """Whether a pod calls its claim as the ResourceClaim is called, instead of having it made from a template."""

    @classmethod
    @asynccontextmanager
    async def open(cls, cluster: Cluster, api: Api, processes: Processes) -> AsyncIterator["World"]:
        number = next(_numbers)
        devices = cluster.root / f"devices-{number}"
        devices.mkdir()
        world = cls(cluster, api, processes, f"test-{number}", f"toy{number}.example.com", devices)
        await api.create("/api/v1/namespaces", {"metadata": {"name": world.namespace}})
        await world.create_class(world.driver)
        try:
            yield world
        finally:
            await world.end_pods()
            await api.delete(f"/api/v1/namespaces/{world.namespace}")

    # ── Paths ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    @property
    def slices(self) -> str:
        return "/apis/resource.k8s.io/v1/resourceslices"

    @property
    def plugin_dir(self) -> Path:
        return self.cluster.plugin_dir if self.drivers_dir is None else self.drivers_dir / "plugins_registry"

    # ── Devices: a file each, its content what a detector reads ───────────────────────────────────────────────────────────────────────

    def device(self, name: str, text: str = "Healthy") -> None:
        """Written as `podvitals inject` does, at once or not at all."""
        partial = self.devices.with_name(f".{self.devices.name}-{name}")
        partial.write_text(text)
        partial.rename(self.devices / name)

    # ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def scripted(
        self, *devices: str, versions: Sequence[str] = ALL_VERSIONS, unimplemented: bool = False
    ) -> AsyncIterator[ScriptedDriver]:
        """A driver in this process that says what the test tells it; registered, its devices published. Its pods end before it does."""
        directory = self.drivers_dir or self.cluster.kubelet_dir
        driver = ScriptedDriver(self.driver, directory, self.allocation, versions=versions, unimplemented=unimplemented)
        async with driver:
            async with asyncio.timeout(10):
                await driver.registered.wait()
            await self.publish(*devices)
            try:
                yield driver
            finally:
                await self.end_pods()

    def run_driver(self, *arguments: str, lease: float = 3.0) -> Process:
        """`podvitals driver` with simulated devices, a file each in `devices`."""
        detector = f"sim:{self.devices},interval={lease / 3:g},lease={lease:g}"
        return self.processes.python("driver", "-m", "podvitals", "driver", self.driver, "--detector", detector, *self.flags(), *arguments)

    def run_upstream(self, *devices: str, **flags: str) -> Process:
        """A driver by the upstream helper of this release (kubernetes/driver.go); its health is in `devices`, a file each."""
        given = {
            "name": self.driver,
            "node": NODE,
            "registry": str(self.plugin_dir),
            "data": str(self.cluster.root / f"go-{self.namespace}"),
            "cdi-dir": str(self.cluster.cdi_dir),
            "devices": ",".join(devices),
            "state": str(self.devices),
            **{name.replace("_", "-"): value for name, value in flags.items()},
        }
        arguments = [f"--{name}={value}" for name, value in given.items()]
        return self.processes.start("driver", [str(self.cluster.root / "bin" / "driver"), *arguments])

    def run_script(self, script: Path, *arguments: str, **environment: str) -> Process:
        """A driver somebody wrote with the SDK; its name and its directory of devices are in its environment."""
        return self.processes.python(
            script.stem, str(script), *self.flags(), *arguments, DRIVER_NAME=self.driver, DEVICES=str(self.devices), **environment
        )

    def flags(self) -> list[str]:
        rights = self.cluster.kubeconfig_for_service_account("kube-system", "podvitals-driver")
        where = ["--plugin-dir", str(self.plugin_dir), "--cdi-dir", str(self.cluster.cdi_dir)]
        return ["--node-name", NODE, "--kubeconfig", str(rights), *where]

    def run_agent(self, *arguments: str) -> Process:
        """With the rights of deploy/agent-rbac.yaml and no others."""
        kubeconfig = self.cluster.kubeconfig_for_service_account("kube-system", "podvitals-agent")
        where = ["--plugin-dir", str(self.cluster.plugin_dir), "--state-dir", str(self.cluster.root / f"agent-{next(_numbers)}")]
        flags = ["--node-name", NODE, "--kubeconfig", str(kubeconfig), *where]
        return self.processes.python("agent", "-m", "podvitals", "agent", *flags, *arguments)

    # ── Pods ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_class(self, driver: str) -> None:
        """A DeviceClass with the driver's name and all its devices."""
        selector = {"cel": {"expression": f"device.driver == {driver!r}"}}
        await self.api.create("/apis/resource.k8s.io/v1/deviceclasses", {"metadata": {"name": driver}, "spec": {"selectors": [selector]}})

    async def run_pod(self, name: str = "trainer", **spec: Any) -> Object:
        """A pod whose container holds devices of the driver, through a ResourceClaimTemplate (see create_pod); returns once it runs."""
        await self.create_pod(name, **spec)
        return await self.pod(name, lambda pod: pod["status"].get("phase") == "Running", within=30)

    async def create_pod(self, name: str, *, of: str = "", count: int = 1, command: Sequence[str] = (), restart: str = "Always") -> Object:
        """`of`: a device class other than the driver's."""
        claim = name if self.equal_names else "devices"
        container: Object = {"name": "main", "image": "none", "resources": {"claims": [{"name": claim}]}, "command": list(command)}
        spec = {
            "terminationGracePeriodSeconds": 1,
            "restartPolicy": restart,
            "containers": [container],
            "resourceClaims": [{"name": claim, await self._create_claim(name, of, count): name}],
        }
        return await self.api.create(self.pods, {"metadata": {"name": name}, "spec": spec})

    async def _create_claim(self, name: str, of: str, count: int) -> str:
        """What a pod's claims are given by then."""
        request = {"name": "device", "exactly": {"deviceClassName": of or self.driver, "count": count}}
        claim: Object = {"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}
        of_namespace = f"/apis/resource.k8s.io/v1/namespaces/{self.namespace}"
        if self.equal_names:
            await self.api.create(f"{of_namespace}/resourceclaims", claim)
            return "resourceClaimName"
        await self.api.create(f"{of_namespace}/resourceclaimtemplates", {"metadata": {"name": name}, "spec": {"spec": claim["spec"]}})
        return "resourceClaimTemplateName"

    def output(self, pod: Object) -> str:
        """What its containers printed, in the form the kubelet keeps it."""
        name = f"{self.namespace}_{pod['metadata']['name']}_{pod['metadata']['uid']}"
        return "\n".join(path.read_text() for path in sorted((self.cluster.root / "podlogs" / name).rglob("*.log")))

    async def publish(self, *devices: str) -> None:
        """A ResourceSlice of the driver, for drivers that do not publish their own."""
        pool = {"name": NODE, "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": self.driver, "nodeName": NODE, "pool": pool, "devices": [{"name": name} for name in devices]}
        await self.api.create(self.slices, {"metadata": {"generateName": f"{NODE}-{self.driver}-"}, "spec": spec})

    async def allocation(self, claim: ClaimRef) -> list[PreparedDevice]:
        """What the scheduler gave a claim, as a driver prepares it."""
        found = await self.api.get(f"/apis/resource.k8s.io/v1/namespaces/{claim.namespace}/resourceclaims/{claim.name}")
        results = found["status"]["allocation"]["devices"]["results"]
        return [PreparedDevice((each["request"],), each["pool"], each["device"], ()) for each in results if each["driver"] == self.driver]

    async def end_pods(self) -> None:
        """While their driver still runs: a kubelet tries to unprepare for ever. Bounded, for a driver may be what a test broke."""
        async with self.api.watching(self.pods) as events:
            left = {pod["metadata"]["name"] for pod in (await self.api.get(self.pods))["items"]}
            for name in left:
                await self.api.delete(f"{self.pods}/{name}", grace=1)
            try:
                async with asyncio.timeout(5 if left else 0):
                    async for kind, pod, _ in events:
                        if kind == "DELETED":
                            left.discard(pod["metadata"]["name"])
                        if not left:
                            break
            except TimeoutError:
                pass

    async def pod(self, name: str, true_of: Callable[[Object], Any], *, within: float = 10) -> Object:
        return await self.api.until(self.pods, true_of, fields=f"metadata.name={name}", within=within)

    async def slice_of_driver(self, true_of: Callable[[Object], Any] = bool, *, within: float = 15) -> Object:
        """A ResourceSlice of the driver, as soon as there is one of which the condition holds."""
        return await self.api.until(self.slices, true_of, fields=f"spec.driver={self.driver}", within=within)


def field_of(pod: Object) -> dict[str, tuple[str, str]]:
    """resourceID → (health, message) of allocatedResourcesStatus, of whatever container."""
    statuses = [*pod["status"].get("containerStatuses", ()), *pod["status"].get("initContainerStatuses", ())]
    return {
        resource["resourceID"]: (resource["health"], resource.get("message", ""))
        for status in statuses
        for entry in status.get("allocatedResourcesStatus", ())
        for resource in entry["resources"]
    }


def healths(pod: Object) -> list[str]:
    return sorted(health for health, _ in field_of(pod).values())


def condition(pod: Object, kind: str = "podvitals.dev/DevicesHealthy") -> Object:
    return next((each for each in pod["status"].get("conditions", ()) if each["type"] == kind), {})


def writers(pod: Object, part: str) -> set[str]:
    """Who wrote a part of the object, such as containerStatuses (a list owned as a whole), by its managedFields."""
    return {entry["manager"] for entry in pod["metadata"]["managedFields"] if f"f:{part}" in json.dumps(entry["fieldsV1"])}


def entries(pod: Object) -> list[Object]:
    """The devices in the agent's annotation."""
    found: list[Object] = json.loads(pod["metadata"].get("annotations", {}).get("podvitals.dev/devices", "{}")).get("devices", [])
    return found
