"""FakeDriver: a DRA driver that says and does what a test tells it. A real server on real sockets, for whatever stands in for a kubelet."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from podvitals.device.health import Health
from podvitals.testing.awaited import Changes
from podvitals.testing.gate import Gate
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import ALL_VERSIONS, PLUGIN_TYPE, ClaimRef, DeviceReport, PluginInfo, PrepareResult
from podvitals.wire.server import PluginServer


class FakeDriver:
    """Registers in `directory` (which has plugins_registry/ and plugins/) as `name`.

    Watchers get the newest report at once and every later one. `unimplemented=True` lists health but does not serve it. `pod_uid` gives
    the socket names of a rolling update. A driver that crashed or stopped can be started again, as a new process would be.
    """

    def __init__(
        self,
        directory: Path | str,
        name: str = "gpu.example.com",
        *,
        versions: Sequence[str] = ALL_VERSIONS,
        pool: str = "node1",
        pod_uid: str = "",
        unimplemented: bool = False,
    ) -> None:
        directory, part = Path(directory), f"-{pod_uid}" if pod_uid else ""
        self.name, self.pool, self.versions = name, pool, tuple(versions)
        self.registration_path = directory / "plugins_registry" / f"{name}{part}-reg.sock"
        self.endpoint = directory / "plugins" / name / f"dra{part}.sock"
        self.type = PLUGIN_TYPE
        self.calls: Counter[str] = Counter()
        """How often each method was called, by its gRPC name."""
        self.notified: list[tuple[bool, str]] = []
        """What NotifyRegistrationStatus said: registered, error."""
        self.prepared: dict[str, ClaimRef] = {}
        """The claims prepared and not unprepared, by uid."""
        self.answers: dict[str, PrepareResult] = {}
        """What prepare answers for a claim's uid; for others a result without devices."""
        self.gate = Gate()
        """Closed by `hang()`; every answer and every report passes it."""
        self.watchers = 0
        self._messages: list[bytes] = []
        self._generation = 0
        self._changes = Changes()
        self._unimplemented = unimplemented
        self._servers: list[PluginServer] = []

    async def start(self) -> None:
        await asyncio.to_thread(self._make_directories)
        health = None if self._unimplemented else self
        endpoint = PluginServer(self.endpoint, dra=self, health=health, versions=self.versions)
        registration = PluginServer(self.registration_path, registration=self)
        # The endpoint first: whoever sees the registration socket may dial it at once.
        for server in (endpoint, registration):
            await server.start()
            self._servers.append(server)

    async def stop(self) -> None:
        """Ends in order: the socket files go."""
        self.gate.open()
        while self._servers:
            await self._servers.pop().stop()

    async def crash(self) -> None:
        """Ends as by kill -9: every connection breaks, the socket files stay."""
        while self._servers:
            await self._servers.pop().abandon()
        self.gate.open()

    def hang(self) -> None:
        """Says nothing more and answers nothing, connections staying open, until `resume()`."""
        self.gate.close()

    def resume(self) -> None:
        self.gate.open()

    def report(self, devices: Iterable[DeviceReport] | Mapping[str, Health]) -> None:
        """Sends these devices to every watcher, now or when it comes. A mapping of name to health is the short form: pool `self.pool`,
        lease 30 s, checked at second 1000."""
        if isinstance(devices, Mapping):
            devices = [DeviceReport(self.pool, name, health, 1000.0, 30.0) for name, health in devices.items()]
        self.report_raw(*encode_report(devices))

    def report_raw(self, *messages: bytes) -> None:
        """Sends these bytes, whatever they are."""
        self._messages = list(messages)
        self._generation += 1
        self._changes.tell()

    async def watched(self, watchers: int = 1, timeout: float = 5.0) -> None:
        """Returns when exactly `watchers` health streams are open."""
        await self._changes.until(
            lambda: True if self.watchers == watchers else None,
            timeout,
            lambda: f"{self.name} has {self.watchers} watchers, not {watchers}",
        )

    async def called(self, method: str, times: int = 1, timeout: float = 5.0) -> None:
        """Returns when `method` was called at least `times` times."""
        await self._changes.until(
            lambda: True if self.calls[method] >= times else None,
            timeout,
            lambda: f"{method} of {self.name}: {self.calls[method]} calls, not {times}",
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    # --- the handlers of PluginServer -----------------------------------------------------------------------------------------

    async def get_info(self) -> PluginInfo:
        await self._count("GetInfo")
        return PluginInfo(self.type, self.name, str(self.endpoint), self.versions)

    async def notify_registration(self, registered: bool, error: str) -> None:
        await self._count("NotifyRegistrationStatus")
        self.notified.append((registered, error))
        self._changes.tell()

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        await self._count("NodePrepareResources")
        results = {claim.uid: self.answers.get(claim.uid, PrepareResult()) for claim in claims}
        self.prepared |= {claim.uid: claim for claim in claims if not results[claim.uid].error}
        return results

    async def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, str]:
        await self._count("NodeUnprepareResources")
        for claim in claims:
            self.prepared.pop(claim.uid, None)
        return {claim.uid: "" for claim in claims}

    async def watch(self) -> AsyncIterator[bytes]:
        self.watchers += 1
        await self._count("NodeWatchResources")
        try:
            sent = 0
            while True:
                await self._changes.until_changed(lambda last=sent: self._generation > last)  # type: ignore[misc]
                await self.gate.passing()
                sent = self._generation
                for message in self._messages:
                    yield message
        finally:
            self.watchers -= 1
            self._changes.tell()

    async def _count(self, method: str) -> None:
        self.calls[method] += 1
        self._changes.tell()
        await self.gate.passing()

    def _make_directories(self) -> None:
        self.registration_path.parent.mkdir(parents=True, exist_ok=True)
        self.endpoint.parent.mkdir(parents=True, exist_ok=True)
