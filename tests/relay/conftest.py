"""A relay between a driver's directory and a kubelet's, on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from podvitals.clock import SYSTEM, Clock
from podvitals.relay.bypass import Bypass
from podvitals.relay.places import Places
from podvitals.relay.run import Relay, RelaySettings
from podvitals.testing.clock import ManualClock
from podvitals.testing.kubelet import FakeKubelet


class Node:
    """`place` is where drivers register (FakeDriver's directory), `kubelet_place` where the kubelet looks."""

    def __init__(self, root: Path) -> None:
        self.place, self.kubelet_place, self.run_dir = root / "d", root / "k", root / "r"
        for directory in (self.place, self.kubelet_place):
            (directory / "plugins_registry").mkdir(parents=True)

    @asynccontextmanager
    async def relay(self, clock: Clock = SYSTEM, **how: Any) -> AsyncIterator[Relay]:
        """`how`: more of RelaySettings."""
        settings = RelaySettings(self.place / "plugins_registry", self.kubelet_place / "plugins_registry", self.run_dir, **how)
        relay = Relay(settings, clock)
        await relay.prepare()
        running = asyncio.create_task(relay.run(), name="the relay")
        try:
            yield relay
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    @property
    def bypass(self) -> Bypass:
        return Bypass(Places(self.kubelet_place / "plugins_registry", self.run_dir))

    def kubelet(self, **how: str) -> FakeKubelet:
        return FakeKubelet(self.kubelet_place, **how)


async def becomes(true: Callable[[], bool], clock: ManualClock) -> None:
    """Time goes on until it is so."""
    async with asyncio.timeout(10):
        while not true():
            await clock.advance(0.1)
            await asyncio.sleep(0.005)


@pytest.fixture
def node() -> Iterator[Node]:
    with TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        yield Node(Path(directory))
