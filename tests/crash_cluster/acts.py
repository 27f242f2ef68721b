"""What is done to a world: each fault of plan.KINDS, from its beginning to its end, and each pod, from its making to its end."""

import asyncio
import signal
import time
from collections.abc import Mapping
from math import inf

from tests.cluster.api import Object
from tests.crash.managed import Managed
from tests.crash_cluster.oracle import Pod
from tests.crash_cluster.plan import Act, PodAct
from tests.crash_cluster.world import COMES_UP, World

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "exits": ("sleep", "{}"),
    "fails": ("sh", "-c", "sleep {}; exit 3"),
    "deleted": ("sleep", "3600"),
    "deleted-early": ("sleep", "3600"),
}
LONGEST_CALL = 50.0
"""Seconds a relay is given to end: its calls are let end first."""
READY = 2.0
"""Seconds a new driver is given before its readiness probe would say yes."""


class Acts:
    """`do(act)` begins a fault, lets it last, takes it back, and returns when the part works again."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def do(self, act: Act) -> None:
        world = self.world
        world.note(f"fault  {act} begins")
        if act.kind.endswith("-roll"):
            # Nothing is out of order meanwhile: it is not to be seen.
            await (self._roll_driver(act) if act.driver else self._roll_relay(act))
            world.last_fault = time.monotonic()
            world.note(f"fault  {act} is over")
            return
        how = "stopped" if "-stop" in act.kind else "process"
        world.order.broke(act.part, how, time.monotonic())
        try:
            if act.part == "kubelet":
                await self._kubelet(act, how)
            elif how == "stopped":
                await self._stop(act)
            else:
                await self._kill(act)
            world.last_fault = time.monotonic()
            world.note(f"fault  {act} is over")
            if not await self._works(act):
                world.note(f"fault  {act}: what it broke does not work again within {COMES_UP:.0f} s")
        finally:
            world.order.mended(act.part, how, time.monotonic())

    async def _works(self, act: Act) -> bool:
        seen, since = self.world.seen, time.time()
        if act.kind == "keeper-kill":
            return await seen.until(self.world.kept, COMES_UP)
        if act.kind == "agent-kill":
            return await seen.until(lambda: seen.renewed > since, COMES_UP)
        return act.part in ("agent", "keeper") or await self.world.works(COMES_UP)

    async def _roll_driver(self, act: Act) -> None:
        """As a DaemonSet with maxSurge does it: a new instance, and after a while the old one ends."""
        old, spans = self.world.drivers[act.driver], self.world.truth.drivers[self.world.names[act.driver]]
        self.world.drivers[act.driver] = self.world.new_driver(act.driver)
        self.world.start_driver(act.driver)
        await asyncio.sleep(READY + act.lasts)
        spans.died(old.pid, await old.end(signal.SIGTERM))

    async def _roll_relay(self, act: Act) -> None:
        """A new relay stands in, then the old one goes."""
        old, self.world.relay = self.world.relay, self.world.new_relay()
        self.world.relay.start()
        if not await self.world.seen.until(lambda: self.world.registered(self.world.relay), COMES_UP):
            self.world.note(f"fault  {act}: the kubelet did not take the new one within {COMES_UP:.0f} s")
        await asyncio.sleep(act.lasts)
        await old.end(signal.SIGTERM, LONGEST_CALL)

    def _process(self, act: Act) -> Managed:
        world = self.world
        return world.drivers[act.driver] if act.driver else {"agent": world.agent, "relay": world.relay, "keeper": world.keeper}[act.part]

    async def _kill(self, act: Act) -> None:
        process, driver = self._process(act), act.driver
        at = await process.end(signal.SIGKILL)
        if driver:
            self.world.truth.drivers[self.world.names[driver]].died(process.pid, at)
        await asyncio.sleep(act.lasts)
        if driver:
            self.world.start_driver(driver)
        else:
            process.start()

    async def _stop(self, act: Act) -> None:
        process, driver = self._process(act), act.driver
        at = process.stop()
        if driver:
            self.world.truth.drivers[self.world.names[driver]].stopped(process.pid, at)
        await asyncio.sleep(act.lasts)
        if driver:
            self.world.truth.drivers[self.world.names[driver]].woken(process.pid, time.monotonic())
        process.go_on()

    async def _kubelet(self, act: Act, how: str) -> None:
        cluster = self.world.cluster
        if how == "stopped":
            cluster.signal("kubelet", signal.SIGSTOP)
            try:
                await asyncio.sleep(act.lasts)
            finally:
                cluster.signal("kubelet", signal.SIGCONT)
            return
        await asyncio.to_thread(cluster.stop, "kubelet", signal.SIGKILL)
        try:
            await asyncio.sleep(act.lasts)
        finally:
            await asyncio.shield(asyncio.to_thread(cluster.start_kubelet))

    # --- pods --------------------------------------------------------------------------------------------------------------------

    async def live(self, name: str, act: PodAct) -> None:
        """A pod from its making until it is gone, however long that takes."""
        pod = await self.make(name, act)
        if act.ends == "deleted-early":
            await asyncio.sleep(act.lasts)
        elif act.ends == "deleted":
            await self._until(pod, lambda: pod.runs < inf)
            await asyncio.sleep(act.lasts)
        else:
            await self._until(pod, lambda: pod.ended < inf)
        await self.delete(pod)

    async def delete(self, pod: Pod) -> None:
        pod.deleted = time.monotonic()
        self.world.note(f"pod    {pod.name} is deleted")
        await self.world.api.delete(f"/api/v1/namespaces/{self.world.namespace}/pods/{pod.name}", grace=1)
        await self._until(pod, lambda: pod.gone < inf)

    async def make(self, name: str, act: PodAct) -> Pod:
        """A pod that holds a device of each driver it uses, all by one claim."""
        world = self.world
        uses = ("sdk", "go") if act.uses == "both" else (act.uses,)
        requests = [{"name": which, "exactly": {"deviceClassName": world.names[which], "count": 1}} for which in uses]
        template: Object = {"metadata": {"name": name}, "spec": {"spec": {"devices": {"requests": requests}}}}
        await world.api.create(f"/apis/resource.k8s.io/v1/namespaces/{world.namespace}/resourceclaimtemplates", template)
        command = [word.format(f"{act.lasts:.2f}") for word in COMMANDS[act.ends]]
        container: Object = {"name": "main", "image": "none", "resources": {"claims": [{"name": "devices"}]}, "command": command}
        spec = {
            "terminationGracePeriodSeconds": 1,
            "restartPolicy": "Never",
            "containers": [container],
            "resourceClaims": [{"name": "devices", "resourceClaimTemplateName": name}],
        }
        at = time.monotonic()
        made = await world.api.create(f"/api/v1/namespaces/{world.namespace}/pods", {"metadata": {"name": name}, "spec": spec})
        world.pods[name] = pod = Pod(name, made["metadata"]["uid"], at, act.lasts if act.ends in ("exits", "fails") else inf)
        world.note(f"pod    {name} is made: {act.uses}, {act.ends}")
        return pod

    async def _until(self, pod: Pod, condition: "object") -> None:
        """Or it was condemned: nobody waits for it any longer."""
        assert callable(condition)
        while not condition() and not pod.condemned:
            await self.world.seen.until(lambda: condition() or pod.condemned, 60.0)
