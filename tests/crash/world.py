"""A world: one node's agent, two drivers and the lab's kubelet as processes; its API server, the network and the readers in this one.

It keeps running from round to round; what a round killed is started again.
"""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import inf
from pathlib import Path

from podvitals.claim.pod import Pod
from podvitals.detect.detector import Reading
from podvitals.detect.sim import write_state
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.errors import InvalidInput
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.pod.entry import ANNOTATION, PodDevices, decode
from podvitals.pod.status import began, ended_at
from tests.crash import plan, times, twins
from tests.crash.api import BadApi
from tests.crash.disk import Disk
from tests.crash.lost import Life, Register, Told
from tests.crash.managed import Managed
from tests.crash.oracle import Judge, Ways, Wrong, claims_of_agent, claims_of_kubelet
from tests.crash.pods import Pods
from tests.crash.proxy import Proxy
from tests.crash.reader import Reader
from tests.crash.spawned import TOLD
from tests.crash.stage import Stage
from tests.crash.truth import Driver, State, Truth, serials, text_of
from tests.crash.truth import Path as Way

NODE = "crash"
LEASES = {"short": 2.0, "long": 20.0}


def driver_name(which: str) -> str:
    return f"{which}.crash.example"


def key_of(device: str) -> DeviceKey:
    return DeviceKey(driver_name("short" if device.startswith("s") else "long"), NODE, device)


