"""The driver that is tried: its registration socket, what it answered, and one observation of its health that many cases judge."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from podvitals.testing.conformance.case import Failed, NotApplicable, Skipped
from podvitals.testing.conformance.driver.listening import Listening, listening
from podvitals.testing.conformance.driver.observation import LONGEST_WAIT, Observation, Watcher
from podvitals.testing.conformance.line import Answer, Line
from podvitals.testing.conformance.rawreport import Garbled, fields
from podvitals.wire.messages import DRA_VERSIONS, HEALTH_VERSIONS, ClaimRef
from podvitals.wire.services import GET_INFO
from podvitals.wire.stream import Status

CALL_TIMEOUT = 10.0
_ANOTHER_SOCKET = (
    "name the registration socket (<driver>-reg.sock in plugins_registry), if this is another of the driver's; on that one serve "
    "pluginregistration.Registration (the package is not v1)"
)


@dataclass(frozen=True, slots=True)
class RawInfo:
    """The answer to GetInfo as it stands, text that is not UTF-8 repaired for showing."""

    type: str
    name: str
    endpoint: str
    versions: tuple[str, ...]

    @property
    def dra(self) -> list[str]:
        """The DRA services listed that kubelets know, in the driver's order."""
        return [version for version in self.versions if version in DRA_VERSIONS]

    @property
    def health(self) -> list[str]:
        """The health services listed, the newest first, as a kubelet takes them."""
        return [version for version in HEALTH_VERSIONS if version in self.versions]


@dataclass
class DriverSubject:
    """`timeout`: seconds any one wait may take. `claims`: real ones, allocated for this driver, that may be prepared and unprepared.
    `restart`: a shell command that restarts the driver."""

    socket: Path
    timeout: float = 60.0
    claims: Sequence[ClaimRef] = ()
    restart: str = ""
    _info: RawInfo | Failed | None = None
    _observation: Observation | None = None
    _has_health: bool | None = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _observing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, path: Path | str, method: str, request: bytes = b"") -> Answer:
        """One call on a connection of its own."""
        async with Line(path) as line:
            return await line.call(method, request, timeout=min(CALL_TIMEOUT, self.timeout))

    async def get_info(self) -> RawInfo:
        """Asks GetInfo, now. Failed where the answer is none."""
        answer = await self.ask(self.socket, GET_INFO)
        if answer.status is Status.UNIMPLEMENTED:
            raise Failed(f"GetInfo ended with {answer}", _ANOTHER_SOCKET)
        if answer.status is not Status.OK:
            raise Failed(f"GetInfo ended with {answer}")
        return _info_of(answer.message)

    async def info(self) -> RawInfo:
        """What GetInfo answered, asked once. Skipped where it does not answer: that is a case of its own."""
        async with self._asking:
            if self._info is None:
                try:
                    self._info = await self.get_info()
                except Failed as failed:
                    self._info = failed
                    raise Skipped(f"GetInfo does not answer: {failed.seen}") from None
            if isinstance(self._info, Failed):
                raise Skipped("GetInfo does not answer")
            return self._info

    async def endpoint(self) -> str:
        return (await self.info()).endpoint

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[Line]:
        """A connection to the driver's endpoint. Skipped where it cannot be reached: that is a case of its own."""
        endpoint = await self.endpoint()
        try:
            line = await Line(endpoint).__aenter__()
        except Failed as failed:
            raise Skipped(f"the endpoint cannot be reached: {failed.seen}") from None
        try:
            yield line
        finally:
            await line.__aexit__(None, None, None)

    async def health_version(self) -> str:
        """The health service a kubelet takes. NotApplicable for a driver that has none: it lists none, or answers UNIMPLEMENTED, as
        drivers built with upstream's helper do (CONTRACT §3)."""
        info = await self.info()
        if not info.health:
            raise NotApplicable("the driver lists no health service")
        async with self._observing:
            if self._has_health is None:
                async with self.calling() as line, listening(line, info.health[0]) as listener:
                    await listener.heard(1.0)
                self._has_health = not listener.watcher.unimplemented
        if not self._has_health:
            raise NotApplicable("the driver has no health: it answers UNIMPLEMENTED")
        return info.health[0]

    async def observed(self) -> Observation:
        """What several watchers heard, if anything, for as long as the driver's smallest lease; observed once."""
        version = await self.health_version()
        async with self._observing:
            if self._observation is None:
                self._observation = await self._observe(version)
        return self._observation

    async def observation(self) -> Observation:
        """The same. Skipped where the first watcher heard nothing: that is a case of its own."""
        observed = await self.observed()
        if observed.first.nothing:
            raise Skipped(f"no report was heard: {observed.first.ended or 'the stream says nothing'}")
        return observed

    async def _observe(self, version: str) -> Observation:
        """Two watchers from the start, one of the other health version where it is listed, one that comes in the middle."""
        info = await self.info()
        others = [other for other in info.health if other != version]
        async with AsyncExitStack() as stack:
            first, second = await self._watching(stack, version), (await self._watching(stack, version)).watcher
            other = (await self._watching(stack, others[0])).watcher if others else None
            await first.heard(min(self.timeout, LONGEST_WAIT))
            began = time.monotonic()
            waits = min(first.watcher.smallest_lease() * 1.05 + 0.5, self.timeout)
            await asyncio.sleep(waits / 2)
            late = (await self._watching(stack, version)).watcher
            await asyncio.sleep(waits / 2)
            observed = Observation(first.watcher, second, other, late, time.monotonic() - began)
            await _agreed(observed.watchers, min(2.0, self.timeout))
            return replace(observed, lasted=time.monotonic() - began)

    async def _watching(self, stack: AsyncExitStack, version: str) -> Listening:
        """A watcher on a connection of its own; one that could not even begin has ended."""
        try:
            line = await stack.enter_async_context(Line(await self.endpoint()))
        except Failed as failed:
            unheard = Listening(version)
            unheard.end(failed.seen)
            return unheard
        return await stack.enter_async_context(listening(line, version))


async def _agreed(watchers: Sequence[Watcher], within: float) -> None:
    """Waits a moment for watchers to be told of a change that only some of them have heard."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and any(watcher.state() != watchers[0].state() for watcher in watchers[1:]):
        await asyncio.sleep(0.05)


def _info_of(raw: bytes) -> RawInfo:
    found: dict[int, list[str]] = {}
    try:
        for number, value in fields(raw):
            if isinstance(value, bytes):
                found.setdefault(number, []).append(value.decode(errors="replace"))
    except Garbled as garbled:
        raise Failed(f"the answer to GetInfo is no PluginInfo: {garbled}") from None
    return RawInfo(found.get(1, [""])[-1], found.get(2, [""])[-1], found.get(3, [""])[-1], tuple(found.get(4, ())))
