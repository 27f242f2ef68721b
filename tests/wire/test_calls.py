"""Client and server on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.errors import PluginUnimplemented, PluginUnreachable
from podvitals.wire.client import PluginClient
from podvitals.wire.convert import decode_report, encode_report
from podvitals.wire.messages import (
    ALL_VERSIONS,
    DRA_V1,
    DRA_V1BETA1,
    DRA_VERSIONS,
    HEALTH_V1,
    HEALTH_V1ALPHA1,
    HEALTH_VERSIONS,
    PLUGIN_TYPE,
    ClaimRef,
    DeviceReport,
    PluginInfo,
    PreparedDevice,
    PrepareResult,
)
from podvitals.wire.server import PluginServer

INFO = PluginInfo(PLUGIN_TYPE, "gpu.example.com", "/run/dra.sock", ALL_VERSIONS)
CLAIM = ClaimRef("ml", "uid-1", "gpus")
PREPARED = PreparedDevice(("gpu",), "node1", "gpu-3", ("example.com/gpu=3",), None)


class Plugin:
    """Every handler in one, with what it was told."""

    def __init__(self) -> None:
        self.notified: list[tuple[bool, str]] = []
        self.reports: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.watching = asyncio.Semaphore(0)
        self.left = asyncio.Semaphore(0)
        self.block: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def get_info(self) -> PluginInfo:
        return INFO

    async def notify_registration(self, registered: bool, error: str) -> None:
        self.notified.append((registered, error))

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        self.entered.set()
        if self.block is not None:
            try:
                await self.block.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return {claim.uid: PrepareResult((PREPARED,)) for claim in claims}

    async def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, str]:
        return {claim.uid: "" for claim in claims}

    async def watch(self) -> AsyncIterator[bytes]:
        self.watching.release()
        try:
            while (raw := await self.reports.get()) is not None:
                if isinstance(raw, Exception):
                    raise raw
                yield raw
        finally:
            self.left.release()


def report(device: str, health: Health, **more: float | str) -> bytes:
    return encode_report([DeviceReport("node1", device, health, 100.0, 30.0, **more)])[0]  # type: ignore[arg-type]


def serve(directory: Path, plugin: Plugin, versions: Sequence[str] = ALL_VERSIONS) -> PluginServer:
    return PluginServer(directory / "dra.sock", registration=plugin, dra=plugin, health=plugin, versions=versions)


async def test_registration_is_asked_and_told(short: Path) -> None:
    plugin = Plugin()
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        assert await client.get_info() == INFO
        await client.notify_registration(False, "another one has it")
        assert plugin.notified == [(False, "another one has it")]


@pytest.mark.parametrize("version", DRA_VERSIONS)
async def test_claims_are_prepared_and_unprepared_in_each_version(short: Path, version: str) -> None:
    async with serve(short, Plugin()), PluginClient(short / "dra.sock") as client:
        assert await client.prepare(version, [CLAIM]) == {"uid-1": PrepareResult((PREPARED,))}
        assert await client.unprepare(version, [CLAIM]) == {"uid-1": ""}
        assert await client.prepare(version, []) == {}


@pytest.mark.parametrize("version", HEALTH_VERSIONS)
async def test_reports_arrive_as_they_were_encoded(short: Path, version: str) -> None:
    plugin = Plugin()
    raw = report("gpu-3", Health.UNHEALTHY, message="Xid 79", action="power-cycle")
    plugin.reports.put_nowait(raw)
    plugin.reports.put_nowait(b"")
    plugin.reports.put_nowait(None)
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        assert [message async for message in client.watch_health(version)] == [raw, b""]
        (device,) = decode_report(raw).devices
        assert device == DeviceReport("node1", "gpu-3", Health.UNHEALTHY, 100.0, 30.0, "Xid 79", "power-cycle")


@pytest.mark.parametrize(("served", "asked"), [(HEALTH_V1, HEALTH_V1ALPHA1), (HEALTH_V1ALPHA1, HEALTH_V1)])
async def test_a_health_version_not_served_is_unimplemented(short: Path, served: str, asked: str) -> None:
    async with serve(short, Plugin(), [DRA_V1, served]), PluginClient(short / "dra.sock") as client:
        with pytest.raises(PluginUnimplemented, match="NodeWatchResources"):
            await anext(client.watch_health(asked))
        with pytest.raises(PluginUnimplemented):
            await client.prepare(DRA_V1BETA1, [CLAIM])
        assert await client.prepare(DRA_V1, [CLAIM])  # the connection goes on


async def test_nobody_there_is_unreachable(short: Path) -> None:
    async with PluginClient(short / "none.sock") as client:
        with pytest.raises(PluginUnreachable, match=r"none\.sock: No such file"):
            await client.get_info()


async def test_leaving_a_watch_ends_it_at_the_driver(short: Path) -> None:
    plugin = Plugin()
    plugin.reports.put_nowait(b"")
    async with serve(short, plugin), PluginClient(short / "dra.sock") as client:
        async with aclosing(client.watch_health(HEALTH_V1)) as reports:
            async for _ in reports:
                break
        async with asyncio.timeout(5):
            await plugin.left.acquire()
