"""A cluster for the people's verbs: a live API server, and each command a process of its own."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podvitals.claim.times import rfc3339_micro
from podvitals.clock import SYSTEM
from podvitals.device.health import Health
from podvitals.kube.client import Client
from podvitals.kube.resources import LEASES, PODS
from podvitals.pod.entry import ANNOTATION, DeviceEntry, PodDevices

NODE, DRIVER = "gpu-07", "gpu.example.com"


@dataclass(slots=True)
class Cluster:
    client: Client
    kubeconfig: Path

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        process = await self.start(*arguments)
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "COLUMNS": "140"}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(sys.executable, "-m", "podvitals", *arguments, stdout=pipe, stderr=pipe, env=env)

    async def pod(self, name: str, *entries: DeviceEntry, labels: dict[str, str] | None = None) -> None:
        meta: dict[str, Any] = {"name": name, "labels": labels or {}}
        if entries:
            meta["annotations"] = {ANNOTATION: PodDevices(NODE, "0.1.0", entries).encode()}
        container = {"name": "train", "image": "none", "command": ["true"]}
        await self.client.create(PODS, {"metadata": meta, "spec": {"nodeName": NODE, "containers": [container]}}, "default")

    async def annotate(self, name: str, *entries: DeviceEntry) -> None:
        body = {"metadata": {"annotations": {ANNOTATION: PodDevices(NODE, "0.1.0", entries).encode()}}}
        await self.client.patch(PODS, name, body, "default", kind="merge")

    async def agent_seen(self, ago: float) -> None:
        lease = {"metadata": {"name": f"podvitals-{NODE}"}, "spec": {"renewTime": rfc3339_micro(SYSTEM.wall() - ago)}}
        await self.client.create(LEASES, lease, "kube-system")


def kubeconfig_for(url: str, directory: Path) -> Path:
    path = directory / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "lab",
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
                "clusters": [{"name": "lab", "cluster": {"server": url}}],
                "users": [{"name": "lab", "user": {}}],
            }
        )
    )
    return path


def device(name: str, health: Health = Health.HEALTHY, message: str = "") -> DeviceEntry:
    return DeviceEntry("train", DRIVER, NODE, name, health, entry="claim:gpus", claim="gpus", message=message)
