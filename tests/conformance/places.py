"""Where the node suite is played: the lab, and a real Kubernetes, each with what is needed to look at its kubelet or at an agent."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from podvitals.kube.client import Client
from podvitals.kube.locate import load_config
from podvitals.testing.conformance.node import NodeSettings
from podvitals.testing.conformance.node.reading import Reads
from tests.cluster.cluster import NODE, Cluster

PODVITALS = [sys.executable, "-m", "podvitals"]
_numbers = itertools.count(1)

Restart = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Place:
    """A node and the cluster it belongs to."""

    kubeconfig: Path
    directory: Path
    node: str
    cdi_dir: Path

    def settings(self, reads: Reads, *, patience: float, restart: Restart | None = None, soon: float = 1.0) -> NodeSettings:
        return NodeSettings(self.directory / "plugins_registry", self.node, reads, self.cdi_dir, "none", patience, restart, soon=soon)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with Client(await asyncio.to_thread(load_config, self.kubeconfig)) as client:
            yield client


@contextmanager
def lab(*arguments: str) -> Iterator[tuple[Place, Restart]]:
    """`podvitals lab`, once its story is told; and how to kill its agent, which it starts again."""
    with tempfile.TemporaryDirectory(prefix="pv-conf-", dir="/tmp") as directory:
        root, said = Path(directory) / "lab", Path(directory) / "lab.log"
        with said.open("wb") as out:
            process = subprocess.Popen([*PODVITALS, "lab", "--dir", str(root), "--device", "file", *arguments], stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + 60
            while "stays up" not in (text := said.read_text()):
                assert process.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.05)

            async def kill_agent() -> None:
                run = json.loads(await asyncio.to_thread((root / "run.json").read_text))
                os.kill(next(child["pid"] for child in run["children"] if child["name"] == "agent"), signal.SIGKILL)

            yield Place(root / "kubeconfig", root, "lab", root / "cdi"), kill_agent
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def real(cluster: Cluster) -> Place:
    return Place(cluster.kubeconfig, cluster.kubelet_dir, NODE, cluster.cdi_dir)


@asynccontextmanager
async def agent(cluster: Cluster) -> AsyncIterator[Restart]:
    """An agent beside the real kubelet, with the rights of deploy/agent-rbac.yaml; and how to kill it and start it again."""
    kubeconfig = await asyncio.to_thread(cluster.kubeconfig_for_service_account, "kube-system", "podvitals-agent")
    flags = ["--node-name", NODE, "--kubeconfig", str(kubeconfig), "--plugin-dir", str(cluster.plugin_dir)]
    state = ["--state-dir", str(cluster.root / f"agent-conformance-{next(_numbers)}")]
    running: list[asyncio.subprocess.Process] = []

    async def start() -> None:
        with cluster.log("conformance-agent").open("ab") as log:
            running.append(
                await asyncio.create_subprocess_exec(*PODVITALS, "agent", *flags, *state, stdout=log, stderr=log, env=cluster.environment)
            )

    async def restart() -> None:
        running[-1].kill()
        await running[-1].wait()
        await start()

    await start()
    try:
        yield restart
    finally:
        running[-1].terminate()
        await running[-1].wait()


@asynccontextmanager
async def relay(cluster: Cluster) -> AsyncIterator[Place]:
    """A relay before the real kubelet: drivers register with it, and the kubelet's field is read."""
    directory = cluster.root / f"relay-conformance-{next(_numbers)}"
    await asyncio.to_thread((directory / "plugins_registry").mkdir, parents=True)
    flags = [
        "--plugin-dir",
        str(directory / "plugins_registry"),
        "--kubelet-dir",
        str(cluster.plugin_dir),
        "--run-dir",
        str(directory / "run"),
    ]
    with cluster.log("conformance-relay").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*PODVITALS, "relay", *flags, stdout=log, stderr=log, env=cluster.environment)
    try:
        yield replace(real(cluster), directory=directory)
    finally:
        process.terminate()
        await process.wait()
