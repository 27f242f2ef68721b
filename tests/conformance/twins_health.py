"""The model's broken twins: what they tell of their devices' health, to whom and when."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

from podvitals.testing.conformance.rawreport import HEALTHY, RawDevice, write_report
from tests.conformance.model import LEASE, Model


class ServesOneOfTwo(Model):
    """Lists both health versions."""

    async def start(self) -> None:
        listed, self.versions = self.versions, self.versions[:3]
        await super().start()
        self.versions = listed


class Mute(Model):
    async def watch(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


class TellsNewcomersOne(Model):
    def first(self) -> list[RawDevice]:
        return super().first() if self.watchers == 1 else super().first()[:1]

    def devices(self) -> list[RawDevice]:
        return super().devices() if self.watchers == 1 else super().devices()[:1]


class OnlyOnChange(Model):
    beat = 3600.0


class Backwards(Model):
    step = 0

    def devices(self) -> list[RawDevice]:
        self.step += 1
        return [device._replace(checked_at=device.checked_at - 10 * self.step) for device in super().devices()]


class OneTruthAWatcher(Model):
    def first(self) -> list[RawDevice]:
        return [device._replace(health=self.watchers % 3) for device in super().first()]

    beat = 3600.0


class OneEndsAll(Model):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._over = asyncio.Event()

    async def watch(self) -> AsyncIterator[bytes]:
        try:
            yield write_report(self.devices())
            await self._over.wait()
        finally:
            self._over.set()


class OneAfterTheOther(Model):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._turn = asyncio.Lock()

    async def watch(self) -> AsyncIterator[bytes]:
        while True:
            async with self._turn:
                yield write_report(self.devices())
            await asyncio.sleep(self.beat)


# ── Reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Garbled(Model):
    async def watch(self) -> AsyncIterator[bytes]:
        yield write_report(self.devices())
        yield b"\x0a\xff\xff"
        await asyncio.Event().wait()


class Huge(Model):
    async def watch(self) -> AsyncIterator[bytes]:
        yield write_report(self.devices())
        yield write_report([RawDevice(b"node1", b"d0", HEALTHY, 1, LEASE, b"x" * (5 << 20))])


class Odd(Model):
    """Says something odd of its first device."""

    oddity: ClassVar[Mapping[str, object]] = {}

    def devices(self) -> list[RawDevice]:
        first, *others = super().devices()
        return [first._replace(**self.oddity), *others]  # type: ignore[arg-type]


class NoPool(Odd):
    oddity: ClassVar = {"pool": b""}


class Twice(Model):
    def devices(self) -> list[RawDevice]:
        return super().devices() * 2


class HealthSeven(Odd):
    oddity: ClassVar = {"health": 7}


class Milliseconds(Odd):
    oddity: ClassVar = {"checked_at": int(time.time() * 1000)}


class NegativeLease(Odd):
    oddity: ClassVar = {"lease": -5}


class LongMessage(Odd):
    oddity: ClassVar = {"message": b"x" * 1025}


class BadUtf8(Odd):
    oddity: ClassVar = {"message": b"Xid 79 \xff"}


class Colourful(Odd):
    oddity: ClassVar = {"message": b"\x1b[31mred"}


class Counting(Model):
    beat = 0.05
    step = 0

    def devices(self) -> list[RawDevice]:
        self.step += 1
        return [device._replace(message=b"checked %d times" % self.step) for device in super().devices()]


class Talkative(Model):
    beat = 0.004
