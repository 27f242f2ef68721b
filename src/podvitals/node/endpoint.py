"""The life of one registration: asked who it is, registered, connected, watched, until its socket goes.

The kubelet's rules hold (CONTRACT §1): the DRA version is the first of the driver's list that we know, the health version the newest
listed; a second registration of a driver name with the same endpoint path is refused while the first lives. A socket is bound before
anybody listens, and stays when its process dies: whoever refuses is asked again, ever more slowly.
"""

import asyncio
import logging
import random
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol

from podvitals.clock import Clock
from podvitals.device.key import check_driver_name
from podvitals.device.text import clean
from podvitals.errors import InvalidInput, LocalError, PluginError, PluginProtocolError, PluginUnimplemented, PluginUnreachable
from podvitals.node.choice import Socket
from podvitals.node.hearing import Hearing
from podvitals.node.record import SourceKey
from podvitals.node.sayings import Sayings
from podvitals.node.session import Event
from podvitals.node.stream import Pace, Refusals
from podvitals.node.told import Reason
from podvitals.wire.client import PluginClient
from podvitals.wire.endpoint import check_path, is_live
from podvitals.wire.messages import DRA_VERSIONS, HEALTH_SOURCE_TYPE, HEALTH_VERSIONS, PLUGIN_TYPE, PluginInfo

FIRST_WAIT, LONGEST_WAIT = 0.02, 5.0
"""Seconds before the first and between later attempts to reach somebody who refuses; each is drawn at random up to twice the last."""
REFUSED_WAIT = 2.0
"""Seconds until a registration that was refused for another's sake is looked at again."""
LIVED = 1.0
"""Seconds a connection has to last for the next attempt to come at once."""
TRIES = 3
"""To tell a driver whether it is registered, and to ask one that came back who it is."""
LONGEST_SOURCE = 63

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manner:
    """How endpoints are dealt with. `leave`: drivers that are not followed. `registrar`: they are told that they are refused and, with
    `confirms`, that they are registered. `owners`: users whose sockets are taken; None: anybody's."""

    leave: frozenset[str] = frozenset()
    registrar: bool = False
    confirms: bool = True
    owners: frozenset[int] | None = None


class Desk(Protocol):
    """What an endpoint needs of the node watch that owns it. `loaded`: set once endpoints may be admitted, since what an earlier process
    knew is known here."""

    loaded: asyncio.Event

    def admit(self, endpoint: "Endpoint", source: SourceKey) -> "Endpoint | str | None":
        """Registers it, or names the one that has its place, or says why there is none."""

    def say(self, endpoint: "Endpoint", text: str, error: str = "") -> None:
        """One line of the log about it."""

    def another(self, endpoint: "Endpoint") -> None:
        """Behind its registration socket is another registration now, although the socket looks the same."""

    def drop(self, endpoint: "Endpoint") -> None:
        """Its process is dead: its place is free."""

    def event(self, endpoint: "Endpoint", event: Event) -> None: ...

    def heard(self, endpoint: "Endpoint", raw: bytes) -> Hearing | None:
        """What is left of it to be read, None when it is done."""

    def go_on(self, hearing: Hearing | None) -> Hearing | None:
        """Reads on."""

    def without_health(self, endpoint: "Endpoint") -> None:
        """It turned out to serve none."""


class Wait:
    """Ever longer, with jitter, so that many who lost one thing do not come back as one."""

    def __init__(self) -> None:
        self._longest = FIRST_WAIT

    def reset(self) -> None:
        self._longest = FIRST_WAIT

    async def sleep(self) -> None:
        seconds, self._longest = random.uniform(self._longest / 2, self._longest), min(2 * self._longest, LONGEST_WAIT)
        await asyncio.sleep(seconds)


