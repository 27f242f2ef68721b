"""The relay at work: drivers of its own plugin directory in, stand-ins in the kubelet's out."""

import asyncio
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from podvitals import __version__
from podvitals.claim.times import rfc3339
from podvitals.clock import SYSTEM, Clock, set_by
from podvitals.device.key import DeviceKey
from podvitals.errors import LocalError
from podvitals.node.limits import Limits
from podvitals.node.watch import DriverView, NodeSettings, NodeWatch
from podvitals.relay.bypass import Bypass, Registered
from podvitals.relay.calls import Calls
from podvitals.relay.front import LONGEST_CALL, LOOK_AGAIN, Front
from podvitals.relay.health import Health
from podvitals.relay.keeping import Keeping, Left
from podvitals.relay.places import Places
from podvitals.relay.state import RelayView, relayed
from podvitals.relay.vouch import vouch_for_all
from podvitals.wire.client import PluginClient

log = logging.getLogger(__name__)

MOST_DEVICES = 16_384
"""A driver's, as many as the kubelet's cache takes."""
LOOK_EVERY = 1.0
"""Seconds between two looks whether a driver is to be bypassed."""
QUIET = 0.5
"""Seconds without a call after which a relay that is told to end has no more to wait for."""
KUBELET_LOOKS = 3.0
"""Seconds the kubelet is given to find a driver's own registration (1 s is usual) before the stand-in goes."""


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`plugin_dir`: where drivers register with us. `kubelet_dir`: where the kubelet looks. `run_dir`: for the endpoints' sockets.
    `on_change`: drivers that say only what changes; they are asked whether they live. `most_drivers`: that are stood in for."""

    plugin_dir: Path = Path("/var/lib/podvitals/plugins_registry")
    kubelet_dir: Path = Path("/var/lib/kubelet/plugins_registry")
    run_dir: Path = Path("/var/lib/podvitals/relay")
    on_change: frozenset[str] = frozenset()
    most_drivers: int = 64
    limits: Limits = field(default_factory=lambda: Limits(devices_per_driver=MOST_DEVICES))


class Relay:
    def __init__(self, settings: RelaySettings, clock: Clock = SYSTEM) -> None:
        self._settings, self._clock = settings, clock
        self._started = rfc3339(clock.wall())
        self._places = Places(settings.kubelet_dir, settings.run_dir)
        node = NodeSettings(plugin_dir=settings.plugin_dir, checkpoint=None, limits=settings.limits)
        # It is the kubelet that registers drivers; we refuse those that can never be.
        self.node = NodeWatch(node, clock, registrar=True, confirms=False, owners=frozenset((0, os.geteuid())))
        self.fronts: dict[str, Front] = {}
        self._bypass, self._bypassed = Bypass(self._places), frozenset[str]()
        self._keeping = Keeping(settings.run_dir, clock)
        self._look = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def prepare(self) -> None:
        """Before `run`. LocalError where this machine gives it no place to work."""
        await asyncio.to_thread(self._places.prepare)

    async def run(self) -> None:
        """Until cancelled; then, once its calls have ended, its sockets are gone. Cancelled again, it waits for no call."""
        left = await self._keeping.take()
        swept = await asyncio.to_thread(self._places.sweep)
        if swept:
            log.info("took away what a dead relay left", extra={"registrations": swept})
        self.node.subscribe(self._changed)
        self.node.subscribe_drivers(self._moved)
        self._bypassed = await asyncio.to_thread(self._bypass.marked)
        working = asyncio.create_task(self._run(left), name="relay: at work")
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            await self._calls_end()
            raise
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            self._keeping.close()

    async def _calls_end(self) -> None:
        """Returns when no call has been under way for a moment, or none may be any more. A kubelet that prepares a pod calls one driver
        after the other."""
        now = self._clock.now()
        until, quiet = now + LONGEST_CALL, now
        if busy := [driver for driver, front in self.fronts.items() if front.busy]:
            log.info("ends when its calls have", extra={"drivers": ",".join(sorted(busy))})
            quiet += QUIET
        while now < min(until, quiet):
            await self._clock.sleep_until(now + LOOK_AGAIN)
            now = self._clock.now()
            if any(front.busy for front in self.fronts.values()):
                quiet = now + QUIET

    async def _run(self, left: list[Left]) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for one in left:
                await self._inherit(one)
            self._tasks.create_task(self._keeping.run(), name="relay: keeping")
            self._tasks.create_task(self._keep_bypasses(), name="relay: bypasses")
            self._tasks.create_task(vouch_for_all(self._settings.on_change, self.node, self._clock), name="relay: vouching")
            await self.node.run()

    def waiting(self) -> tuple[str, ...]:
        """What readiness waits for."""
        if self.node.trouble:
            return (self.node.trouble,)
        return () if self.node.ready.is_set() else (f"the drivers in {self._settings.plugin_dir}",)

    def retell(self) -> None:
        """The relay before this one has ended, and with it the kubelet's other streams: the kubelet has forgotten what it knew."""
        for front in self.fronts.values():
            front.health.retell()

    def state(self) -> RelayView:
        by_driver: dict[str, list[DriverView]] = {driver: [] for driver in self.fronts}
        for view in self.node.drivers():
            by_driver.setdefault(view.driver, []).append(view)
        fronts, now = self.fronts, self._clock.now()
        drivers = [relayed(name, fronts[name].towards() if name in fronts else None, own, now) for name, own in sorted(by_driver.items())]
        settings = self._settings
        return RelayView(
            __version__,
            self._started,
            str(settings.plugin_dir),
            str(settings.kubelet_dir),
            self.waiting(),
            self._keeping.kept,
            tuple(drivers),
        )

    def _moved(self, driver: str) -> None:
        """An endpoint of the driver came, connected or went."""
        front, serving = self.fronts.get(driver), self.node.serving(driver)
        if driver in self._bypassed:
            self._look.set()
        elif serving is not None:
            if front is None and len(self.fronts) >= self._settings.most_drivers:
                log.error("not stood in for: too many drivers", extra={"driver": driver, "most": self._settings.most_drivers})
                return
            (front or self._begin(driver)).serves(serving[1])
        elif front is not None:
            front.away()

    async def _keep_bypasses(self) -> None:
        while True:
            self._look.clear()
            marked = await asyncio.to_thread(self._bypass.marked)
            before, self._bypassed = self._bypassed, marked
            for driver in sorted(marked):
                await asyncio.to_thread(self._link, driver)
                if driver not in before and driver in self.fronts:
                    assert self._tasks is not None
                    self._tasks.create_task(self._withdraw(driver, self.fronts[driver]), name=f"relay: bypassing {driver}")
            for driver in sorted(before - marked):
                log.info("no longer bypassed", extra={"driver": driver})
                self._moved(driver)
            # What the kubelet has of us again, it is not to have directly too.
            ours = [driver for driver, front in self.fronts.items() if driver not in marked and front.standing.registered is not None]
            await asyncio.to_thread(self._bypass.unlink_all, ours)
            for driver in [name for name, front in self.fronts.items() if front.idle]:
                del self.fronts[driver]
                self._running.pop(driver).cancel()
            await set_by(self._look, self._clock, self._clock.now() + LOOK_EVERY)

    def _link(self, driver: str) -> None:
        self._bypass.unlink(driver, dead=True)
        for socket in self.node.registrations(driver):
            try:
                link = self._bypass.link(Registered(driver, Path(socket.path)))
            except (LocalError, OSError) as error:
                log.error("cannot bypass", extra={"driver": driver, "reason": str(error)})
            else:
                if link is not None:
                    log.info("bypassed", extra={"driver": driver, "socket": socket.path, "link": str(link)})

    async def _withdraw(self, driver: str, front: Front) -> None:
        """Not before the kubelet had the time to take the driver itself."""
        await self._clock.sleep_until(self._clock.now() + KUBELET_LOOKS)
        if driver in self._bypassed:
            front.withdraw()

    def _changed(self, keys: frozenset[DeviceKey]) -> None:
        by_driver: dict[str, list[DeviceKey]] = {}
        for key in keys:
            by_driver.setdefault(key.driver, []).append(key)
        for driver, changed in by_driver.items():
            if (front := self.fronts.get(driver)) is not None:
                front.health.change(changed)

    async def _inherit(self, left: Left) -> None:
        """Of two of one driver the older: the kubelet had not taken the other yet, or the older would be gone."""
        driver = left.kept.driver
        if driver in self._bypassed or driver in self.fronts or len(self.fronts) >= self._settings.most_drivers:
            await asyncio.to_thread(left.discard)
            self._keeping.forget(left.kept)
        else:
            await self._begin(driver).inherit(left)

    def _begin(self, driver: str) -> Front:
        assert self._tasks is not None

        def newest() -> PluginClient | None:
            serving = self.node.serving(driver)
            return None if serving is None else serving[0]

        calls = Calls(driver, newest, self._clock)
        health = Health(lambda: [key for key in self.node.states() if key.driver == driver], self.node.state, self._clock)
        front = Front(driver, self._places, calls, health, lambda: self.node.registrations(driver), self._keeping, self._clock)
        self.fronts[driver] = front
        self._running[driver] = self._tasks.create_task(front.run(), name=f"relay: {driver}")
        return front
