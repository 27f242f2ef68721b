"""A world on a real cluster: a relay, an agent and two drivers as processes of their own beside its kubelet; a namespace; and who watches.

It goes on from round to round; what a round killed is started again.
"""

import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from podvitals.detect.detector import Reading
from podvitals.detect.sim import write_state
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.fact import GONE_AFTER
from tests.cluster.api import Api, Object
from tests.cluster.cluster import NODE, Cluster
from tests.cluster.subjects import condition, entries, field_of
from tests.crash.managed import Managed
from tests.crash.oracle import Wrong
from tests.crash.stage import Stage
from tests.crash.truth import Driver, Spans, State, Truth, serials, text_of
from tests.crash_cluster import limits, plan, twins
from tests.crash_cluster.judge import Judge
from tests.crash_cluster.oracle import PLACES, Order, Pod, claims_of
from tests.crash_cluster.seen import Seen

COMES_UP = 40.0
CONNECTED = "03"
"""In the column St of /proc/net/unix."""
PARTS = ("agent", "relay", "keeper", "kubelet", *(f"driver:{which}" for which in plan.DRIVERS))
SPAWNED = (sys.executable, "-m", "tests.crash_cluster.spawned")
_DONE = {
    "sdk": re.compile(r"\b(prepared|unprepared) claim=[^/ ]+/(\S+)"),
    "go": re.compile(r"^(prepared|unprepared) (\S+)$", re.MULTILINE),
}
_numbers = itertools.count(1)


