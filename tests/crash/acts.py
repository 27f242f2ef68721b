"""What is done to a world: each fault of plan.KINDS, from its beginning to its end, and what is done with pods."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from random import Random

from podvitals.wire.endpoint import is_live
from tests.crash.api import Trouble, errors, loses_answers, refuses_pods
from tests.crash.managed import Managed
from tests.crash.oracle import Wrong
from tests.crash.plan import KINDS, Act
from tests.crash.proxy import Fault
from tests.crash.world import NODE, World, driver_name, key_of

FIRST_AGENT_BEGINS, SECOND_AGENT_GIVES_UP = 10.0, 20.0


class Acts:
    """`do(act)` begins a fault, lets it last and takes it back."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._how = self._table()
        self._places: dict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    def _table(self) -> Mapping[str, Callable[[Act], Awaitable[None]]]:
        return {
            "agent-kill": lambda act: self._agent_away(act, signal.SIGKILL),
            "agent-term": lambda act: self._agent_away(act, signal.SIGTERM),
            "agent-stop": self._agent_stop,
            "agent-twice": self._agent_twice,
            "driver-kill": lambda act: self._driver_away(act, signal.SIGKILL),
            "driver-term": lambda act: self._driver_away(act, signal.SIGTERM),
            "driver-stop": self._driver_stop,
            "driver-roll": lambda act: self._driver_roll(act, fails=False),
            "driver-roll-fails": lambda act: self._driver_roll(act, fails=True),
            "kubelet-kill": lambda act: self._kubelet_away(act, signal.SIGKILL),
            "kubelet-term": lambda act: self._kubelet_away(act, signal.SIGTERM),
            "kubelet-stop": self._kubelet_stop,
            "disk-full": self._disk_full,
            "disk-full-restart": self._disk_full_restart,
            "disk-read-only": self._disk_read_only,
            "disk-damage": self._disk_damage,
            "disk-busy": self._disk_busy,
            "net-delay": lambda act: self._net(act, Fault.DELAY),
            "net-reset": lambda act: self._net(act, Fault.RESET),
            "net-truncate": lambda act: self._net(act, Fault.TRUNCATE),
            "net-hold": lambda act: self._net(act, Fault.HOLD),
            "net-hold-reset": self._net_hold_reset,
            "net-refuse": lambda act: self._net(act, Fault.REFUSE),
            "net-kubelet": self._net_kubelet,
            "api-restart": lambda act: self._api_restart(act, forgets=False),
            "api-restart-forgets": lambda act: self._api_restart(act, forgets=True),
            "api-errors": lambda act: self._api(act, errors(self._random(act), 0.3 + 0.7 * act.draw)),
            "api-refuses-pods": lambda act: self._api(act, refuses_pods(self._random(act)), agent_only=True),
            "api-loses-answers": lambda act: self._api(act, loses_answers(self._random(act), 0.3 + 0.7 * act.draw)),
        }

    async def do(self, act: Act) -> None:
        self.world.note(f"fault  {act} begins")
        began = time.monotonic()
        try:
            # On a busy machine a fault may last into the next one at the same place, which then waits.
            async with self._places[KINDS[act.kind][0], act.driver]:
                if act.kind.startswith("disk-") and KINDS[act.kind][0] != "disk":
                    async with self._places["disk", ""]:
                        await self._how[act.kind](act)
                else:
                    await self._how[act.kind](act)
        finally:
            self.world.note(f"fault  {act} is over, {time.monotonic() - began:.2f} s")

    @staticmethod
    def _random(act: Act) -> Random:
        return Random(act.draw)

    # --- the agent ---------------------------------------------------------------------------------------------------------------

    async def _agent_down(self, number: signal.Signals) -> None:
        self.world.ways.agent.broke("process")
        self.world.agent_ended(await self.world.agent.end(number))

    def _agent_up(self) -> None:
        self.world.start_agent()
        self.world.ways.agent.mended("process", time.monotonic())

    async def _agent_away(self, act: Act, number: signal.Signals) -> None:
        await self._agent_down(number)
        await asyncio.sleep(act.lasts)
        self._agent_up()

    async def _agent_stop(self, act: Act) -> None:
        life = self.world.register.lives[self.world.agent.pid]
        self.world.ways.agent.broke("stopped")
        life.stopped.begin(time.monotonic())
        self.world.agent.stop()
        await asyncio.sleep(act.lasts)
        life.stopped.end(self.world.agent.go_on())
        self.world.ways.agent.mended("stopped", time.monotonic())

    async def _agent_twice(self, act: Act) -> None:
        """A second agent with the same state directory must give up, saying why, and leave the first alone."""
        world = self.world
        began = world.register.lives[world.agent.pid].start + world.register.wall
        sock = world.disk.path / "agent" / "agent.sock"
        if not await world.reader.until(lambda: world.reader.renewed > began and is_live(sock), FIRST_AGENT_BEGINS):
            world.note("fault  the first agent is not up yet: no second one")
            return
        words = ["--node-name", NODE, "--plugin-dir", str(world.root / "plugins_registry"), "--state-dir", str(world.disk.path / "agent")]
        words += ["--kubeconfig", str(world.root / "agent.kubeconfig")]
        argv = [sys.executable, "-m", "tests.crash.spawned", "agent", *words]
        process = await asyncio.create_subprocess_exec(
            *argv, stderr=asyncio.subprocess.PIPE, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            async with asyncio.timeout(SECOND_AGENT_GIVES_UP):
                _, said = await process.communicate()
            if process.returncode != 3 or b"another agent" not in said:
                world.found(Wrong("died", f"a second agent ended with code {process.returncode}: {said.decode()[-300:]}"))
        except TimeoutError:
            world.found(Wrong("died", "a second agent with the same state directory did not give up"))
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
        await asyncio.sleep(act.lasts)

    # --- drivers -----------------------------------------------------------------------------------------------------------------

    async def _driver_down(self, which: str, instance: Managed, number: signal.Signals) -> None:
        at = await instance.end(number)
        self.world.truth.drivers[driver_name(which)].died(instance.pid, at)

    async def _driver_away(self, act: Act, number: signal.Signals) -> None:
        way, instance = self.world.ways.drivers[driver_name(act.driver)], self.world.drivers[act.driver][-1]
        way.broke("process")
        await self._driver_down(act.driver, instance, number)
        await asyncio.sleep(act.lasts)
        self.world.start_driver(act.driver, instance)
        way.mended("process", time.monotonic())

    async def _driver_stop(self, act: Act) -> None:
        name, instance = driver_name(act.driver), self.world.drivers[act.driver][-1]
        way, driver = self.world.ways.drivers[name], self.world.truth.drivers[name]
        way.broke("stopped")
        driver.stopped(instance.pid, instance.stop())
        await asyncio.sleep(act.lasts)
        driver.woken(instance.pid, time.monotonic())
        instance.go_on()
        way.mended("stopped", time.monotonic())

    async def _driver_roll(self, act: Act, *, fails: bool) -> None:
        """A new instance beside the old one, which then ends: as a DaemonSet with maxSurge does it. Where it `fails`, the new one dies, and
        the old one goes on."""
        way = self.world.ways.drivers[driver_name(act.driver)]
        way.broke("roll")
        instances = self.world.drivers[act.driver]
        old, new = instances[-1], self.world.new_driver(act.driver)
        instances.append(new)
        self.world.start_driver(act.driver, new)
        await asyncio.sleep(act.lasts)
        ends, number = (new, signal.SIGKILL) if fails else (old, signal.SIGTERM if act.draw < 0.7 else signal.SIGKILL)
        await self._driver_down(act.driver, ends, number)
        instances.remove(ends)
        way.mended("roll", time.monotonic())

    # --- the lab's kubelet -------------------------------------------------------------------------------------------------------

    async def _kubelet_away(self, act: Act, number: signal.Signals) -> None:
        self.world.ways.kubelet.broke("process")
        await self.world.kubelet.end(number)
        await asyncio.sleep(act.lasts)
        self.world.kubelet.start()
        self.world.ways.kubelet.mended("process", time.monotonic())

    async def _kubelet_stop(self, act: Act) -> None:
        self.world.ways.kubelet.broke("stopped")
        self.world.kubelet.stop()
        await asyncio.sleep(act.lasts)
        self.world.kubelet.go_on()
        self.world.ways.kubelet.mended("stopped", time.monotonic())

    # --- the disk under the agent ------------------------------------------------------------------------------------------------

    async def _disk_full(self, act: Act) -> None:
        wrong = self.world.register.disk_wrong
        wrong.begin(time.monotonic())
        self.world.disk.fill([self.world.agent.pid])
        await asyncio.sleep(act.lasts)
        self.world.disk.free([self.world.agent.pid])
        wrong.end(time.monotonic())

    async def _disk_full_restart(self, act: Act) -> None:
        """Full when the agent begins."""
        wrong = self.world.register.disk_wrong
        wrong.begin(time.monotonic())
        await self._agent_down(signal.SIGKILL)
        self.world.disk.fill([])
        self._agent_up()
        self.world.disk.fill([self.world.agent.pid])
        await asyncio.sleep(act.lasts)
        self.world.disk.free([self.world.agent.pid])
        wrong.end(time.monotonic())

    async def _disk_read_only(self, act: Act) -> None:
        """Read-only when the agent begins; a kernel does not do that to files that are open for writing."""
        wrong = self.world.register.disk_wrong
        wrong.begin(time.monotonic())
        await self._agent_down(signal.SIGKILL)
        if not self.world.disk.remount("ro"):
            self.world.note("fault  the disk could not be made read-only here")
        self._agent_up()
        await asyncio.sleep(act.lasts)
        self.world.disk.remount("rw")
        wrong.end(time.monotonic())

    async def _disk_damage(self, act: Act) -> None:
        await self._agent_down(signal.SIGKILL)
        done = self.world.disk.damage(self.world.disk.path / "agent", self._random(act))
        self.world.note(f"fault  {done}")
        self.world.register.damaged.append(time.monotonic())
        await asyncio.sleep(act.lasts)
        self._agent_up()

    async def _disk_busy(self, act: Act) -> None:
        """Somebody else has the agent's files locked when it begins: a backup, an editor, a hand."""
        wrong, state = self.world.register.disk_wrong, self.world.disk.path / "agent"
        wrong.begin(time.monotonic())
        await self._agent_down(signal.SIGKILL)
        locks = []
        for name in ("node.sqlite", "agent.sqlite"):
            if (state / name).exists():
                lock = sqlite3.connect(state / name, isolation_level=None, timeout=0.1)
                with suppress(sqlite3.Error):
                    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
                    lock.execute("BEGIN EXCLUSIVE")
                locks.append(lock)
        self._agent_up()
        await asyncio.sleep(act.lasts)
        for lock in locks:
            with suppress(sqlite3.Error):
                lock.rollback()
            with suppress(sqlite3.Error):
                lock.close()
        wrong.end(time.monotonic())

    # --- the network and the API server ------------------------------------------------------------------------------------------

    async def _net(self, act: Act, fault: Fault) -> None:
        net, way = self.world.net, self.world.ways.agent
        way.broke("net")
        size = int(40 * 500.0**act.draw)
        await net.breaks(fault, seconds=0.02 + 0.8 * act.draw**2, size=size)
        await asyncio.sleep(act.lasts)
        await net.mends()
        way.mended("net", time.monotonic())

    async def _net_hold_reset(self, act: Act) -> None:
        """What was held is lost with its connections."""
        net, way = self.world.net, self.world.ways.agent
        way.broke("net")
        await net.breaks(Fault.HOLD)
        await asyncio.sleep(act.lasts)
        net.drop()
        await net.mends()
        way.mended("net", time.monotonic())

    async def _net_kubelet(self, act: Act) -> None:
        net, way = self.world.net_kubelet, self.world.ways.kubelet
        way.broke("net")
        fault = self._random(act).choice((Fault.HOLD, Fault.REFUSE, Fault.RESET, Fault.TRUNCATE))
        await net.breaks(fault, size=int(40 * 500.0**act.draw))
        await asyncio.sleep(act.lasts)
        await net.mends()
        way.mended("net", time.monotonic())

    async def _api_restart(self, act: Act, *, forgets: bool) -> None:
        """Nobody listens for a while, everything that was connected is broken, and old versions are refused perhaps. The objects stay, as
        they do in etcd, and the reader's own connection, which is the oracle's eye."""
        sides = ((self.world.net, self.world.ways.agent), (self.world.net_kubelet, self.world.ways.kubelet))
        for net, way in sides:
            way.broke("api restart")
            await net.shut()
        if forgets:
            self.world.api.forget()
        await asyncio.sleep(act.lasts)
        for net, way in sides:
            await net.reopen()
            way.mended("api restart", time.monotonic())

    async def _api(self, act: Act, trouble: Trouble, *, agent_only: bool = False) -> None:
        world = self.world
        sides = [(world.net, world.ways.agent)] + ([] if agent_only else [(world.net_kubelet, world.ways.kubelet)])
        for net, way in sides:
            way.broke("api")
            world.api.troubles[f"127.0.0.1:{net.port}"] = trouble
        await asyncio.sleep(act.lasts)
        world.api.troubles.clear()
        for _, way in sides:
            way.mended("api", time.monotonic())

    # --- pods --------------------------------------------------------------------------------------------------------------------

    async def do_with_pods(self, act: Act) -> None:
        pods, draw = self.world.pods, act.draw
        device, other = ("s2", "l1") if draw < 0.5 else ("s3", "s2")
        first = await pods.create("job", [key_of(device)])
        match act.kind:
            case "share":
                second = await pods.create("sharer", [key_of(device)], sharing=first.uid)
                await pods.running(second)
                await asyncio.sleep(act.lasts)
                await pods.delete(first)
                return
            case "delete-forced":
                await asyncio.sleep(act.lasts)
                await pods.delete(first, grace=0)
                return
        await pods.running(first)
        await asyncio.sleep(act.lasts)
        match act.kind:
            case "end":
                pods.exit(first, 0 if draw < 0.3 else 3)
                await pods.ended(first)
                await pods.release(first)
            case "end-and-reuse":
                pods.exit(first, 3)
                await pods.ended(first)
                await pods.release(first)
                await pods.running(await pods.create("next", [key_of(device)]))
            case "recreate":
                await pods.delete(first)
                await pods.running(await pods.create(first.pod, [key_of(other)]))
            case "reuse":
                await pods.delete(first)
                await pods.running(await pods.create("another", [key_of(device)]))
