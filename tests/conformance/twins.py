"""The model's broken twins: for each case of the suite a driver that breaks just its sentence."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from podvitals.errors import LocalError, PluginUnimplemented
from podvitals.wire.http2 import Connection
from podvitals.wire.listener import Listener
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, ClaimRef, PluginInfo, PrepareResult
from podvitals.wire.server import PluginServer
from podvitals.wire.stream import CallFailed, Status, Stream
from tests.conformance.model import Model
from tests.conformance.twins_health import (
    Backwards,
    BadUtf8,
    Colourful,
    Counting,
    Garbled,
    HealthSeven,
    Huge,
    LongMessage,
    Milliseconds,
    Mute,
    NegativeLease,
    NoPool,
    OneAfterTheOther,
    OneEndsAll,
    OneTruthAWatcher,
    OnlyOnChange,
    ServesOneOfTwo,
    Talkative,
    TellsNewcomersOne,
    Twice,
)

# ── Registration ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class NoGetInfo(Model):
    async def get_info(self) -> PluginInfo:
        raise PluginUnimplemented("not here")


class OfAnotherType(Model):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.type = "CSIPlugin"


class Told(Model):
    """Answers GetInfo with something else than what is so."""

    def told(self, info: PluginInfo) -> PluginInfo:
        raise NotImplementedError

    async def get_info(self) -> PluginInfo:
        return self.told(await super().get_info())


class BadName(Told):
    def told(self, info: PluginInfo) -> PluginInfo:
        return PluginInfo(info.type, "Toy Driver", info.endpoint, info.supported_versions)


class RelativeEndpoint(Told):
    def told(self, info: PluginInfo) -> PluginInfo:
        return PluginInfo(info.type, info.name, "dra.sock", info.supported_versions)


class EndpointElsewhere(Told):
    def told(self, info: PluginInfo) -> PluginInfo:
        return PluginInfo(info.type, info.name, f"{info.endpoint}.gone", info.supported_versions)


class OldVersions(Told):
    """As device plugins wrote them."""

    def told(self, info: PluginInfo) -> PluginInfo:
        return PluginInfo(info.type, info.name, info.endpoint, ("1.0.0",))


class BetaFirst(Told):
    def told(self, info: PluginInfo) -> PluginInfo:
        return PluginInfo(info.type, info.name, info.endpoint, (DRA_V1BETA1, DRA_V1, HEALTH_V1))


class NeverTheSame(Told):
    def told(self, info: PluginInfo) -> PluginInfo:
        return PluginInfo(info.type, info.name, info.endpoint, info.supported_versions[: 1 + self.calls["GetInfo"] % 4])


class OddSocket(Model):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.registration_path = directory / "plugins_registry" / "toys.sock"


class LeavesSockets(Model):
    async def start(self) -> None:
        await super().start()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.registration_path.with_name(f"{self.name}-0000-reg.sock")))


# ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class NoEmptyClaims(Model):
    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        if not claims:
            raise LocalError("no claims")
        return await super().prepare(claims)


class PreparesAnything(Model):
    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        return {claim.uid: PrepareResult() for claim in claims}


class LooksClaimsUp(Model):
    """No twin: fails the whole call where a claim is not found, as upstream's helper does."""

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        results = await super().prepare(claims)
        for result in results.values():
            if result.error:
                raise LocalError(result.error)
        return results


class AnswersTheFirst(Model):
    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        return await super().prepare(claims[:1])


class CannotUnprepare(Model):
    async def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, str]:
        return {claim.uid: "never prepared" for claim in claims}


class CannotPrepare(Model):
    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        return {claim.uid: PrepareResult(error="out of order") for claim in claims}


class PreparesOnce(Model):
    times = 0

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        self.times += 1
        return (
            await super().prepare(claims) if self.times == 1 else {claim.uid: PrepareResult(error="prepared already") for claim in claims}
        )


class BusyWhileWatched(Model):
    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        if self.watchers:
            raise LocalError("busy")
        return await super().prepare(claims)


class Internal(PluginServer):
    """Answers INTERNAL where UNIMPLEMENTED is right."""

    async def _answer(self, stream: Stream, method: str) -> Any:
        try:
            return await super()._answer(stream, method)
        except CallFailed as failed:
            raise CallFailed(Status.INTERNAL, failed.text) from None


class Served(Model):
    """With a server of its own making at the endpoint."""

    server: type[PluginServer] = PluginServer

    async def start(self) -> None:
        await super().start()
        await self._servers[0].stop()
        self._servers[0] = self.server(self.endpoint, dra=self, health=self, versions=self.versions)
        await self._servers[0].start()


