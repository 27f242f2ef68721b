"""NodeWatch: what this node's drivers say of their devices, for whoever has to tell (the agent, the lab's kubelet).

It owns discovery, one task an endpoint, one timer for all leases and the checkpoint; what is true, and who may say so, is decided by
the switchboard. Callbacks are synchronous: when they run, the ledger already says what they are told about. Nothing is queued.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from podvitals.clock import Clock
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.node.choice import Socket
from podvitals.node.discovery import Discovery
from podvitals.node.endpoint import Endpoint, Manner
from podvitals.node.hearing import Hearing
from podvitals.node.keeper import Keeper
from podvitals.node.limits import Limits
from podvitals.node.record import DeviceState, SourceKey
from podvitals.node.sayings import Sayings
from podvitals.node.session import Event, Stage
from podvitals.node.standstill import TICK, Standstill, WallClock
from podvitals.node.stream import Gone
from podvitals.node.switchboard import Switchboard
from podvitals.node.told import Told
from podvitals.wire.client import PluginClient

FIRST_ANSWERS = 1.0
"""Seconds a start waits for drivers to say who they are: a hung one must not keep the others from being told of."""
FIRST_REPORTS = 0.25
"""Seconds a start waits for the first reports of drivers that answered: what a checkpoint remembers may be a few milliseconds old."""
CRASHED_WAIT = 5.0
TAKEN_AT_ONCE = 512
"""Devices of a report that was read, between which others are heard: a few milliseconds where they are new."""

log = logging.getLogger(__name__)

Callback = Callable[[frozenset[DeviceKey]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """`leave`: drivers whose health stream is not opened (the operator's choice, ARCHITECTURE rule 13). `checkpoint`: a file, None for no
    memory beyond this process."""

    plugin_dir: Path
    checkpoint: Path | None = None
    leave: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class DriverView:
    """One registered endpoint; a source that is only remembered has endpoint "". Times in Unix seconds, 0.0 for never.

    `since`: connected, or else registered, since then; `speaks_since`: has authority since then. `devices`, `smallest_lease`: of its
    source, told by whoever speaks for it (or, if nobody does, by the newest). `refusals`: how often what it said was not taken, by
    reason; whoever tells for a source adds those of endpoints that are gone. `trouble`: why it is not connected."""

    driver: str
    source: str
    endpoint: str
    connected: bool
    speaks: bool
    since: float
    last_report: float
    devices: int
    smallest_lease: float | None
    versions: tuple[str, ...]
    health_version: str
    reports: int
    refusals: Mapping[str, int] = field(default_factory=dict)
    trouble: str = ""
    left: bool = False
    speaks_since: float = 0.0


class NodeWatch:
    """`registrar`: tells drivers that they are registered, as a kubelet does; an observer beside a kubelet must not. One that does not
    confirm tells only refusals: whether a driver is registered is then somebody else's to say (`registrations`). `owners`: the users
    whose sockets are taken, None: anybody's.

    `loaded` is set when what the checkpoint remembers can be asked for: before that, nobody knows anything of any device.
    `ready` is set when moreover the directory was scanned, each socket found was asked once and what answered has reported
    or had its moment to. Before that, what a checkpoint remembers may be older than what a driver has said: publish nothing yet."""

    def __init__(
        self,
        settings: NodeSettings,
        clock: Clock,
        *,
        registrar: bool = False,
        confirms: bool = True,
        owners: frozenset[int] | None = None,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._manner = Manner(settings.leave, registrar, confirms, owners)
        self._standstill = Standstill()
        self._board = Switchboard(settings.limits, settings.leave, self._standstill)
        self._discovery = Discovery(settings.plugin_dir, self._found, self._lost, self._is_driver, settings.limits)
        self._keeper = Keeper(settings.checkpoint, self._board, clock)
        self._endpoints: dict[int, Endpoint] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._count = 0
        self._callbacks: list[Callback] = []
        self._on_drivers: list[Callable[[str], None]] = []
        self._earlier = asyncio.Event()
        self._sleeps_until: float | None = None
        self._sayings = Sayings()
        self._gone = Gone(settings.limits.drivers)
        self.loaded, self.ready = asyncio.Event(), asyncio.Event()

    # --- for those who ask -------------------------------------------------------------------------------------------------------

    def subscribe(self, callback: Callback) -> None:
        """`callback` is called in the event loop with the devices whose state changed. It must not block."""
        self._callbacks.append(callback)

    def state(self, key: DeviceKey) -> DeviceState:
        """A device nobody reported is Unknown and the message says why; when that reason changes, callbacks are told of it."""
        return self._board.state(key)

    def states(self) -> Mapping[DeviceKey, DeviceState]:
        """Every device that was ever reported (and not forgotten since)."""
        return self._board.states()

    def plugin(self, driver: str) -> tuple[PluginClient, str] | None:
        """Client and DRA version of the newest connected endpoint that takes calls."""
        for number in self._board.session.connected(driver):
            endpoint = self._endpoints[number]
            if endpoint.dra and endpoint.client is not None:
                return endpoint.client, endpoint.dra
        return None

    def serving(self, driver: str) -> tuple[PluginClient, tuple[str, ...]] | None:
        """Client and listed versions of the newest connected endpoint, for whoever passes calls on unread."""
        for number in self._board.session.connected(driver):
            endpoint = self._endpoints[number]
            if endpoint.client is not None:
                return endpoint.client, endpoint.info.supported_versions
        return None

    def vouch(self, driver: str) -> None:
        """The driver is known to live, and says only what changes (`podvitals relay --on-change`): what it said last holds."""
        self._tell(self._board.expire(self._clock.now(), self._clock.wall()))
        self._board.ledger.vouch(SourceKey(driver), self._clock.now())
        self._keeper.changed()

    def registrations(self, driver: str) -> tuple[Socket, ...]:
        """The registration sockets of the driver's endpoints, oldest first."""
        return tuple(self._endpoints[number].socket for number in self._board.session.endpoints(SourceKey(driver)))

    def subscribe_drivers(self, callback: Callable[[str], None]) -> None:
        """`callback` is called in the event loop with the name of a driver whose endpoints came, connected, or went."""
        self._on_drivers.append(callback)

    def drivers(self) -> tuple[DriverView, ...]:
        known = {endpoint.source for endpoint in self._endpoints.values()}
        remembered = [source for source in self._board.ledger.sources() if source not in known]
        views = [self._view(endpoint, endpoint.source) for endpoint in self._endpoints.values() if endpoint.source is not None]
        views += [self._remembered(source) for source in remembered]
        return tuple(sorted(views, key=lambda view: (view.driver, view.source, view.endpoint)))

    @property
    def trouble(self) -> str:
        """Why no driver can be found, "" while the plugin directory can be read."""
        missing = self._discovery.missing
        return f"plugin directory {self._settings.plugin_dir}: {missing}" if missing else ""

    @property
    def keeper(self) -> Keeper:
        """How the checkpoint does: its `trouble`, and the `seconds` of its last save."""
        return self._keeper

    # --- running -----------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. May be called once. While what is remembered is read, drivers are asked who they are already."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._tick(), name="node: noticing a standstill")
                self._group.create_task(self._discovery.run(), name="node: plugin directory")
                self._tell(await self._keeper.load())
                self.loaded.set()
                self._group.create_task(self._end_leases(), name="node: leases")
                self._group.create_task(self._keeper.run(), name="node: checkpoint")
                self._group.create_task(self._become_ready(), name="node: becoming ready")
        finally:
            if self.loaded.is_set():
                await self._keeper.finish()

    async def _become_ready(self) -> None:
        await self._discovery.scanned.wait()
        first = list(self._endpoints.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWERS):
                for endpoint in first:
                    await endpoint.asked.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REPORTS):
                for endpoint in first:
                    await endpoint.opened.wait()
        self.ready.set()

    async def _end_leases(self) -> None:
        while True:
            self._earlier.clear()
            self._sleeps_until = self._board.next_deadline()
            if self._sleeps_until is None:
                await self._earlier.wait()
            else:
                await self._sleep(self._sleeps_until)
            self._tell(self._board.expire(self._clock.now(), self._clock.wall()))

    async def _tick(self) -> None:
        told, wall_clock = self._standstill.woke, WallClock()
        while True:
            self._standstill.look(now := self._clock.now())
            if told != self._standstill.woke:
                told = self._standstill.woke
                self._say_clock("this process stood still: it was stopped, or the machine slept", self._standstill.seconds, now)
            if stepped := wall_clock.look(now, self._clock.wall()):
                self._say_clock(f"the wall clock was set {'forward' if stepped > 0 else 'back'}", abs(stepped), now)
            await self._clock.sleep_until(now + TICK)

    def _say_clock(self, text: str, seconds: float, now: float) -> None:
        if self._sayings.may(text, "", now):
            log.warning(text, extra={"seconds": f"{seconds:.0f}"})

    async def _sleep(self, deadline: float) -> None:
        """Until the deadline, or until there is an earlier one."""
        tasks = {
            asyncio.create_task(self._clock.sleep_until(deadline), name="node: until the next lease ends"),
            asyncio.create_task(self._earlier.wait(), name="node: until one ends earlier"),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- endpoints ---------------------------------------------------------------------------------------------------------------

    def _found(self, socket: Socket) -> None:
        assert self._group is not None
        self._count += 1
        endpoint = Endpoint(self._count, socket, self, self._clock, self._manner, self._sayings)
        self._endpoints[endpoint.number] = endpoint
        self._tasks[endpoint.number] = self._group.create_task(self._live(endpoint), name=f"node: {socket.path}")

    def _is_driver(self, socket: Socket) -> bool:
        """Whether somebody is behind it who has shown that he is a driver."""
        endpoint = next((one for one in self._endpoints.values() if one.socket.path == socket.path), None)
        return endpoint is not None and endpoint.source is not None and (endpoint.left or self._connected(endpoint))

    def _connected(self, endpoint: Endpoint) -> bool:
        return self._board.session.stage(endpoint.number) in (Stage.CONNECTED, Stage.REPORTING)

    def _lost(self, socket: Socket) -> None:
        for endpoint in [one for one in self._endpoints.values() if one.socket.path == socket.path]:
            self.drop(endpoint)

    async def _live(self, endpoint: Endpoint) -> None:
        while True:
            try:
                return await endpoint.run()
            except Exception:
                # A fault of ours that one driver's words brought out must not cost the other drivers.
                log.exception("following %s failed", clean(endpoint.socket.path))
            self.event(endpoint, Event.DISCONNECT)
            endpoint.asked.set()
            endpoint.opened.set()
            await asyncio.sleep(CRASHED_WAIT)

    def drop(self, endpoint: Endpoint) -> None:
        if self._endpoints.get(endpoint.number) is not endpoint:
            return  # its socket went while somebody looked whether it is dead
        self.event(endpoint, Event.REMOVE)
        del self._endpoints[endpoint.number]
        endpoint.asked.set()
        endpoint.opened.set()
        self._tasks.pop(endpoint.number).cancel()
        if endpoint.source is not None:
            self._gone.add(endpoint.source, endpoint.refusals.counts)
            self.say(endpoint, "registration is gone")

    def another(self, endpoint: Endpoint) -> None:
        self._discovery.again(endpoint.socket)

    def admit(self, endpoint: Endpoint, source: SourceKey) -> Endpoint | str | None:
        told = self._board.register(
            endpoint.number,
            source,
            endpoint.info.endpoint,
            endpoint.socket.born,
            serves_health=bool(endpoint.health),
            now=self._clock.now(),
            wall=self._clock.wall(),
        )
        if isinstance(told, str):
            return told
        if isinstance(told, int):
            return self._endpoints[told]
        endpoint.source = source
        self._tell(told)
        self._moved(endpoint)
        return None

    def event(self, endpoint: Endpoint, event: Event) -> None:
        if event is Event.CONNECT:
            endpoint.opened_at = self._clock.now()
        self._tell(self._board.event(endpoint.number, event, self._clock.now(), self._clock.wall()))
        if event in (Event.CONNECT, Event.DISCONNECT, Event.REMOVE):
            self._moved(endpoint)

    def _moved(self, endpoint: Endpoint) -> None:
        if endpoint.source is not None:
            for callback in self._on_drivers:
                callback(endpoint.source.driver)

    def without_health(self, endpoint: Endpoint) -> None:
        self._tell(self._board.without_health(endpoint.number))

    def heard(self, endpoint: Endpoint, raw: bytes) -> Hearing | None:
        now, wall = self._clock.now(), self._clock.wall()
        return self.go_on(self._board.begin(endpoint.number, raw, now, wall, self._standstill.arrived(now, endpoint.opened_at)))

    def go_on(self, hearing: Hearing | None) -> Hearing | None:
        if hearing is None or hearing.step():
            return hearing
        self._tell(self._board.finish(hearing, self._clock.now(), self._clock.wall(), TAKEN_AT_ONCE))
        return None if hearing.done else hearing

    # --- telling -----------------------------------------------------------------------------------------------------------------

    def _tell(self, told: Told) -> None:
        for refused in told.refused:
            if (endpoint := self._endpoints.get(refused.number)) is not None:
                endpoint.refusals.count(refused.reason, refused.text, refused.times)
        for line in told.lines:
            fields = dict(line.fields)
            self._log(line.text, f"{fields.get('driver')}/{fields.get('source')}", fields)
        deadline = self._board.next_deadline()
        if deadline is not None and (self._sleeps_until is None or deadline < self._sleeps_until):
            self._earlier.set()
        self._keeper.changed()
        if told.changed:
            for callback in self._callbacks:
                try:
                    callback(told.changed)
                except Exception:
                    log.exception("a subscriber failed")

    def say(self, endpoint: Endpoint, text: str, error: str = "") -> None:
        driver, source = endpoint.source or (endpoint.info.name, "")
        fields = {"driver": driver, "source": source, "endpoint": endpoint.info.endpoint, "error": error}
        self._log(text, f"{driver}/{source}", {name: value for name, value in fields.items() if value})

    def _log(self, text: str, who: str, fields: dict[str, str]) -> None:
        if times := self._sayings.may(text, who, self._clock.now()):
            log.info(text, extra=fields if times == 1 else {**fields, "times": times})

    def _view(self, endpoint: Endpoint, source: SourceKey) -> DriverView:
        place = self._board.place(endpoint.number)
        speaker = self._board.session.speaker(source)
        tells = speaker if speaker is not None else max(self._board.session.endpoints(source), default=None)
        summary = self._board.ledger.summary(source)
        return DriverView(
            driver=source.driver,
            source=source.source,
            endpoint=endpoint.info.endpoint,
            connected=self._connected(endpoint),
            speaks=speaker == endpoint.number,
            speaks_since=place.speaks_since if place is not None and speaker == endpoint.number else 0.0,
            since=endpoint.since,
            last_report=0.0 if place is None else place.heard,
            devices=summary.devices if tells == endpoint.number else 0,
            smallest_lease=summary.smallest_lease if tells == endpoint.number else None,
            versions=endpoint.info.supported_versions,
            health_version=endpoint.health,
            reports=0 if place is None else place.reports,
            refusals=endpoint.refusals.counts + (self._gone.of(source) if tells == endpoint.number else Counter()),
            trouble=clean(endpoint.trouble),
            left=endpoint.left,
        )

    def _remembered(self, source: SourceKey) -> DriverView:
        told = self._board.ledger.summary(source)
        trouble = "not registered"
        return DriverView(*source, "", False, False, 0.0, told.heard, told.devices, told.smallest_lease, (), "", 0, trouble=trouble)
