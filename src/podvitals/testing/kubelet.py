"""FakeKubelet: registers the drivers it finds in a directory, watches their health and calls them, as a kubelet does and no more.

It judges nothing: what a driver last said of a device is what it sees, with no lease and no checkpoint. A driver's devices are forgotten
when its registration socket goes.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from inotify_simple import INotify, flags, parse_events

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.errors import PluginError, PluginUnimplemented
from podvitals.testing.awaited import Changes
from podvitals.wire.client import PluginClient
from podvitals.wire.convert import decode_report
from podvitals.wire.messages import DRA_VERSIONS, HEALTH_VERSIONS, PLUGIN_TYPE, ClaimRef, DeviceReport, PluginInfo, PrepareResult

T = TypeVar("T")

TIMEOUT = 5.0
"""Seconds each wait is bounded by, unless it says otherwise."""
_RETRY = 0.02
_SUFFIX = ".sock"


@dataclass(eq=False)
class Registration:
    """One socket in plugins_registry and what is known through it."""

    path: Path
    info: PluginInfo | None = None
    client: PluginClient | None = None
    devices: dict[DeviceKey, DeviceReport] = field(default_factory=dict)
    reports: list[tuple[DeviceReport, ...]] = field(default_factory=list)
    """Every report since it was found, in order."""
    refusals: list[str] = field(default_factory=list)
    health_version: str = ""
    """The health service watched; "" for none."""
    trouble: str = ""
    """The last thing that went wrong."""

    def __str__(self) -> str:
        name = self.info.name if self.info else self.path.name
        seen = ", ".join(f"{key.pool}/{key.device} {report.health}" for key, report in sorted(self.devices.items())) or "no device"
        return f"{name}: {seen}" + (f" ({self.trouble})" if self.trouble else "")


class FakeKubelet:
    """`directory` gets plugins_registry/ and plugins/. `health_version`: the only health service this kubelet knows (None: both, the
    newest taken; as with kubelets before 1.37, the one named is tried whether the driver lists it or not)."""

    def __init__(self, directory: Path | str, *, health_version: str | None = None) -> None:
        self.directory = Path(directory)
        self.registry = self.directory / "plugins_registry"
        self._health_version = health_version
        self._found: dict[Path, tuple[Registration, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changes = Changes()
        self._inotify: INotify | None = None

    # --- what a test asks -----------------------------------------------------------------------------------------------------

    @property
    def registrations(self) -> tuple[Registration, ...]:
        return tuple(registration for registration, _ in self._found.values())

    async def registered(self, driver: str, timeout: float = TIMEOUT) -> PluginInfo:
        """What `driver` answered to GetInfo, once it is registered."""
        return (await self._registration(driver, timeout)).info or _never()

    async def gone(self, driver: str, timeout: float = TIMEOUT) -> None:
        """Returns when no socket of `driver` is registered."""
        await self._until(lambda: None if self._of(driver) else True, timeout, f"driver {driver} gone")

    async def sees(self, device: str, health: Health, *, message: str | None = None, timeout: float = TIMEOUT) -> DeviceReport:
        """Waits until the driver says so of `device` (`gpu-3`, `pool/gpu-3` or `driver/pool/gpu-3`); with `message`, also that."""

        def found() -> DeviceReport | None:
            for report in self._reports_of(device):
                if report.health is health and message in (None, report.message):
                    return report
            return None

        return await self._until(found, timeout, f"{device} {health}" + ("" if message is None else f" with message {message!r}"))

    def last(self, device: str) -> DeviceReport | None:
        """What was last said of `device`."""
        return next(iter(self._reports_of(device)), None)

    async def reported(self, driver: str, more_than: int = 0, timeout: float = TIMEOUT) -> tuple[DeviceReport, ...]:
        """The newest report of `driver`, once there are more than `more_than` of them."""

        def found() -> tuple[DeviceReport, ...] | None:
            return next((r.reports[-1] for r in self._of(driver) if len(r.reports) > more_than), None)

        return await self._until(found, timeout, f"more than {more_than} reports of {driver}")

    async def prepare(self, driver: str, *claims: ClaimRef) -> dict[str, PrepareResult]:
        """NodePrepareResources, by the first DRA service the driver lists and a kubelet knows. No claims: the liveness probe."""
        client, version = await self._dra(driver)
        return await client.prepare(version, claims)

    async def unprepare(self, driver: str, *claims: ClaimRef) -> dict[str, str]:
        client, version = await self._dra(driver)
        return await client.unprepare(version, claims)

    async def restart(self) -> None:
        """Drops every connection, forgets everything and registers anew what lies in the directory."""
        await self._forget()
        await self._scan()

    # --- life -----------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        await asyncio.to_thread(self._make_directories)
        # Off the loop: the first INotify of a process looks for libc by running a program.
        inotify = await asyncio.to_thread(INotify, nonblocking=True)
        self._inotify = inotify
        inotify.add_watch(self.registry, flags.CREATE | flags.MOVED_TO | flags.DELETE)
        asyncio.get_running_loop().add_reader(inotify.fileno(), self._changed)
        await self._scan()

    async def stop(self) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
        await self._forget()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def _make_directories(self) -> None:
        for directory in (self.registry, self.directory / "plugins"):
            directory.mkdir(parents=True, exist_ok=True)

    async def _scan(self) -> None:
        for path in await asyncio.to_thread(lambda: sorted(self.registry.iterdir())):
            self._found_socket(path)

    def _changed(self) -> None:
        assert self._inotify is not None
        for event in parse_events(os.read(self._inotify.fileno(), 65536)):
            path = self.registry / event.name
            if path in self._found:
                # A new socket under an old name is a new driver.
                self._found.pop(path)[1].cancel()
            if not event.mask & flags.DELETE:
                self._found_socket(path)
        self._changes.tell()

    def _found_socket(self, path: Path) -> None:
        # Kubelets skip names that begin with a dot.
        if path.suffix == _SUFFIX and not path.name.startswith(".") and path not in self._found:
            registration = Registration(path)
            task = asyncio.create_task(self._follow(registration), name=f"fake kubelet follows {path.name}")
            self._found[path] = (registration, task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forget(self) -> None:
        self._found.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._changes.tell()

    # --- one driver -----------------------------------------------------------------------------------------------------------

    async def _follow(self, registration: Registration) -> None:
        info = await self._register(registration)
        if info.type != PLUGIN_TYPE:
            return
        async with PluginClient(info.endpoint) as client:
            registration.info, registration.client = info, client
            self._changes.tell()
            if version := self._choose(info):
                await self._watch(registration, client, version)
            else:
                await asyncio.Event().wait()  # keeps the client open for calls, until cancelled

    async def _register(self, registration: Registration) -> PluginInfo:
        """GetInfo and NotifyRegistrationStatus. inotify tells of a socket at bind(), which refuses until listen()."""
        async with PluginClient(registration.path) as client:
            while True:
                try:
                    info = await client.get_info()
                    await client.notify_registration(info.type == PLUGIN_TYPE, "" if info.type == PLUGIN_TYPE else "not a DRA plugin")
                except PluginError as error:
                    registration.trouble = str(error)
                    await asyncio.sleep(_RETRY)
                else:
                    registration.trouble = ""
                    return info

    def _choose(self, info: PluginInfo) -> str:
        if self._health_version is not None:
            return self._health_version
        return next((version for version in HEALTH_VERSIONS if version in info.supported_versions), "")

    async def _watch(self, registration: Registration, client: PluginClient, version: str) -> None:
        while True:
            registration.health_version = version
            try:
                async with aclosing(client.watch_health(version)) as messages:
                    async for raw in messages:
                        self._take(registration, raw)
                registration.trouble = "the health stream ended"
            except PluginUnimplemented as error:
                registration.health_version, registration.trouble = "", str(error)
                self._changes.tell()
                await asyncio.Event().wait()  # as 1.37: leaves it alone; calls go on
            except PluginError as error:
                registration.trouble = str(error)
            self._changes.tell()
            await asyncio.sleep(_RETRY)

    def _take(self, registration: Registration, raw: bytes) -> None:
        assert registration.info is not None
        report = decode_report(raw)
        registration.trouble = ""
        registration.reports.append(report.devices)
        registration.refusals.extend(report.refusals)
        for device in report.devices:
            registration.devices[DeviceKey(registration.info.name, device.pool, device.device)] = device
        self._changes.tell()

    # --- looking --------------------------------------------------------------------------------------------------------------

    def _of(self, driver: str) -> list[Registration]:
        """The newest first."""
        return [r for r, _ in reversed(self._found.values()) if r.info is not None and r.info.name == driver]

    def _reports_of(self, device: str) -> Sequence[DeviceReport]:
        return [report for r in reversed(self.registrations) for key, report in r.devices.items() if key.matches(device)]

    async def _registration(self, driver: str, timeout: float = TIMEOUT) -> Registration:
        return await self._until(lambda: next(iter(self._of(driver)), None), timeout, f"driver {driver} registered")

    async def _dra(self, driver: str) -> tuple[PluginClient, str]:
        registration = await self._registration(driver)
        assert registration.info is not None
        assert registration.client is not None
        version = next((version for version in registration.info.supported_versions if version in DRA_VERSIONS), None)
        if version is None:
            raise AssertionError(f"driver {driver} lists no DRA service: {registration.info.supported_versions}")
        return registration.client, version

    async def _until(self, found: Callable[[], T | None], timeout: float, what: str) -> T:
        return await self._changes.until(found, timeout, lambda: f"{what}; seen: {'; '.join(map(str, self.registrations)) or 'no driver'}")


def _never() -> PluginInfo:
    raise AssertionError("a registered driver has its info")