class SaysInternal(Served):
    server = Internal


class SaysInternalToHealth(Served):
    server = Internal

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.versions = (DRA_V1,)


# ── Endings ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class DiesOfCancelling(Model):
    ended = 0

    async def watch(self) -> AsyncIterator[bytes]:
        try:
            async for raw in super().watch():
                yield raw
        finally:
            self.ended += 1
            if self.ended == 10:
                self._last = asyncio.create_task(self.crash(), name="a driver that crashes")


class OneAtATime(PluginServer):
    """Reads a request while every other caller waits."""

    async def _answer(self, stream: Stream, method: str) -> Any:
        self._turn = getattr(self, "_turn", None) or asyncio.Lock()
        async with self._turn:
            return await super()._answer(stream, method)


class WaitsForHalfACall(Served):
    server = OneAtATime


class Picky(Connection):
    """Of a server that ends when it meets what it does not know."""

    server: "Fragile"

    def buffer_updated(self, nbytes: int) -> None:
        if not getattr(self, "_met", False) and not bytes(self._buffer[:3]).startswith(b"PRI"):
            self.server.end()
        self._met = True
        super().buffer_updated(nbytes)


class Fragile(PluginServer):
    async def start(self) -> None:
        await super().start()
        assert self._listener is not None
        self._listener._connection = self._made  # type: ignore[method-assign]

    def _made(self) -> Connection:
        listener = self._listener
        assert isinstance(listener, Listener)
        connection = Picky(on_request=self._accept, on_lost=listener._connections.discard)
        connection.server = self
        listener._connections.add(connection)
        return connection

    def end(self) -> None:
        if self._listener is not None:
            self._listener.shut()


class DiesOfGarbage(Served):
    server = Fragile


class Few(PluginServer):
    """Takes ten connections."""

    async def start(self) -> None:
        await super().start()
        listener = self._listener
        assert listener is not None
        made, made_so_far = listener._connection, []

        def counted() -> Connection:
            made_so_far.append(made())
            if len(made_so_far) > 10:
                made_so_far[-1]._reason = "too many"
            return made_so_far[-1]

        listener._connection = counted  # type: ignore[method-assign]


class TakesFew(Served):
    server = Few


class TellsTheFirstFour(Model):
    came = 0

    async def watch(self) -> AsyncIterator[bytes]:
        self.came += 1
        if self.came <= 4:
            async for raw in super().watch():
                yield raw
        await asyncio.Event().wait()


TWINS: Mapping[str, type[Model]] = {
    "get-info": NoGetInfo,
    "type": OfAnotherType,
    "name": BadName,
    "endpoint-absolute": RelativeEndpoint,
    "endpoint-reachable": EndpointElsewhere,
    "versions": OldVersions,
    "dra-order": BetaFirst,
    "get-info-again": NeverTheSame,
    "socket-name": OddSocket,
    "stale-sockets": LeavesSockets,
    "empty-claims": NoEmptyClaims,
    "unknown-claim": PreparesAnything,
    "every-claim-answered": AnswersTheFirst,
    "unprepare-unknown": CannotUnprepare,
    "prepare-real": CannotPrepare,
    "prepare-again": PreparesOnce,
    "shared-connection": BusyWhileWatched,
    "unlisted-services": SaysInternalToHealth,
    "unknown-method": SaysInternal,
    "health-served": ServesOneOfTwo,
    "first-report": Mute,
    "whole-state": TellsNewcomersOne,
    "heartbeat": OnlyOnChange,
    "heartbeat-is-read": Backwards,
    "watchers-agree": OneTruthAWatcher,
    "watchers-independent": OneEndsAll,
    "slow-watcher": OneAfterTheOther,
    "readable": Garbled,
    "report-size": Huge,
    "device-names": NoPool,
    "device-once": Twice,
    "health-values": HealthSeven,
    "times": Milliseconds,
    "leases": NegativeLease,
    "message-length": LongMessage,
    "message-utf8": BadUtf8,
    "message-printable": Colourful,
    "message-timeless": Counting,
    "report-rate": Talkative,
    "cancelled-streams": DiesOfCancelling,
    "half-made-calls": WaitsForHalfACall,
    "garbage": DiesOfGarbage,
    "many-connections": TakesFew,
    "reconnect": TellsTheFirstFour,
    "restart": Model,
}
"""By the case that finds it. A restart that does nothing is found on any driver."""
