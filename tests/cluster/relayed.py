"""A relay between the drivers of a test and the kubelet."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.api import Object
from tests.cluster.cluster import NODE
from tests.cluster.subjects import Process, World

TAKEN = "the kubelet has registered it"
"""What a relay says then. A slice that is published before gets its pod placed too early: its prepare fails, with and without a relay."""


class Relayed:
    """A relay of this test's own; the drivers of its world register with it from then on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.place = world.drivers_dir = world.cluster.root / f"r-{world.namespace}"
        (self.place / "plugins_registry").mkdir(parents=True)

    def start(self, *arguments: str) -> Process:
        flags = ["--plugin-dir", str(self.place / "plugins_registry"), "--kubelet-dir", str(self.world.cluster.plugin_dir)]
        return self.world.processes.python("relay", "-m", "podvitals", "relay", *flags, "--run-dir", str(self.run_dir), *arguments)

    async def bypass(self, *arguments: str) -> None:
        flags = ["--plugin-dir", str(self.place / "plugins_registry"), "--kubelet-dir", str(self.world.cluster.plugin_dir)]
        command = [sys.executable, "-m", "podvitals", "relay", "bypass", self.world.driver, *flags, "--run-dir", str(self.run_dir)]
        await asyncio.to_thread(subprocess.run, [*command, *arguments], check=True, capture_output=True, timeout=20)

    def speak_for(self, *detectors: str) -> Process:
        """`podvitals driver --health-for`, registered with the relay."""
        rights = self.world.cluster.kubeconfig_for_service_account("kube-system", "podvitals-driver")
        where = ["--node-name", NODE, "--kubeconfig", str(rights), "--plugin-dir", str(self.place / "plugins_registry")]
        given = [flag for detector in detectors for flag in ("--detector", detector)]
        return self.world.processes.python("source", "-m", "podvitals", "driver", "--health-for", self.world.driver, *given, *where)

    @property
    def run_dir(self) -> Path:
        return self.place / "run"

    async def holds_a_call(self) -> None:
        """Returns once a call waits in the relay for its driver. There is no event for that: looks again, not for ever."""
        async with asyncio.timeout(10):
            while not any(driver["calls"]["held"] for driver in (await self.state())["drivers"]):
                await asyncio.sleep(0.05)

    async def state(self) -> Object:
        async with asyncio.timeout(5):
            while not (self.run_dir / "relay.sock").exists():
                await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_unix_connection(self.run_dir / "relay.sock")
        writer.write(b"GET /state HTTP/1.1\r\n\r\n")
        answer: Object = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
        writer.close()
        return answer
