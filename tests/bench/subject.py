"""What is measured, as processes: a Kubernetes (a real one, the lab, or the lab's API server alone) with the agent beside it."""

import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cluster import NODE, Cluster

REPOSITORY = Path(__file__).parents[2]
PODVITALS = [sys.executable, "-m", "podvitals"]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Subject:
    """A running API with a node. `agent`: how to run one on it; none where it runs its own, process `agent_pid`.
    `rights`: the kubeconfig of the agent, and of the bare patches it is compared with. `state_dir`: the agent's. `kubelet_pid`: the
    kubelet's; 0: nobody runs pods, prepares claims or registers drivers here, and the bench says itself that its pods run."""

    name: str
    kubeconfig: Path
    kubelet_dir: Path
    node: str
    environment: Mapping[str, str]
    rights: Path
    state_dir: Path
    agent: Sequence[str] = ()
    agent_pid: int = 0
    kubelet_pid: int = 0
    real: bool = False
    kubelet: str = ""
    """Where a real kubelet answers."""

    def log(self, process: str) -> Path:
        return self.kubeconfig.with_name(f"bench-{process}.log")

    @property
    def agent_socket(self) -> Path:
        return self.state_dir / "agent.sock"

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

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def real(version: str) -> AsyncIterator[Subject]:
    """A Kubernetes of its own."""
    cluster = await asyncio.to_thread(Cluster(version).up)
    try:
        for rights in sorted((REPOSITORY / "deploy").glob("*-rbac.yaml")):
            await asyncio.to_thread(cluster.run_kubectl, "apply", "-f", str(rights))
        yield await asyncio.to_thread(on, cluster)
    finally:
        await asyncio.to_thread(cluster.down)


def on(cluster: Cluster) -> Subject:
    """A Kubernetes that runs; the agent with exactly the rights of deploy/agent-rbac.yaml. Blocks."""
    kubeconfig = cluster.kubeconfig_for_service_account("kube-system", "podvitals-agent")
    flags = ["--node-name", NODE, "--kubeconfig", str(kubeconfig), "--plugin-dir", str(cluster.plugin_dir)]
    return Subject(
        name=f"Kubernetes {cluster.version}",
        kubeconfig=cluster.kubeconfig,
        kubelet_dir=cluster.kubelet_dir,
        node=NODE,
        environment=cluster.environment,
        rights=kubeconfig,
        state_dir=cluster.root / "agent",
        agent=[*PODVITALS, "agent", *flags, "--state-dir", str(cluster.root / "agent")],
        kubelet_pid=_process_running(cluster.root / "bin" / "kubelet"),
        real=True,
        kubelet=cluster.kubelet_url,
    )


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
            config, state = root / "kubeconfig", root / "agent"
            try:
                yield Subject(
                    "lab", config, root, "lab", os.environ, config, state, agent_pid=children["agent"], kubelet_pid=child.process.pid
                )
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def api() -> AsyncIterator[Subject]:
    """The lab's API server as a process, and an agent for whoever wants one: nothing else takes time from what is measured."""
    with tempfile.TemporaryDirectory(prefix="pv-bench-") as directory:
        root = Path(directory)
        async with Child.running([sys.executable, "-m", "tests.bench.apiserver", directory], root / "api.log", os.environ) as child:
            await child.line()
            config, state = root / "kubeconfig", root / "state"
            flags = ["--node-name", "lab", "--kubeconfig", str(config), "--plugin-dir", str(root / "plugins_registry")]
            agent = [*PODVITALS, "agent", *flags, "--state-dir", str(state)]
            yield Subject("lab's API", config, root, "lab", os.environ, config, state, agent=agent)


def rss(pid: int) -> float:
    """MB of memory the process holds now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def cpu(pid: int) -> float:
    """Seconds the threads of a process have run, to the nanosecond; 0.0 where the kernel does not count them."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_bytes().split()[0])
        except (OSError, ValueError):
            continue
    return total / 1e9


def _process_running(program: Path) -> int:
    """The process whose command is this file, as it was started."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == os.fsencode(program):
                return int(entry.name)
    raise RuntimeError(f"{program} does not run")


async def until(there: "asyncio.Future[float]", within: float) -> float:
    """The second of a sighting."""
    async with asyncio.timeout(within):
        return await there


def milliseconds_since(began: float) -> float:
    return (time.monotonic() - began) * 1000
