"""A driver that keeps every sentence of the contract; its broken twins: twins.py."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from podvitals.testing import FakeDriver
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY, RawDevice, write_report
from podvitals.wire.messages import ClaimRef, PreparedDevice, PrepareResult

REAL = ClaimRef("ml", "uid-1", "gpus")
LEASE = 1


class Model(FakeDriver):
    """Two devices with a lease of 1 s, told to each watcher at once and then every 0.3 s; one claim that it knows."""

    beat = 0.3

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "toy.example.com")

    def devices(self) -> list[RawDevice]:
        now = int(time.time())
        return [RawDevice(b"node1", b"d0", HEALTHY, now, LEASE), RawDevice(b"node1", b"d1", UNHEALTHY, now, LEASE, b"fell off the bus")]

    def first(self) -> list[RawDevice]:
        """What a new watcher is told."""
        return self.devices()

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        device = PreparedDevice(("gpu",), "node1", "d0", ("toy.example.com/toy=d0",))
        known = {REAL: PrepareResult((device,))}
        return {claim.uid: known.get(claim, PrepareResult(error="no such claim")) for claim in claims}

    async def watch(self) -> AsyncIterator[bytes]:
        self.watchers += 1
        self._changes.tell()
        try:
            yield write_report(self.first())
            while True:
                await asyncio.sleep(self.beat)
                yield write_report(self.devices())
        finally:
            self.watchers -= 1
            self._changes.tell()
