"""How long until a process that was just started is of use, Python's own start included."""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from tests.bench.stats import median
from tests.bench.subject import PODVITALS, Child, Subject
from tests.bench.table import Row
from tests.cluster.api import Api
from tests.cluster.subjects import healths

PATIENCE = 30.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
STARTED = "start-up.example.com"


async def driver(subject: Subject, times: int) -> list[Row]:
    """A driver until its devices are published, which is after the kubelet took it in."""
    return [await _row(subject.name, "driver start → devices published", [await _driver(subject) for _ in range(times)])]


async def agent(subject: Subject, times: int) -> list[Row]:
    """An agent until it renews its lease."""
    return [await _row(subject.name, "agent start → its lease renewed", [await _agent(subject) for _ in range(times)])]


async def measure_lab(times: int) -> Row:
    return await _row("lab", "start → first pod Running, its device Healthy", [await _lab() for _ in range(times)], limit=2000.0)


async def _row(subject: str, what: str, milliseconds: list[float], limit: float | None = None) -> Row:
    found = median(milliseconds)
    goal, met = ("", None) if limit is None else (f"≤ {limit:.0f} ms", found.value <= limit)
    return Row(subject, what, len(milliseconds), "ms", found, goal=goal, met=met)


async def _driver(subject: Subject) -> float:
    with tempfile.TemporaryDirectory(prefix="pv-bench-") as devices:
        await asyncio.to_thread(Path(devices, "gpu-0").write_text, "Healthy\n")
        where = ["--plugin-dir", str(subject.kubelet_dir / "plugins_registry"), "--cdi-dir", str(subject.kubelet_dir.parent / "cdi")]
        flags = ["--node-name", subject.node, "--kubeconfig", str(subject.kubeconfig), *where]
        async with Api(subject.kubeconfig) as api, api.watching(SLICES, f"fieldSelector=spec.driver={STARTED}") as events:
            began = time.monotonic()
            async with Child.running(
                [*PODVITALS, "driver", STARTED, "--detector", f"sim:{devices}", *flags], subject.log("started"), subject.environment
            ):
                async with asyncio.timeout(PATIENCE):
                    async for kind, found, received in events:
                        if kind == "ADDED":
                            await api.delete(f"{SLICES}/{found['metadata']['name']}")
                            return (received - began) * 1000
    raise RuntimeError("the watch of resource slices ended")


async def _agent(subject: Subject) -> float:
    fields = f"fieldSelector=metadata.name=podvitals-{subject.node}"
    async with Api(subject.kubeconfig) as api, api.watching(LEASES, fields) as events:
        before = {each["spec"]["renewTime"] for each in (await api.get(f"{LEASES}?{fields}"))["items"]}
        began = time.monotonic()
        async with Child.running(subject.agent, subject.log("agent"), subject.environment):
            async with asyncio.timeout(PATIENCE):
                async for _, lease, received in events:
                    if lease["spec"]["renewTime"] not in before:
                        return (received - began) * 1000
    raise RuntimeError("the watch of leases ended")


async def _lab() -> float:
    with tempfile.TemporaryDirectory(prefix="pv-bench-") as directory:
        root = Path(directory) / "lab"
        began = time.monotonic()
        async with Child.running([*PODVITALS, "lab", "--dir", str(root), "--device", "file"], Path(directory) / "log", os.environ) as child:
            reading = asyncio.create_task(child.read_on(), name="bench: the lab's output")
            try:
                async with asyncio.timeout(PATIENCE):
                    return (await _first_pod(root / "kubeconfig") - began) * 1000
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)


async def _first_pod(kubeconfig: Path) -> float:
    """When the lab's pod was seen running with a healthy device; there is no API to watch until the lab serves one."""
    while True:
        try:
            async with Api(kubeconfig) as api, api.watching("/api/v1/namespaces/default/pods") as events:
                async for _, pod, received in events:
                    if pod["status"].get("phase") == "Running" and healths(pod) == ["Healthy"]:
                        return received
        except (OSError, ValueError):
            await asyncio.sleep(0.01)
