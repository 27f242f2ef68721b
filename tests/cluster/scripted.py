"""A driver that says exactly what it is told: the kit's FakeDriver, with what a real kubelet and scheduler add to a claim."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from podvitals.device.health import Health
from podvitals.testing import FakeDriver
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import ALL_VERSIONS, ClaimRef, DeviceReport, PreparedDevice, PrepareResult

Allocation = Callable[[ClaimRef], Awaitable[Sequence[PreparedDevice]]]


class ScriptedDriver(FakeDriver):
    """`async with ScriptedDriver(...)` in the kubelet's directory. `allocation` tells which devices a claim was given."""

    def __init__(
        self, name: str, kubelet_dir: Path, allocation: Allocation, *, versions: Sequence[str] = ALL_VERSIONS, unimplemented: bool = False
    ) -> None:
        super().__init__(kubelet_dir, name, versions=versions, unimplemented=unimplemented)
        self.registered = asyncio.Event()
        self._allocation = allocation
        self._devices: dict[str, DeviceReport] = {}
        self._said: dict[str, int] = {}
        self._last = 0

    def say(self, device: str, health: Health, message: str = "", *, action: str = "", lease: float = 30.0) -> None:
        self.say_all([DeviceReport(self.pool, device, health, time.time(), lease, message, action)])

    def say_all(self, reports: Iterable[DeviceReport]) -> None:
        """In one report; to every watcher, now. One that comes later is told all that was said."""
        self._last += 1
        for report in reports:
            self._devices[report.device], self._said[report.device] = report, self._last
        self._changes.tell()

    async def watch(self) -> AsyncIterator[bytes]:
        """Only what changed, as good drivers do: a report may be a subset."""
        self.watchers += 1
        self._changes.tell()
        told = 0
        try:
            while True:
                await self._changes.until_changed(lambda last=told: self._last > last)  # type: ignore[misc]
                await self.gate.passing()
                news = [self._devices[device] for device, said in self._said.items() if said > told]
                told = self._last
                for raw in encode_report(news):
                    yield raw
        finally:
            self.watchers -= 1
            self._changes.tell()

    async def notify_registration(self, registered: bool, error: str) -> None:
        await super().notify_registration(registered, error)
        if registered:
            self.registered.set()

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        self.answers |= {claim.uid: PrepareResult(tuple(await self._allocation(claim))) for claim in claims}
        return await super().prepare(claims)