class Endpoint:
    """`asked`: it answered GetInfo once, or did not. `opened`: its first report came, or it is known that none comes soon."""

    def __init__(self, number: int, socket: Socket, desk: Desk, clock: Clock, manner: Manner, sayings: Sayings) -> None:
        self.number = number
        self.socket = socket
        self.source: SourceKey | None = None
        self.info = PluginInfo("", "", "", ())
        self.dra = ""
        self.health = ""
        self.client: PluginClient | None = None
        self.since = clock.wall()
        self.opened_at = clock.now()
        self.trouble = ""
        self.refusals = Refusals(socket.path, clock, sayings)
        self.asked, self.opened = asyncio.Event(), asyncio.Event()
        self._desk, self._clock = desk, clock
        self._manner = manner

    @property
    def left(self) -> bool:
        return self.source is not None and self.source.driver in self._manner.leave

    async def run(self) -> None:
        async with PluginClient(self.socket.path) as registration:
            try:
                self.info = await self._ask(registration)
                source = await self._identify(registration)
                await self._desk.loaded.wait()
                if source is None or not await self._register(registration, source):
                    return
            finally:
                self.asked.set()
                if self.source is None or self.left:
                    self.opened.set()
        if not self.left:
            async with PluginClient(self.info.endpoint) as self.client:
                await self._follow(self.client)

    # --- registration ------------------------------------------------------------------------------------------------------------

    async def _ask(self, registration: PluginClient) -> PluginInfo:
        wait = Wait()
        while True:
            try:
                return await registration.get_info()
            except PluginUnreachable as error:
                self.trouble = str(error)
            except PluginError as error:
                self.trouble = str(error)
                self.refusals.count(Reason.REGISTRATION, str(error))
            self.asked.set()
            self.opened.set()
            await wait.sleep()

    async def _identify(self, registration: PluginClient) -> SourceKey | None:
        """None for what is no business of ours, or no valid registration: only a new socket can change that."""
        info = self.info
        if info.type not in (PLUGIN_TYPE, HEALTH_SOURCE_TYPE):
            if self._manner.registrar:
                await self._notify(registration, False, f'no handler registered for plugin type "{info.type}"')
            return None
        try:
            if self._manner.owners is not None and self.socket.owner not in self._manner.owners:
                raise InvalidInput(
                    f"the socket belongs to user {self.socket.owner}, and only root's drivers are taken: chown it, or run as root"
                )
            driver, _, source = info.name.partition("/") if info.type == HEALTH_SOURCE_TYPE else (info.name, "", "")
            check_driver_name(driver)
            if not check_path(info.endpoint).is_absolute():
                raise InvalidInput(f"endpoint {info.endpoint!r} is not an absolute path")
            if clean(info.endpoint) != info.endpoint:
                raise InvalidInput(f"endpoint {clean(info.endpoint)} is not printable as it stands")
            if len(source) > LONGEST_SOURCE or clean(source) != source:
                raise InvalidInput(f"health source name {source!r} is longer than {LONGEST_SOURCE} characters, or not printable")
        except InvalidInput as error:
            self.refusals.count(Reason.REGISTRATION, f"{self.socket.path}: {error}")
            if self._manner.registrar:
                await self._notify(registration, False, str(error))
            return None
        self.dra = next((version for version in info.supported_versions if version in DRA_VERSIONS), "")
        self.health = next((version for version in HEALTH_VERSIONS if version in info.supported_versions), "")
        return SourceKey(driver, (source or "auxiliary") if info.type == HEALTH_SOURCE_TYPE else "")

    async def _register(self, registration: PluginClient, source: SourceKey) -> bool:
        told = False
        while (rival := self._desk.admit(self, source)) is not None:
            if isinstance(rival, Endpoint) and await self._is_dead(rival):
                self._desk.drop(rival)
                continue
            why = self._why_not(source, rival)
            self.refusals.count(Reason.ROOM if isinstance(rival, str) else Reason.REGISTRATION, f"{self.socket.path}: {why}")
            if self._manner.registrar and not told:
                await self._notify(registration, False, why)
            told = True
            self.asked.set()
            self.opened.set()
            await asyncio.sleep(REFUSED_WAIT)
        self.refusals.who = str(source)
        self._desk.say(self, "registered")
        if self._manner.registrar and self._manner.confirms:
            await self._notify(registration, True, "")
        return True

    def _why_not(self, source: SourceKey, rival: "Endpoint | str") -> str:
        if isinstance(rival, str):
            return rival
        if rival.info.endpoint == self.info.endpoint:
            return f"{source} is already registered with endpoint {self.info.endpoint} by {rival.socket.path}"
        return f"{source} has as many endpoints as are followed, {rival.info.endpoint} the oldest"

    @staticmethod
    async def _is_dead(rival: "Endpoint") -> bool:
        try:
            return not await asyncio.to_thread(is_live, rival.socket.path)
        except LocalError:
            return False

    async def _notify(self, registration: PluginClient, registered: bool, error: str) -> None:
        wait = Wait()
        for _ in range(TRIES):
            try:
                return await registration.notify_registration(registered, error)
            except PluginUnreachable as failure:
                self.trouble = str(failure)
            except PluginError as failure:
                return self.refusals.count(Reason.REGISTRATION, str(failure))
            await wait.sleep()
        return None

    # --- the connection ----------------------------------------------------------------------------------------------------------

    async def _follow(self, client: PluginClient) -> None:
        async with asyncio.TaskGroup() as tasks:
            await self._keep_following(client, tasks)

    async def _keep_following(self, client: PluginClient, tasks: asyncio.TaskGroup) -> None:
        wait, loop = Wait(), asyncio.get_running_loop()
        asking: asyncio.Task[None] | None = None
        while True:
            started = loop.time()
            try:
                await self._connection(client)
                self._desk.event(self, Event.STREAM_END)
            except PluginUnreachable as error:
                self._lost(error)
                self._desk.event(self, Event.DISCONNECT)
                if asking is None or asking.done():
                    asking = tasks.create_task(self._ask_again(), name=f"node: whether {self.socket.path} is who it was")
            except PluginProtocolError as error:
                self.refusals.count(Reason.STREAM, str(error))
                self._desk.event(self, Event.STREAM_END)
            self.opened.set()
            if loop.time() - started > LIVED:
                wait.reset()
            await wait.sleep()

    async def _ask_again(self) -> None:
        """Whether who came back says of himself what was said before. Who restarts within one tick of the kernel's clock may get the inode
        and the time of birth of the socket before, and then no look at the directory tells them apart."""
        wait = Wait()
        async with PluginClient(self.socket.path) as registration:
            for _ in range(TRIES):
                await wait.sleep()
                with suppress(PluginError):
                    if await registration.get_info() != self.info:
                        self._desk.another(self)
                    return

    async def _connection(self, client: PluginClient) -> None:
        """Returns when the driver ends the health stream; raises when the connection goes, or what it says is no report."""
        await client.connect()
        self.trouble = ""
        self.since = self._clock.wall()
        self._desk.event(self, Event.CONNECT)
        while self.health:
            try:
                return await self._listen(client, self.health)
            except PluginUnimplemented as error:
                self._without(error)
        self.opened.set()
        await client.disconnected()
        raise PluginUnreachable(f"{self.info.endpoint}: the driver closed the connection")

    async def _listen(self, client: PluginClient, version: str) -> None:
        pace = Pace()
        async with aclosing(client.watch_health(version)) as stream:
            async for raw in stream:
                with pace.work():
                    hearing = self._desk.heard(self, raw)
                while hearing is not None:
                    await asyncio.sleep(0)
                    with pace.work():
                        hearing = self._desk.go_on(hearing)
                self.opened.set()
                await pace.rest()

    def _without(self, error: PluginUnimplemented) -> None:
        """The next older version it lists, if any. None is asked again before it registers anew (kubernetes#141855)."""
        older = HEALTH_VERSIONS[HEALTH_VERSIONS.index(self.health) + 1 :]
        self.health = next((version for version in older if version in self.info.supported_versions), "")
        self._desk.say(self, "does not serve the health service it lists", str(error))
        self._desk.event(self, Event.STREAM_END)
        if not self.health:
            self._desk.without_health(self)

    def _lost(self, error: PluginUnreachable) -> None:
        if not self.trouble:
            self._desk.say(self, "not reachable", str(error))
        self.trouble = str(error)
