"""Waiting for what a NodeWatch says, by its own callbacks; nothing here sleeps to wait."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from podvitals.clock import SYSTEM, Clock
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.limits import Limits
from podvitals.node.watch import DriverView, NodeSettings, NodeWatch

PATIENCE = 8.0
"""Seconds; below the 10 s after which a lost event would be made good by a scan."""


class Seen:
    def __init__(self, watch: NodeWatch) -> None:
        self.watch = watch
        self.changes: list[frozenset[DeviceKey]] = []
        self._moved = asyncio.Event()
        watch.subscribe(self._on_change)

    def _on_change(self, keys: frozenset[DeviceKey]) -> None:
        self.changes.append(keys)
        self._moved.set()

    async def device(self, name: str, health: Health, driver: str = "gpu.example.com", text: str = "") -> None:
        key = DeviceKey(driver, "node1", name)
        try:
            async with asyncio.timeout(PATIENCE):
                while self.watch.state(key).health is not health or text not in self.watch.state(key).message:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise AssertionError(f"{self.watch.state(key)} is not {health} {text!r}; drivers: {self.watch.drivers()}") from None

    async def driver(self, true: Callable[[tuple[DriverView, ...]], bool]) -> None:
        """No callback tells of endpoints, so this looks every few milliseconds."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not true(self.watch.drivers()):
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"it did not come true of {self.watch.drivers()}") from None

    def said(self, name: str, driver: str = "gpu.example.com") -> str:
        return self.watch.state(DeviceKey(driver, "node1", name)).message


@asynccontextmanager
async def watching(
    directory: Path,
    clock: Clock = SYSTEM,
    *,
    checkpoint: Path | None = None,
    leave: frozenset[str] = frozenset(),
    registrar: bool = False,
    limits: Limits | None = None,
) -> AsyncIterator[Seen]:
    settings = NodeSettings(plugin_dir=directory / "plugins_registry", checkpoint=checkpoint, leave=leave, limits=limits or Limits())
    watch = NodeWatch(settings, clock, registrar=registrar)
    seen = Seen(watch)
    task = asyncio.create_task(watch.run(), name="node watch")
    try:
        async with asyncio.timeout(5):
            await watch.ready.wait()
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()
