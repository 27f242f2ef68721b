"""Running a schedule in a test, and waiting for what it says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from podvitals.detect.detector import Detector
from podvitals.detect.schedule import Schedule
from podvitals.device.health import Health
from podvitals.device.verdict import Verdict


class Watched:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._news = asyncio.Event()
        schedule.subscribe(lambda _: self._news.set())

    async def until(self, true: Callable[[], bool], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                self._news.clear()
                await self._news.wait()

    async def says(self, name: str, health: Health, text: str = "", seconds: float = 5.0) -> Verdict:
        def so() -> bool:
            verdict = self.schedule.verdict(name)
            return verdict is not None and verdict.health is health and text in verdict.message

        try:
            await self.until(so, seconds)
        except TimeoutError:
            raise AssertionError(f"{name} is {self.schedule.verdict(name)}, not {health} {text!r}") from None
        verdict = self.schedule.verdict(name)
        assert verdict is not None
        return verdict


@asynccontextmanager
async def running(*detectors: Detector) -> AsyncIterator[Watched]:
    schedule = Schedule("toys.example.com", "node-1", detectors)
    watched = Watched(schedule)
    await schedule.start()
    task = asyncio.create_task(schedule.run(), name="schedule")
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
