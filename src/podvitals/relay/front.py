"""A driver's front towards the kubelet: its stand-ins' sockets, and what the kubelet says of them.

`Standing` decides; here sockets are made and taken away, one after the other, and the driver is told what the kubelet answered. The
kubelet waits one second for GetInfo, and takes a registration back whose NotifyRegistrationStatus fails: so both are answered from memory.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from podvitals.clock import Clock, set_by
from podvitals.errors import PluginError, PodvitalsError
from podvitals.node.choice import Socket
from podvitals.relay.calls import Calls
from podvitals.relay.health import Health
from podvitals.relay.keeping import Keeping, Kept, Left
from podvitals.relay.places import Places, Sockets
from podvitals.relay.standing import HOLD, Answer, Close, Effect, Open, StandIn, Standing
from podvitals.relay.state import CallsView, Towards
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import HEALTH_VERSIONS, PLUGIN_TYPE, PluginInfo
from podvitals.wire.server import PluginServer

log = logging.getLogger(__name__)

LONGEST_CALL = HOLD + 5.0
"""Seconds that calls under way are given where what they came by is to go: the kubelet waits no longer."""
LOOK_AGAIN = 0.1
RETRY_SOCKETS = 5.0
"""Seconds until sockets that could not be made are tried again."""


class _Registration:
    """A `podvitals.wire.server.RegistrationHandler`."""

    def __init__(self, info: PluginInfo, on_notified: Callable[[bool, str], None]) -> None:
        self._info, self._on_notified = info, on_notified

    async def get_info(self) -> PluginInfo:
        return self._info

    async def notify_registration(self, registered: bool, error: str) -> None:
        self._on_notified(registered, error)


@dataclass(slots=True, eq=False)
class _Servers:
    """A stand-in that is open; `goes`: when, once it is to go, or when its calls have ended after that."""

    sockets: Sockets
    registration: PluginServer
    endpoint: PluginServer
    kept: Kept
    goes: float = 0.0

    async def stop(self) -> None:
        # The registration first: the kubelet lets go of the endpoint before it finds it gone.
        try:
            await self.registration.stop()
        finally:
            await self.endpoint.stop()


class Front:
    """One driver. `registrations`: the sockets of its own that are to be told what the kubelet says."""

    def __init__(
        self,
        driver: str,
        places: Places,
        calls: Calls,
        health: Health,
        registrations: Callable[[], tuple[Socket, ...]],
        keeping: Keeping,
        clock: Clock,
    ) -> None:
        self.driver, self.calls, self.health = driver, calls, health
        self.standing = Standing()
        self._places, self._registrations, self._keeping, self._clock = places, registrations, keeping, clock
        self._servers: dict[int, _Servers] = {}
        self._leaving: list[_Servers] = []
        """Those that go when the calls on them have ended."""
        self._to_do: deque[Open | Close] = deque()
        self._told: dict[Socket, Answer] = {}
        self._wake = asyncio.Event()

    def towards(self) -> Towards:
        """How it stands with the kubelet, for those who ask."""
        endpoints = {number: str(servers.sockets.endpoint) for number, servers in self._servers.items()}
        calls = CallsView(self.calls.passed, self.calls.held, self.calls.failed)
        return Towards(self.standing, endpoints, self.health.watchers, calls)

    def serves(self, versions: tuple[str, ...]) -> None:
        self._do(self.standing.serves(versions))
        self.calls.moved()

    async def inherit(self, left: Left) -> None:
        """Serves on what another relay has left, before `run`."""
        stand_in = self.standing.inherit(left.kept.versions, self._clock.now())
        self._servers[stand_in.number] = await self._serve(stand_in, left.kept.sockets, left)
        log.info("stands in for a relay that is gone", extra={"driver": self.driver, "endpoint": left.kept.endpoint})

    def away(self) -> None:
        self.standing.away(self._clock.now())
        self.calls.moved()
        self._wake.set()

    def withdraw(self) -> None:
        """The kubelet has the driver itself."""
        self._do(self.standing.withdraw())

    @property
    def idle(self) -> bool:
        """Nobody stands in for the driver, and it is not registered any more."""
        return not (self.standing.stand_ins or self._to_do or self._servers or self._leaving or self._registrations())

    @property
    def busy(self) -> bool:
        """Whether a call is under way on any of its endpoints."""
        return any(servers.endpoint.busy for servers in (*self._servers.values(), *self._leaving))

    async def run(self) -> None:
        """Until cancelled; then its sockets are gone."""
        try:
            while True:
                self._wake.clear()
                again = await self._work()
                await self._tell()
                ends = [at for at in (self.standing.next_deadline(), again, await self._let_go()) if at is not None]
                await set_by(self._wake, self._clock, min(ends, default=None))
                self._do(self.standing.expire(self._clock.now()))
        finally:
            for servers in (*self._servers.values(), *self._leaving):
                await self._stop(servers)
            self._servers.clear()
            self._leaving.clear()

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _do(self, effects: tuple[Effect, ...]) -> None:
        self._to_do.extend(effect for effect in effects if not isinstance(effect, Answer))
        self._wake.set()

    async def _work(self) -> float | None:
        """Makes and takes away sockets in the order asked for; when to go on where that was not possible."""
        while self._to_do:
            effect = self._to_do[0]
            if isinstance(effect, Open):
                try:
                    await self._open(effect.stand_in)
                except PodvitalsError as error:
                    log.error("cannot stand in", extra={"driver": self.driver, "reason": str(error)})
                    return self._clock.now() + RETRY_SOCKETS
            elif (servers := self._servers.pop(effect.stand_in.number, None)) is not None:
                # From now on what the kubelet has taken is to be inherited, and not this.
                self._keeping.forget(servers.kept)
                servers.goes = self._clock.now() + (LONGEST_CALL if effect.lingers else 0.0)
                self._leaving.append(servers)
                if effect.lingers or servers.endpoint.busy:
                    log.info("stands in until its calls have ended", extra={"driver": self.driver, "endpoint": servers.kept.endpoint})
            self._to_do.popleft()
        return None

    async def _let_go(self) -> float | None:
        """Of the stand-ins that are to go, those without a call; when to look at the others. The kubelet drops the calls of a registration
        that goes, and a prepare that fails costs its pod a minute; calls that are made from now on go to the newest."""
        now = self._clock.now()
        for servers in [one for one in self._leaving if now >= one.goes and (now >= one.goes + LONGEST_CALL or not one.endpoint.busy)]:
            await self._stop(servers)
            self._leaving.remove(servers)
            log.info("no longer stands in", extra={"driver": self.driver, "endpoint": str(servers.sockets.endpoint)})
        return min((max(one.goes, now + LOOK_AGAIN) for one in self._leaving), default=None)

    async def _open(self, stand_in: StandIn) -> None:
        servers = self._servers[stand_in.number] = await self._serve(stand_in, self._places.make(self.driver))
        endpoint = str(servers.sockets.endpoint)
        log.info("stands in", extra={"driver": self.driver, "endpoint": endpoint, "versions": ",".join(stand_in.versions)})

    async def _serve(self, stand_in: StandIn, sockets: Sockets, left: Left | None = None) -> _Servers:
        info = PluginInfo(PLUGIN_TYPE, self.driver, str(sockets.endpoint), stand_in.versions)
        bound = (None, None) if left is None else (left.registration, left.endpoint)
        endpoint = PluginServer(sockets.endpoint, health=self.health, other=self.calls, versions=HEALTH_VERSIONS, listening=bound[1])
        handler = _Registration(info, lambda registered, error: self._notified(stand_in.number, registered, error))
        registration = PluginServer(sockets.registration, registration=handler, listening=bound[0])
        # The endpoint first: the kubelet dials it as soon as it finds the registration.
        await endpoint.start()
        try:
            await registration.start()
        except BaseException:
            await endpoint.stop()
            raise
        kept = Kept(self.driver, stand_in.versions, str(sockets.registration), str(sockets.endpoint))
        assert registration.listening is not None
        assert endpoint.listening is not None
        self._keeping.keep(Left(kept, registration.listening, endpoint.listening))
        return _Servers(sockets, registration, endpoint, kept)

    async def _stop(self, servers: _Servers) -> None:
        self._keeping.forget(servers.kept)
        await servers.stop()

    def _notified(self, number: int, registered: bool, error: str) -> None:
        level = logging.INFO if registered else logging.ERROR
        log.log(
            level,
            "the kubelet has registered it" if registered else "the kubelet refused it",
            extra={"driver": self.driver, "reason": error},
        )
        self._do(self.standing.notified(number, registered, error))

    async def _tell(self) -> None:
        """Passes on what the kubelet said to those registrations of the driver that do not know it yet."""
        answer, registrations = self.standing.answer, self._registrations()
        self._told = {socket: told for socket, told in self._told.items() if socket in registrations}
        for socket in registrations:
            if answer is not None and self._told.get(socket) != answer:
                self._told[socket] = answer
                try:
                    async with PluginClient(socket.path) as client:
                        await client.notify_registration(answer.registered, answer.error)
                except PluginError as error:
                    log.warning("not told of its registration", extra={"driver": self.driver, "socket": socket.path, "reason": str(error)})
