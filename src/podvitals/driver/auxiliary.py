"""Health for another driver's devices: a process that hands out nothing, and says what its detectors find (ARCHITECTURE, rule 3).

It registers as `podvitals.dev/HealthSource` where the relay or the agent listens; a kubelet has no handler for that type. It serves the
health service alone. Which devices are meant is told by the driver's ResourceSlices, which are watched.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from podvitals.claim.resource import ResourceSlice
from podvitals.clock import SYSTEM, Clock
from podvitals.detect.schedule import Schedule
from podvitals.device.key import DeviceKey
from podvitals.device.verdict import Verdict
from podvitals.driver.health import Health
from podvitals.driver.join import join, merged
from podvitals.driver.registration import Registration
from podvitals.driver.serve import Parts, at_work
from podvitals.driver.settings import Settings, make_directories, sockets
from podvitals.errors import PodvitalsError
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import SLICES
from podvitals.wire.messages import HEALTH_SOURCE_TYPE, HEALTH_VERSIONS, PluginInfo
from podvitals.wire.server import PluginServer

log = logging.getLogger("podvitals.driver")

PLUGIN_DIR = Path("/var/lib/podvitals/plugins_registry")
"""Where the relay listens."""


@dataclass(frozen=True, slots=True)
class For:
    """`driver`: whose devices; `source`: our name among its sources; `written`: of our devices' names theirs (join.py)."""

    driver: str
    source: str = "podvitals"
    written: Mapping[str, str] = field(default_factory=dict)


class Joined:
    """The verdicts of a schedule as verdicts of the other driver's devices: what `health.Health` asks of a schedule."""

    def __init__(self, target: For, schedule: Schedule) -> None:
        self._for, self.schedule = target, schedule
        self.clock = schedule.clock
        self._targets: dict[str, tuple[DeviceKey, ...]] = {}
        self._ours: dict[DeviceKey, tuple[str, ...]] = {}
        self._listeners: list[Callable[[frozenset[str]], None]] = []
        self._slices: dict[str, ResourceSlice] = {}
        self._version = -1
        self._said: tuple[str, ...] = ()
        schedule.subscribe(self._changed)

    @property
    def shortest_lease(self) -> float:
        return self.schedule.shortest_lease

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        found = {_name(key): self._verdict(key) for key in sorted(self._ours)}
        return {name: verdict for name, verdict in found.items() if verdict is not None}

    def verdict(self, name: str) -> Verdict | None:
        pool, _, device = name.partition("/")
        return self._verdict(DeviceKey(self._for.driver, pool, device))

    def subscribe(self, listener: Callable[[frozenset[str]], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def expire(self) -> None:
        self.schedule.expire()

    def take(self, slices: Mapping[str, ResourceSlice]) -> None:
        """The driver's slices as they are now."""
        self._slices = dict(slices)
        self._rejoin()

    def _changed(self, names: frozenset[str]) -> None:
        if self.schedule.inventory_version != self._version:
            self._rejoin()
        changed = frozenset(_name(key) for name in names for key in self._targets.get(name, ()))
        if changed:
            self._tell(changed)

    def _rejoin(self) -> None:
        self._version = self.schedule.inventory_version
        found = join(self._for.driver, self.schedule.devices, self._slices.values(), self._for.written)
        if found.unmatched and found.unmatched != self._said:
            log.warning("no device of driver=%s is the same as: %s", self._for.driver, ", ".join(found.unmatched))
        self._said = found.unmatched
        before = {key: set(names) for key, names in self._ours.items()}
        self._targets = dict(found.targets)
        ours: dict[DeviceKey, list[str]] = {}
        for name, keys in self._targets.items():
            for key in keys:
                ours.setdefault(key, []).append(name)
        self._ours = {key: tuple(names) for key, names in ours.items()}
        fresh = {key for key, names in ours.items() if before.get(key) != set(names)}
        if fresh:
            log.info("speaks of devices=%d of driver=%s", len(ours), self._for.driver)
            self._tell(frozenset(map(_name, fresh)))

    def _verdict(self, key: DeviceKey) -> Verdict | None:
        said = [verdict for name in self._ours.get(key, ()) if (verdict := self.schedule.verdict(name)) is not None]
        return merged(key, said) if said else None

    def _tell(self, names: frozenset[str]) -> None:
        for listener in tuple(self._listeners):
            listener(names)


@asynccontextmanager
async def speaking_for(
    target: For, parts: Parts, settings: Settings, client: Client | None, clock: Clock = SYSTEM
) -> AsyncIterator[Joined]:
    """Serves until left. Raises as `serve.serving` does. Without a `client` call `Joined.take` with the slices."""
    where = await asyncio.to_thread(sockets, f"{target.driver}.{target.source}", settings)
    await asyncio.to_thread(make_directories, replace(settings, cdi_dir=settings.plugin_dir), where)
    schedule = Schedule(parts.name, settings.node, parts.detectors, clock, keep=where.endpoint.parent)
    await schedule.start()
    joined = Joined(target, schedule)
    info = PluginInfo(HEALTH_SOURCE_TYPE, f"{target.driver}/{target.source}", str(where.endpoint), HEALTH_VERSIONS)
    endpoint = PluginServer(where.endpoint, health=Health(joined))
    registrar = PluginServer(where.registration, registration=Registration(info))
    jobs = {"driver: detectors": schedule.run()}
    if client is not None:
        jobs["driver: slices of the other"] = _follow(client, target, settings.node, joined)
    async with at_work(jobs, (registrar, endpoint), schedule):
        log.info("speaking for driver=%s source=%s node=%s socket=%s", target.driver, target.source, settings.node, where.registration)
        yield joined


async def _follow(client: Client, target: For, node: str, joined: Joined) -> None:
    """Slices of this node, and those that are not bound to one."""
    known: dict[str, ResourceSlice] = {}

    def complain(error: PodvitalsError, _: float) -> None:
        log.warning("slices of driver=%s not read: %s", target.driver, error)

    fields = f"spec.driver={target.driver}"
    async with aclosing(follow(client, SLICES, fields=fields, clock=joined.clock, on_error=complain)) as changes:
        synced = False
        async for change in changes:
            if change.object is None:
                synced = True
            elif change.kind == "deleted":
                known.pop(change.object.metadata.name, None)
            elif change.object.spec.node_name in (None, node):
                known[change.object.metadata.name] = change.object
            if synced:
                joined.take(known)


def _name(key: DeviceKey) -> str:
    return f"{key.pool}/{key.device}"
