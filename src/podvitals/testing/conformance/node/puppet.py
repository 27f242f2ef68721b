"""The scripted driver: says exactly what a case tells it, byte for byte, and lives and dies as the case wants."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from podvitals.errors import PluginUnimplemented
from podvitals.testing.conformance.case import Failed
from podvitals.testing.conformance.rawreport import RawDevice, write_report
from podvitals.testing.driver import FakeDriver
from podvitals.wire.messages import ALL_VERSIONS, ClaimRef, PreparedDevice, PrepareResult

Allocation = Callable[["Puppet", ClaimRef], Awaitable[Sequence[PreparedDevice]]]

REGISTERED_WITHIN = 15.0


class Puppet(FakeDriver):
    """`allocation` tells what a claim was given. `newcomers`: whether a new stream is told the whole state. `health`: whether there is
    any; without, the service is listed and answers UNIMPLEMENTED. `cdi`: the CDI ids of a device."""

    def __init__(
        self,
        plugin_dir: Path,
        name: str,
        pool: str,
        allocation: Allocation,
        *,
        versions: Sequence[str] = ALL_VERSIONS,
        pod_uid: str = "",
        health: bool = True,
    ) -> None:
        super().__init__(plugin_dir.parent, name, versions=versions, pool=pool, pod_uid=pod_uid)
        self.registration_path = plugin_dir / self.registration_path.name
        self.registered = asyncio.Event()
        self.newcomers = True
        self.cdi: Mapping[str, tuple[str, ...]] = {}
        self.sent_at = 0.0
        """When something was last said, monotonic."""
        self._health, self._allocation = health, allocation
        self._known: dict[str, RawDevice] = {}
        self._streams: set[asyncio.Queue[bytes | None]] = set()
        self._beat: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return bool(self._servers)

    def key(self, device: str) -> str:
        return f"{self.name}/{self.pool}/{device}"

    def ids(self, device: str) -> tuple[str, ...]:
        """What a pod may call the device."""
        return (self.key(device), *self.cdi.get(device, ()))

    # ── What it says ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def device(self, name: str, health: int, message: bytes = b"", lease: int = 300) -> RawDevice:
        return RawDevice(self.pool.encode(), name.encode(), health, int(time.time()), lease, message)

    def say(self, name: str, health: int, message: bytes = b"", *, lease: int = 300) -> float:
        """In a report of its own, to every stream, now; returns the moment (monotonic)."""
        return self.say_all(self.device(name, health, message, lease))

    def say_all(self, *devices: RawDevice) -> float:
        """In one report."""
        self._known |= {(device.device or b"").decode(errors="replace"): device for device in devices}
        return self.send(write_report(devices))

    def send(self, raw: bytes) -> float:
        """These bytes, whatever they are."""
        for stream in self._streams:
            stream.put_nowait(raw)
        self.sent_at = time.monotonic()
        return self.sent_at

    def beat(self, every: float) -> None:
        """From now on says all it knows again and again, newly read each time."""
        self.hush()
        self._beat = asyncio.create_task(self._beating(every), name=f"conformance: {self.name} reports")

    def hush(self) -> None:
        """Says nothing by itself any more: a driver that hangs, its connections open."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    async def _beating(self, every: float) -> None:
        while True:
            self.send(write_report(self.fresh()))
            await asyncio.sleep(every)

    def fresh(self) -> list[RawDevice]:
        """All it knows, as read now."""
        return [device._replace(checked_at=int(time.time())) for device in self._known.values()]

    # ── Its life ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        await super().start()
        try:
            async with asyncio.timeout(REGISTERED_WITHIN):
                await self.registered.wait()
        except TimeoutError:
            raise self.unregistered() from None

    def unregistered(self) -> Failed:
        return Failed(
            f"nobody registered the driver at {self.registration_path} within {REGISTERED_WITHIN:g} s",
            "is --plugin-dir the one the kubelet watches?",
        )

    async def stop(self) -> None:
        self.hush()
        await super().stop()

    async def crash(self) -> None:
        self.hush()
        await super().crash()

    async def leave(self) -> None:
        """Ends, and leaves nothing in the kubelet's directories, whatever it had come to."""
        await self.stop()
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        self.registration_path.unlink(missing_ok=True)
        self.endpoint.unlink(missing_ok=True)
        with suppress(OSError):  # another instance of the driver is in it
            self.endpoint.parent.rmdir()

    async def again(self) -> None:
        """Starts after an end, as a new process would; registered when it returns."""
        self.registered.clear()
        await self.start()

    async def watched_by_somebody(self, timeout: float = 10.0) -> None:
        """Returns once a health stream is open. Failed if none is opened."""
        try:
            async with asyncio.timeout(timeout):
                await self._changes.until_changed(lambda: self.watchers > 0)
        except TimeoutError:
            raise Failed(f"nobody watches the driver's health within {timeout:g} s of its registration") from None

    def end_streams(self) -> None:
        """Ends every health stream in order; connections stay."""
        for stream in self._streams:
            stream.put_nowait(None)

    # ── What it answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def notify_registration(self, registered: bool, error: str) -> None:
        await super().notify_registration(registered, error)
        if registered:
            self.registered.set()

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        self.answers |= {claim.uid: PrepareResult(tuple(await self._allocation(self, claim))) for claim in claims}
        return await super().prepare(claims)

    async def watch(self) -> AsyncIterator[bytes]:
        self.calls["NodeWatchResources"] += 1
        if not self._health:
            raise PluginUnimplemented("this driver has no health")
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.add(stream)
        self.watchers += 1
        self._changes.tell()
        try:
            if self.newcomers and self._known:
                yield write_report(self.fresh())
            while (raw := await stream.get()) is not None:
                yield raw
        finally:
            self._streams.discard(stream)
            self.watchers -= 1
            self._changes.tell()