class World(Stage):
    """`async with World.open(root) as world`."""

    net: Proxy
    """Between the agent and the API server; `net_kubelet`: between the rest of the node and it."""
    net_kubelet: Proxy
    client: Client
    reader: Reader
    pods: Pods
    agent: Managed
    kubelet: Managed
    drivers: dict[str, list[Managed]]
    """The instances of each driver, the newest last."""

    def __init__(self, root: Path, twin: str = "") -> None:
        super().__init__(root)
        self._twin = twin
        self.truth = Truth(times.current("podvitals.node.fact", "GONE_AFTER"))
        self.register = Register(self.truth, time.time() - time.monotonic())
        self.ways = Ways(Way(8.0), Way(10.0), {driver_name(which): Way(6.0) for which in plan.DRIVERS})
        self.judge = Judge(self.truth, self.ways, times.current("podvitals.fleet.inventory", "AGENT_SILENT_AFTER") + 1.0)
        self.api = BadApi()
        self.disk = Disk(root / "disk")
        self._shown: dict[str, str] = {}
        self._fields: dict[str, list[str]] = {}
        self._handed: dict[tuple[object, int], float] = {}
        """When a driver last handed a report to a listener, by their pids."""
        self._instances = 0

    def found(self, wrong: Wrong) -> None:
        super().found(wrong)
        self.reader.ring()

    # --- its beginning and its end -----------------------------------------------------------------------------------------------

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path, twin: str = "") -> AsyncIterator["World"]:
        world = cls(root, twin)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(world.api)
            port = int(world.api.url.split(":")[2].split("/")[0])
            world.net, world.net_kubelet = Proxy(port), Proxy(port)
            for proxy in (world.net, world.net_kubelet):
                await stack.enter_async_context(proxy)
            world._furnish()
            stack.callback(world.disk.unmount)
            world.client = await stack.enter_async_context(Client(ClusterConfig(world.api.url)))
            world.reader = Reader(world.client, NODE, world._seen, believes_the_dead=twin == "believes-the-dead")
            world.pods = Pods(world.client, world.reader, root / "fifo", world.note)
            stack.callback(world._listen().close)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            watching = {"crash: reader": world.reader.run(), "crash: oracle": world.look_on()}
            running = [tasks.create_task(each, name=name) for name, each in watching.items()]
            try:
                world._start()
                yield world
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*(one.end() for one in world.managed()))

    def managed(self) -> list[Managed]:
        return [self.agent, self.kubelet, *(one for instances in self.drivers.values() for one in instances)]

    def _furnish(self) -> None:
        for name in (
            "plugins_registry",
            "plugins",
            "cdi",
            "pods",
            "pod-logs",
            "kubelet",
            "logs",
            "fifo",
            *(f"sim-{d}" for d in plan.DRIVERS),
        ):
            (self.root / name).mkdir()
        self.disk.mount()
        for device in plan.DEVICES:
            write_state(self._file(device), Reading.healthy())
            self.truth.add(key_of(device), time.monotonic())
        for name, proxy in (("agent", self.net), ("kubelet", self.net_kubelet)):
            prefix = self.api.url.rpartition("/")[2]
            cluster = {"name": "lab", "cluster": {"server": f"http://127.0.0.1:{proxy.port}/{prefix}"}}
            context = {"name": "lab", "context": {"cluster": "lab", "user": "lab"}}
            users = [{"name": "lab", "user": {}}]
            config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": users, "contexts": [context]}
            (self.root / f"{name}.kubeconfig").write_text(json.dumps(config | {"current-context": "lab"}))

    def _start(self) -> None:
        state = self.disk.path / "agent"
        common = ["--node-name", NODE, "--plugin-dir", str(self.root / "plugins_registry")]
        kubeconfig = ["--kubeconfig", str(self.root / "agent.kubeconfig")]
        self.agent = self._managed("agent", "agent", *common, *kubeconfig, "--state-dir", str(state), "--log-level", "debug")
        self.kubelet = self._managed(
            "kubelet", "kubelet", NODE, str(self.root), str(self.root / "kubelet.kubeconfig"), str(self.root / "kubelet")
        )
        self.drivers = {}
        for which, lease in LEASES.items():
            self.truth.drivers[driver_name(which)] = Driver(lease)
            self.drivers[which] = [self.new_driver(which)]
            self.start_driver(which, self.drivers[which][0])
        self.kubelet.start()
        self.start_agent()

    def _managed(self, name: str, *words: str) -> Managed:
        env = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
        env |= {TOLD: str(self.root / "told"), twins.VARIABLE: self._twin}
        argv = [sys.executable, "-m", "tests.crash.spawned", *words]
        return Managed(name, argv, env, self.root / "logs" / f"{name}.log", self._ended)

    # --- its processes -----------------------------------------------------------------------------------------------------------

    def start_agent(self) -> None:
        at = self.agent.start()
        self.register.lives[self.agent.pid] = Life(self.agent.pid, at)

    def agent_ended(self, at: float) -> None:
        life = self.register.lives[self.agent.pid]
        life.stopped.end(at)
        life.end = min(life.end, at)

    def new_driver(self, which: str) -> Managed:
        """Another instance of the driver, as a rolling update starts beside the old one."""
        self._instances += 1
        detector = f"sim:{self.root / f'sim-{which}'},interval=0.5,timeout=0.4,lease={LEASES[which]:g}"
        flags = ["--node-name", NODE, "--plugin-dir", str(self.root / "plugins_registry"), "--cdi-dir", str(self.root / "cdi")]
        flags += ["--kubeconfig", str(self.root / "kubelet.kubeconfig"), "--rolling-update", "--pod-uid", f"uid-{self._instances}"]
        return self._managed(f"driver-{which}", "driver", driver_name(which), "--detector", detector, *flags)

    def start_driver(self, which: str, instance: Managed) -> None:
        at = instance.start()
        self.truth.drivers[driver_name(which)].started(instance.pid, at)

    def _ended(self, process: Managed, code: int) -> None:
        now = time.monotonic()
        if process is self.agent:
            self.agent_ended(now)
        for which, instances in self.drivers.items():
            if process in instances:
                self.truth.drivers[driver_name(which)].died(process.pid, now)
        self.found(Wrong("died", f"{process.name} (pid {process.pid}) ended by itself with code {code}: its log says why"))

    # --- the truth ---------------------------------------------------------------------------------------------------------------

    def change(self, device: str, health: Health) -> None:
        """The device's file says so from now on."""
        key, serial = key_of(device), 0
        reading = Reading.healthy()
        if health is not Health.HEALTHY:
            serial = self.truth.next_serial()
            reading = Reading(health, text_of(serial))
        # Before the file changes: nobody can have said the old thing later than that.
        self.truth.write(key, State(time.monotonic(), health, serial))
        write_state(self._file(device), reading)
        self.note(f"truth  {device} {health}" + (f" n={serial}" if serial else ""))

    def _file(self, device: str) -> Path:
        return self.root / ("sim-short" if device.startswith("s") else "sim-long") / device

    # --- what is seen ------------------------------------------------------------------------------------------------------------

    def _listen(self) -> socket.socket:
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(str(self.root / "told"))
        told.setblocking(False)

        def take() -> None:
            with suppress(BlockingIOError):
                while True:
                    self._told(json.loads(told.recv(1 << 16)))

        asyncio.get_running_loop().add_reader(told.fileno(), take)
        return told

    def _told(self, line: dict[str, object]) -> None:
        said = line["said"]
        assert isinstance(said, list)
        at, to = line["at"], line["to"]
        assert isinstance(at, float)
        assert isinstance(to, int)
        for _, device, health, message in said:
            serial = max(serials(message), default=0)
            key = key_of(device)
            self.register.tell(Told(at, to, key, Health(health), serial))
        self._handed[line["driver"], to] = at
        for which in plan.DRIVERS:
            self.ways.drivers[driver_name(which)].worked(min(self._heard(which, self.agent), self._heard(which, self.kubelet)))

    def _heard(self, which: str, listener: Managed) -> float:
        """When this process last heard the newest instance of a driver; `-inf`: never yet."""
        return self._handed.get((self.drivers[which][-1].pid, listener.pid), -inf)

    def agent_works(self) -> bool:
        """The agent that runs hears every driver, and what it writes arrives: its Lease did, at the least."""
        if all(self._heard(which, self.agent) > -inf for which in plan.DRIVERS):
            self.ways.agent.worked(self.reader.renewed - self.register.wall)
        return self.ways.agent.works

    def _seen(self, pod: Pod, gone: bool) -> None:
        uid, name = pod.metadata.uid, pod.metadata.name
        if gone:
            self.note(f"seen   pod {name} is gone")
            self._shown.pop(uid, None)
            self._fields.pop(uid, None)
            return
        hold, end = self.pods.holds.get(uid), ended_at(pod)
        if hold is not None:
            if pod.status.start_time and not hold.begun:
                hold.start, hold.begun = max(hold.start, began(pod) - self.register.wall), True
            hold.end = min(hold.end, inf if end is None else end - self.register.wall)
        devices, fields = annotation_of(pod), _fields(pod)
        if self._fields.get(uid) != fields:
            self._fields[uid] = fields
            self.ways.kubelet.worked(time.monotonic())
        if devices is not None:
            self.register.seen(uid, devices.entries)
        text = summary(pod, devices)
        if self._shown.get(uid) != text:
            self._shown[uid] = text
            self.note(f"seen   {text}")

    def look(self, now: float, stalled: float) -> None:
        wall = self.client.wall()
        claims = []
        for uid, hold in self.pods.holds.items():
            pod = self.reader.pods.get(uid)
            if pod is None or pod.ended:
                continue
            view = self.reader.view(uid, wall)
            assert view is not None
            if view.source == "agent":
                believed, wrong = claims_of_agent(view, hold.keys)
                claims += believed
                for one in wrong:
                    self.found(one)
            claims += claims_of_kubelet(pod, hold.keys)
        for one in self.judge.judge(claims, now, stalled):
            self.found(one)


def annotation_of(pod: Pod) -> PodDevices | None:
    text = pod.metadata.annotations.get(ANNOTATION)
    if text is None:
        return None
    try:
        return decode(text)
    except InvalidInput:
        return None


def summary(pod: Pod, devices: PodDevices | None) -> str:
    """A pod in one line."""
    parts = [f"pod {pod.metadata.name}", pod.status.phase or "no phase"]
    for entry in sorted(devices.entries, key=lambda entry: entry.device) if devices is not None else ():
        faults = "".join(f"+{min(serials(fault.message), default=0)}" for fault in entry.faults)
        parts.append(f"{entry.device} {_state(entry.health, entry.message)}{f' ({faults})' if faults else ''}")
    parts += [f"condition {c.status}" for c in pod.status.conditions if c.type.startswith("podvitals")]
    return " | ".join([*parts, *_fields(pod)])


def _fields(pod: Pod) -> list[str]:
    resources = [r for status in pod.status.container_statuses for a in status.allocated_resources_status for r in a.resources]
    return [f"field {r.resource_id.rpartition('-')[2]} {_state(r.health, r.message or '')}" for r in resources]


def _state(health: str, message: str) -> str:
    return health + "".join(f" n={serial}" for serial in sorted(serials(message)))