class World(Stage):
    """`async with World.open(cluster, api) as world`."""

    TICK, STALL = 0.1, 0.3
    seen: Seen
    relay: Managed
    keeper: Managed
    agent: Managed
    drivers: dict[str, Managed]

    def __init__(self, cluster: Cluster, api: Api, twin: str) -> None:
        number = next(_numbers)
        super().__init__(cluster.root / f"c{number}")
        self.cluster, self.api, self._twin = cluster, api, twin
        self.namespace, self.last_fault = f"crash-{number}", self.began
        self.truth, self.order = Truth(GONE_AFTER), Order(PARTS)
        self.names = {which: f"{which}.crash{number}.example" for which in plan.DRIVERS}
        self.pods: dict[str, Pod] = {}
        self.shown: dict[tuple[str, str], set[int]] = {}
        """The faults that were ever seen, by pod and place (field, annotation)."""
        self.fine = {(place, name): Spans() for place in PLACES for name in self.names.values()}
        """While all that lies between a driver and where it is shown was in order."""
        self.judge = Judge(self.truth, self.order)
        self._lines: dict[str, str] = {}

    def key(self, driver: str, device: str) -> DeviceKey:
        return DeviceKey(self.names[driver], NODE, device)

    # --- its beginning and its end -----------------------------------------------------------------------------------------------

    @classmethod
    @asynccontextmanager
    async def open(cls, cluster: Cluster, api: Api, twin: str = "") -> AsyncIterator["World"]:
        world = cls(cluster, api, twin)
        world.seen = Seen(api, world.namespace, world._pod, world._failure)
        await asyncio.to_thread(world._furnish)
        await api.create("/api/v1/namespaces", {"metadata": {"name": world.namespace}})
        for name in world.names.values():
            spec = {"selectors": [{"cel": {"expression": f"device.driver == {name!r}"}}]}
            await api.create("/apis/resource.k8s.io/v1/deviceclasses", {"metadata": {"name": name}, "spec": spec})
        async with asyncio.TaskGroup() as tasks:
            watching = {"crash: watches": world.seen.run(), "crash: oracle": world.look_on()}
            running = [tasks.create_task(each, name=name) for name, each in watching.items()]
            try:
                world._start()
                if not (await world.works(COMES_UP) and await world.seen.until(world._is_up, COMES_UP)):
                    world.found(Wrong("no world", f"it did not come up within {COMES_UP:.0f} s: {await world.relay_says()}"))
                yield world
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*(one.end() for one in (world.agent, *world.drivers.values(), world.relay, world.keeper)))
                await api.delete(f"/api/v1/namespaces/{world.namespace}")

    def _furnish(self) -> None:
        for name in ("plugins_registry", "run", "go", "logs", "state", "agent", *(f"devices-{which}" for which in plan.DRIVERS)):
            (self.root / name).mkdir(parents=True, mode=0o755)
        for which in plan.DRIVERS:
            self.truth.drivers[self.names[which]] = Driver(limits.LEASE)
            for number in range(plan.DEVICES):
                device = plan.device_name(which, number)
                write_state(self.root / f"devices-{which}" / device, Reading.healthy())
                self.truth.add(self.key(which, device), time.monotonic())

    def _start(self) -> None:
        rights, kubelet = self.cluster.kubeconfig_for_service_account("kube-system", "podvitals-agent"), str(self.cluster.plugin_dir)
        where = ["--plugin-dir", kubelet, "--state-dir", str(self.root / "agent"), "--kubeconfig", str(rights)]
        self.agent = self._managed("agent", *SPAWNED, "agent", "--node-name", NODE, *where)
        self.relay = self.new_relay()
        self.keeper = self._managed("keeper", sys.executable, "-m", "podvitals", "relay", "keep", "--run-dir", str(self.root / "run"))
        self.drivers = {which: self.new_driver(which) for which in plan.DRIVERS}
        for one in (self.relay, self.agent, *(() if self._twin == twins.WITHOUT_KEEPER else (self.keeper,))):
            one.start()
        for which in self.drivers:
            self.start_driver(which)

    def new_relay(self) -> Managed:
        where = ["--plugin-dir", str(self.root / "plugins_registry"), "--kubelet-dir", str(self.cluster.plugin_dir)]
        return self._managed(f"relay-{next(_numbers)}", *SPAWNED, "relay", *where, "--run-dir", str(self.root / "run"))

    def new_driver(self, which: str) -> Managed:
        """Another instance of the driver, as a rolling update starts beside the old one."""
        name, registry, uid = self.names[which], str(self.root / "plugins_registry"), f"uid-{next(_numbers)}"
        if which == "sdk":
            rights = self.cluster.kubeconfig_for_service_account("kube-system", "podvitals-driver")
            detector = f"sim:{self.root / 'devices-sdk'},interval=1,lease={limits.LEASE:g}"
            where = ["--plugin-dir", registry, "--cdi-dir", str(self.cluster.cdi_dir), "--kubeconfig", str(rights), "--node-name", NODE]
            return self._managed("sdk", *SPAWNED, "driver", name, "--detector", detector, *where, "--rolling-update", "--pod-uid", uid)
        given = {
            "name": name,
            "node": NODE,
            "registry": registry,
            "data": str(self.root / "go"),
            "cdi-dir": str(self.cluster.cdi_dir),
            "devices": ",".join(plan.device_name("go", number) for number in range(plan.DEVICES)),
            "health": "every",
            "lease": f"{limits.LEASE:g}s",
            "state": str(self.root / "devices-go"),
            "rolling-update": uid,
        }
        return self._managed("go", str(self.cluster.root / "bin" / "driver"), *(f"--{flag}={value}" for flag, value in given.items()))

    def _managed(self, name: str, *argv: str) -> Managed:
        env = {**self.cluster.environment, "PYTHONUNBUFFERED": "1", twins.VARIABLE: self._twin}
        return Managed(name, argv, env, self.root / "logs" / f"{name}.log", self._ended)

    def start_driver(self, which: str) -> None:
        """Its newest instance."""
        at = self.drivers[which].start()
        self.truth.drivers[self.names[which]].started(self.drivers[which].pid, at)

    def registered(self, relay: Managed) -> bool:
        """Whether the kubelet has taken every driver from this relay."""
        return (self.root / "logs" / f"{relay.name}.log").read_text().count("the kubelet has registered it") >= len(self.names)

    def _ended(self, process: Managed, code: int) -> None:
        self.found(Wrong("died", f"{process.name} (pid {process.pid}) ended by itself with code {code}: its log says why"))

    def kept(self) -> bool:
        """Whether a relay is connected to the keeper. It says so once a minute at most; the kernel knows."""
        sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        return any(words[-1] == str(self.root / "run" / "keeper.sock") and words[5] == CONNECTED for words in sockets)

    # --- the truth ---------------------------------------------------------------------------------------------------------------

    async def change(self, device: str, health: Health) -> None:
        """The device's file says so from now on."""
        driver = plan.driver_of(device)
        key, serial = self.key(driver, device), 0
        if self.truth.now(key).health is health:
            return
        reading = Reading.healthy()
        if health is not Health.HEALTHY:
            serial = self.truth.next_serial()
            reading = Reading(health, text_of(serial))
        # Before the file changes: nobody can have said the old thing later than that.
        self.truth.write(key, State(time.monotonic(), health, serial))
        await asyncio.to_thread(write_state, self.root / f"devices-{driver}" / device, reading)
        self.note(f"truth  {device} {health}" + (f" n={serial}" if serial else ""))

    # --- whether it works --------------------------------------------------------------------------------------------------------

    async def works(self, within: float) -> bool:
        """Until each driver is connected to the relay and registered with the kubelet, which listens to its health."""
        deadline = time.monotonic() + within
        while not self._complete(await self.relay_says()):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.1)  # there is nothing to watch in a relay
        return True

    def _is_up(self) -> bool:
        return not self.unpublished() and (self.kept() or self._twin == twins.WITHOUT_KEEPER)

    def _complete(self, said: Object) -> bool:
        drivers = {one["driver"]: one for one in said.get("drivers", ())}
        return all(
            (one := drivers.get(name)) is not None
            and one["kubelet"] == "registered"
            and one["watchers"] > 0
            and any(endpoint["connected"] for endpoint in one["endpoints"])
            for name in self.names.values()
        )

    def unpublished(self) -> set[str]:
        """The drivers without a ResourceSlice: a kubelet that starts deletes them, and drivers put them back (CONTRACT §4)."""
        return set(self.names.values()) - set(self.seen.slices.values())

    async def relay_says(self) -> Object:
        """GET /state; empty where it does not answer."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_unix_connection(self.root / "run" / "relay.sock")
                writer.write(b"GET /state HTTP/1.1\r\n\r\n")
                said: Object = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
                writer.close()
                return said
        except (OSError, TimeoutError, ValueError):
            return {}

    # --- what is seen ------------------------------------------------------------------------------------------------------------

    def _pod(self, pod: Object, at: float, gone: bool) -> None:
        one, uid = self.pods.get(pod["metadata"]["name"]), pod["metadata"]["uid"]
        if one is not None and one.uid == uid:
            phase = pod["status"].get("phase")
            if phase in ("Running", "Succeeded", "Failed"):
                one.runs = min(one.runs, at)
            if phase in ("Succeeded", "Failed"):
                one.ended = min(one.ended, at)
            if gone:
                one.gone = min(one.gone, at)
        for place, said in (("field", [message for _, message in field_of(pod).values()]), ("annotation", _said(pod))):
            self.shown.setdefault((uid, place), set()).update(serial for message in said for serial in serials(message))
        line = "is gone" if gone else summary(pod)
        if self._lines.get(uid) != line:
            self._lines[uid] = line
            self.note(f"seen   pod {pod['metadata']['name']} {line}")

    def _failure(self, uid: str, message: str, at: float) -> None:
        pod = next((pod for pod in self.pods.values() if pod.uid == uid), None)
        if pod is None:
            return
        excused = pod.failed(at, self.order)
        self.note(f"seen   a prepare of pod {pod.name} failed{' (within the limits)' if excused else ''}: {message}")
        if not excused:
            self.found(Wrong("failed prepare", f"of pod {pod.name}, {at - pod.created:.1f} s after it was made: {message}"))

    def look(self, now: float, stalled: float) -> None:
        over = {pod.uid for pod in self.pods.values() if pod.over(now)}
        shown = [(uid, pod) for uid, pod in self.seen.pods.items() if uid not in over]
        claims = [claim for uid, pod in shown for claim in claims_of(pod, self.seen.held(uid))]
        for one in self.judge.judge(claims, now, stalled):
            self.found(one)
        for which, name in self.names.items():
            for place, parts in PLACES.items():
                fine = now >= self.order.good_from(*parts, f"driver:{which}")
                (self.fine[place, name].begin if fine else self.fine[place, name].end)(now)
        self._look_for_slices(now)
        for pod in self.pods.values():
            if text := pod.late(self.order, now):
                pod.condemned = True
                self.found(Wrong("stuck", f"pod {pod.name} {text}"))

    def _look_for_slices(self, now: float) -> None:
        missing, spans = self.unpublished(), self.order.unpublished
        (spans.begin if missing else spans.end)(now)
        if missing and now > max(spans.began(), self.order.wrong.ended()) + limits.PUBLISHED:
            self.found(Wrong("stuck", f"no ResourceSlice of {', '.join(sorted(missing))}"))

    # --- what is left behind -----------------------------------------------------------------------------------------------------

    def done(self, which: str) -> list[tuple[str, str]]:
        """(prepared|unprepared, claim) as the driver logged them, all its lives long. Blocks."""
        return _DONE[which].findall((self.root / "logs" / f"{which}.log").read_text(errors="replace"))

    def alive(self, condition: Callable[[Pod], bool] = lambda pod: True) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.gone == inf and condition(pod)]


def _said(pod: Object) -> list[str]:
    """The messages of the agent's annotation, those of faults that are over too."""
    found = []
    for entry in entries(pod):
        found += [entry.get("message", ""), *(fault.get("message", "") for fault in entry.get("faults", ()))]
    return found


def summary(pod: Object) -> str:
    """A pod in one line."""

    def state(health: str, message: str) -> str:
        return health + "".join(f" n={serial}" for serial in sorted(serials(message)))

    parts = [pod["status"].get("phase", "no phase") + (", to be deleted" if "deletionTimestamp" in pod["metadata"] else "")]
    if "nodeName" not in pod["spec"]:
        parts.append("not placed")
    parts += [f"field {name.rpartition('/')[2][-12:]} {state(*said)}" for name, said in sorted(field_of(pod).items())]
    parts += [f"annotation {one['device']} {state(one['health'], one.get('message', ''))}" for one in entries(pod)]
    if told := condition(pod):
        parts.append(f"condition {told['status']}")
    return "  ".join(parts)
