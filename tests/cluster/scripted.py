"""A driver that says exactly what it is told, on podvitals' own wire: for the questions the SDK cannot be made to ask."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from podvitals.device.health import Health
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import ALL_VERSIONS, PLUGIN_TYPE, ClaimRef, DeviceReport, PluginInfo, PreparedDevice, PrepareResult
from podvitals.wire.server import PluginServer

Allocation = Callable[[ClaimRef], Awaitable[Sequence[PreparedDevice]]]


class ScriptedDriver:
    """`async with ScriptedDriver(...)`: registered with whoever looks into `plugin_dir`. `watchers` counts the health streams open now."""

    def __init__(
        self, name: str, plugin_dir: Path, allocation: Allocation, *, versions: Sequence[str] = ALL_VERSIONS, health: bool = True
    ) -> None:
        self.name, self.versions, self._allocation = name, tuple(versions), allocation
        home = plugin_dir / "plugins" / name
        home.mkdir(parents=True, exist_ok=True)
        registry = plugin_dir / "plugins_registry"
        self._endpoint = home / "dra.sock"
        self._dra = PluginServer(self._endpoint, dra=self, health=self if health else None, versions=versions)
        self._registration = PluginServer(registry / f"{name}-reg.sock", registration=self)
        self.registered = asyncio.Event()
        self.error = ""
        self.prepared: list[ClaimRef] = []
        self.watchers = 0
        self._devices: dict[str, DeviceReport] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> "ScriptedDriver":
        await self._dra.start()
        await self._registration.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self._registration.stop()
        await self._dra.stop()

    def say(self, device: str, health: Health, message: str = "", *, action: str = "", lease: float = 30.0, pool: str = "node1") -> None:
        """From now on, and at once to every watcher."""
        self._devices[device] = DeviceReport(pool, device, health, time.time(), lease, message, action)
        self.tell()

    def tell(self) -> None:
        """Sends the whole state to every watcher once more."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def get_info(self) -> PluginInfo:
        return PluginInfo(PLUGIN_TYPE, self.name, str(self._endpoint), self.versions)

    async def notify_registration(self, registered: bool, error: str) -> None:
        self.error = error
        if registered:
            self.registered.set()

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        self.prepared += claims
        return {claim.uid: PrepareResult(tuple(await self._allocation(claim))) for claim in claims}

    async def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, str]:
        return {claim.uid: "" for claim in claims}

    async def watch(self) -> AsyncIterator[bytes]:
        self.watchers += 1
        try:
            while True:
                changed = self._changed
                for raw in encode_report(self._devices.values()):
                    yield raw
                await changed.wait()
        finally:
            self.watchers -= 1
