"""Silent agents: whatever keeps an agent from speaking, every reader says Unknown and why once its Lease is 40 s old, and the truth again
when it is back. Real processes: the agent, and `kubectl vitals`; the time is the API server's, and moved by hand."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from podvitals.claim.times import unix
from podvitals.device.health import Health
from podvitals.errors import NotFound
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.resources import LEASES
from podvitals.lab.api import ApiServer
from podvitals.testing import FakeDriver, ManualClock
from tests.agent.cluster import DRIVER, Cluster, reports
from tests.agent.proxy import Proxy

AGENT = "import podvitals.agent.lease as lease; lease.PERIOD = 0.2; from podvitals.cli.main import main; main()"
"""As ever, but that it renews its Lease more often: what the test would wait for is the time between two renewals."""
VITALS = "from podvitals.__main__ import kubectl_vitals; kubectl_vitals()"
LEASE = "podvitals-node1"


class Scene:
    def __init__(self, cluster: Cluster, clock: ManualClock, proxy: Proxy, url: str) -> None:
        self.cluster, self.clock, self.proxy = cluster, clock, proxy
        self.reader, self.behind = cluster.path / "reader.json", cluster.path / "agent.json"
        for path, server in ((self.reader, url), (self.behind, proxy.url)):
            path.write_text(json.dumps(_kubeconfig(server)))
        self._agents: AsyncExitStack = AsyncExitStack()
        self.agent: asyncio.subprocess.Process

    async def start_agent(self) -> None:
        settings = self.cluster.settings
        flags = ["--node-name", "node1", "--plugin-dir", str(settings.plugin_dir), "--state-dir", str(settings.state_dir)]
        self.agent = await self._agents.enter_async_context(_process(AGENT, "agent", *flags, "--kubeconfig", str(self.behind)))

    async def renewed(self) -> float:
        """Until the Lease is renewed, by the API server's clock; that second."""
        async with asyncio.timeout(15):
            while True:
                try:
                    lease = await self.cluster.client.get(LEASES, LEASE, "kube-system")
                except NotFound:
                    lease = None
                if lease is not None and (unix(lease.spec.renew_time) or 0.0) >= self.clock.wall() - 5:
                    return unix(lease.spec.renew_time) or 0.0
                await asyncio.sleep(0.02)

    async def vitals(self, *words: str) -> str:
        async with _process(VITALS, *words, "--kubeconfig", str(self.reader)) as process:
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def health(self) -> str:
        """What `kubectl vitals get pods` says of the pod's devices."""
        line = next(line for line in (await self.vitals("get", "pods")).splitlines() if line.split()[0] == "a")
        return next(word for word in line.split() if word in tuple(Health))

    async def close(self) -> None:
        await self._agents.aclose()


@asynccontextmanager
async def _process(script: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PODVITALS")}
    pipe = asyncio.subprocess.PIPE
    quiet = (
        {"stdout": pipe, "stderr": pipe}
        if script == VITALS
        else {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, *words, env=environment, **quiet)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _kubeconfig(server: str) -> dict[str, object]:
    entry = {"name": "x"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [entry | {"cluster": {"server": server}}],
        "users": [entry | {"user": {}}],
        "contexts": [entry | {"context": {"cluster": "x", "user": "x", "namespace": "default"}}],
        "current-context": "x",
    }


@pytest.fixture
async def driver(short: Path) -> AsyncIterator[FakeDriver]:
    async with FakeDriver(short, DRIVER) as driver:
        driver.report(reports(Health.HEALTHY, lease=3600.0))
        yield driver


@pytest.fixture
async def scene(short: Path, driver: FakeDriver) -> AsyncIterator[Scene]:
    """A pod whose device is Healthy, as its agent and every reader says."""
    clock = ManualClock()
    async with ApiServer(clock=clock) as api, Client(ClusterConfig(api.url), clock=clock) as client, Proxy(api.url) as proxy:
        scene = Scene(Cluster(short, client), clock, proxy, api.url)
        try:
            await scene.start_agent()
            await scene.cluster.pod("a", "gpu-0")
            await scene.cluster.condition("a", "True")
            await scene.renewed()
            assert await scene.health() == "Healthy"
            yield scene
        finally:
            await scene.close()


async def stop(scene: Scene) -> None:
    scene.agent.send_signal(signal.SIGSTOP)


async def go_on(scene: Scene) -> None:
    scene.agent.send_signal(signal.SIGCONT)


async def end(scene: Scene) -> None:
    scene.agent.send_signal(signal.SIGTERM)
    await scene.agent.wait()


async def kill(scene: Scene) -> None:
    scene.agent.kill()
    await scene.agent.wait()


async def part(scene: Scene) -> None:
    await scene.proxy.cut()


async def join(scene: Scene) -> None:
    await scene.proxy.mend()


SILENCES = {
    "stopped": (stop, go_on),
    "partitioned": (part, join),
    "deleted": (end, Scene.start_agent),
    "killed": (kill, Scene.start_agent),
}


@pytest.mark.parametrize("how", SILENCES)
async def test_the_devices_of_a_silent_agent_read_unknown_after_40_s_and_true_again_when_it_is_back(
    scene: Scene, driver: FakeDriver, how: str
) -> None:
    silence, back = SILENCES[how]
    await silence(scene)
    await scene.clock.advance(38)
    assert await scene.health() == "Healthy", "a Lease of 38 s may yet be renewed"
    # What nobody tells any more: the device breaks.
    driver.report(reports(Health.UNHEALTHY, "Xid 79", lease=3600.0))
    await scene.clock.advance(4)
    assert await scene.health() == "Unknown"
    page = await scene.vitals("describe", "pod", "a")
    assert "agent on node1 silent since " in page
    assert "; last known: Healthy" in page
    await back(scene)
    await scene.cluster.condition("a", "False")
    await scene.renewed()
    assert await scene.health() == "Unhealthy"
    assert "Xid 79" in await scene.vitals("describe", "pod", "a")


async def test_an_agent_whose_lease_was_deleted_reads_unknown_until_it_makes_it_anew(scene: Scene) -> None:
    await stop(scene)
    await scene.cluster.client.delete(LEASES, LEASE, "kube-system")
    assert await scene.health() == "Unknown"
    page = await scene.vitals("describe", "pod", "a")
    assert "agent on node1 silent and has left no Lease; last known: Healthy" in page
    await go_on(scene)
    await scene.renewed()
    assert await scene.health() == "Healthy"
