"""The lab as one process: API server, scheduler, kubelet and what keeps the children; they meet at the API over HTTP, as in a cluster."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from podvitals.clock import Clock
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer, ApiSettings
from podvitals.lab.children import Child
from podvitals.lab.estate import NODE, Estate
from podvitals.lab.kubelet.backoff import BackoffSettings
from podvitals.lab.kubelet.gates import Gates
from podvitals.lab.kubelet.run import Kubelet, KubeletSettings
from podvitals.lab.scheduler.run import Scheduler
from podvitals.node.watch import NodeSettings, NodeWatch


@dataclass(frozen=True, slots=True)
class LabSettings:
    backoff: BackoffSettings = field(default_factory=BackoffSettings)
    gates: Gates = field(default_factory=Gates)


class Lab:
    """`run(main)`: the control plane round `main`; ends with it. `told` hears of children that ended by themselves and came back."""

    def __init__(self, estate: Estate, settings: LabSettings, clock: Clock, told: Callable[[str], None]) -> None:
        self.estate, self.clock = estate, clock
        self._settings, self._told = settings, told
        self.config = ClusterConfig(estate.url, source="the lab")

    async def run(self, main: Callable[["Lab", Client], Awaitable[int]]) -> int:
        server = ApiServer(ApiSettings(prefix=self.estate.prefix, sock=self.estate.sock), self.clock)
        async with server, Client(self.config, clock=self.clock) as client:
            layout = self.estate.layout
            watch = NodeWatch(NodeSettings(plugin_dir=layout.plugins_registry, checkpoint=layout.checkpoint), self.clock, registrar=True)
            kubelet = Kubelet(client, watch, self._kubelet_settings(), self.clock)
            server.log_source = kubelet.log_source
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(_after(watch.loaded, kubelet), name="lab: kubelet"),
                    tasks.create_task(Scheduler(client, self.clock).run(), name="lab: scheduler"),
                    tasks.create_task(watch.run(), name="lab: drivers"),
                    *(
                        tasks.create_task(child.keep(self._ended, self._back), name=f"lab: {child.spec.name}")
                        for child in self.estate.children
                    ),
                ]
                code = await main(self, client)
                for task in running:
                    task.cancel()
            return code

    def _kubelet_settings(self) -> KubeletSettings:
        layout = self.estate.layout
        return KubeletSettings(
            NODE,
            layout.cdi,
            layout.pod_logs,
            layout.pods,
            layout.memory,
            self._settings.backoff,
            self._settings.gates,
            self.estate.environment,
        )

    async def _ended(self, child: Child, code: int) -> None:
        words = await asyncio.to_thread(child.last_words) if code > 0 else ""
        self._told(f"{child.spec.name} ended ({_how(code)}){': ' + words if words else ''}; starting it again")

    async def _back(self, child: Child) -> None:
        await asyncio.to_thread(self.estate.note_children)
        self._told(f"{child.spec.name} runs again (pid {child.process.pid})")


async def _after(loaded: asyncio.Event, kubelet: Kubelet) -> None:
    """Before what is remembered of devices can be asked for, a pod's field would say that nothing is known of them."""
    await loaded.wait()
    await kubelet.run()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
