"""Families of toys, whose hardware is what a test says it is."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from podvitals.detect.detector import Device
from podvitals.detect.family import Family
from podvitals.detect.rules.rule import Rules
from podvitals.detect.schedule import Schedule
from podvitals.detect.signal import Signal, State
from tests.detect.kit import Watched
from tests.detect.rulesets import toys


class Toys(Family):
    family, about, needs = "toy", "toys", "nothing"
    interval, timeout, lease = 0.05, 1.0, 1.0

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or toys()
        self.signals: list[Signal] = [State("toy.link", "up", "0")]
        self.broken = ""
        self.pushes: asyncio.Queue[Signal] = asyncio.Queue()
        self.place = "0"
        self.reads = 0

    def find(self) -> Iterable[Device]:
        return [Device("d", {"resource.kubernetes.io/pciBusID": "0000:3b:00.0"})]

    def read(self, device: Device) -> Iterable[Signal]:
        self.reads += 1
        if self.broken:
            raise OSError(self.broken)
        return list(self.signals)

    def remember(self) -> Mapping[str, str]:
        return {"place": self.place}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        self.place = memory.get("place", "0")
        self.same_boot = same_boot


class Others(Toys):
    family = "other"


class Told(Toys):
    async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        while True:
            yield "d", await self.pushes.get()


class Running:
    def __init__(self, family: Family, keep: Path | None = None) -> None:
        self.schedule = Schedule("toys.example.com", "node-1", [family], keep=keep)

    async def __aenter__(self) -> Watched:
        watched = Watched(self.schedule)
        await self.schedule.start()
        self.task = asyncio.create_task(self.schedule.run(), name="schedule")
        return watched

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def read_again(family: Toys) -> None:
    """Waits until a whole check of the device came and went."""
    async with asyncio.timeout(5):
        reads = family.reads
        while family.reads < reads + 2:
            await asyncio.sleep(0.01)


def joined(*families: Toys) -> tuple[Toys, ...]:
    for number, family in enumerate(families):
        family.join(families[:number])
    return families
