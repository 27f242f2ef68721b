"""One detector at work: its rounds of calls, its watch, and what becomes of calls that fail or hang. Every outcome is told to the board."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from podvitals.clock import Clock, done_by, set_by
from podvitals.detect.board import Board
from podvitals.detect.detector import Detector, Device, Reading, Unreadable
from podvitals.detect.inventory import listing
from podvitals.detect.worker import Worker
from podvitals.errors import PodvitalsError

log = logging.getLogger("podvitals.detect")

T = TypeVar("T")
JITTER = 0.1
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
NEWS_AFTER = 60.0
"""Seconds that a watch has to last for the failure it had before to be told again."""
SETTLING = 0.01
LANES = 4
"""Checks at a time while one of the same detector hangs."""
MOST_STRANGERS = 1000
_INVENTORY = ""


def next_start(started: float, now: float, interval: float, luck: float) -> float:
    """When the next round begins, `luck` being 0 ... 1: an interval after this one began, a little earlier by luck, and never in the past.

    A round that took longer than its interval is not made up for: the next follows at once, and rounds never pile up."""
    return max(now, started + interval * (1 - JITTER * luck))


def next_pause(pause: float, lasted: float) -> float:
    """Seconds before a watch that ended is started anew: doubling, from the beginning again after one that lasted."""
    return FIRST_PAUSE if lasted > LONGEST_PAUSE else min(max(pause * 2, FIRST_PAUSE), LONGEST_PAUSE)


class Tell(Protocol):
    def __call__(self, changed: frozenset[str], *, inventory: bool = False) -> None: ...


class Run:
    def __init__(self, index: int, detector: Detector, board: Board, clock: Clock, tell: Tell, luck: Callable[[], float]) -> None:
        self.detector = detector
        self._index, self._board, self._clock, self._tell, self._luck = index, board, clock, tell, luck
        self._lane = _Lane(f"detect {detector}")
        self._hung: set[str] = set()
        self._pushed: dict[str, float] = {}
        self._strangers: dict[str, Reading | None] = {}
        self._look = asyncio.Event()
        self._complaints: dict[str, str] = {}
        self._failure = ""

    @property
    def failure(self) -> str:
        """Why the last inventory failed; empty where it did not."""
        return self._failure

    async def inventory(self) -> list[str]:
        """Asks for the inventory. What an author or operator has to mend is returned; others leave the old inventory. All are logged."""
        wrong = await self.first_inventory()
        self._complain(_INVENTORY, "; ".join(filter(None, (*wrong, self._failure))))
        return wrong

    async def first_inventory(self) -> list[str]:
        """The same without logging what is returned: at the start it is raised."""
        self._failure = ""
        call = await self._call(_INVENTORY, lambda: listing(str(self.detector), self.detector.devices()), self._lane)
        if call is None:
            self._failure = f"{self.detector}: devices() has not answered within {self.detector.timeout:g} s"
            return []
        try:
            found, now, wall = call.result()
        except PodvitalsError as error:
            return [f"{self.detector}: {error}"]
        except Exception as error:  # noqa: BLE001 - an author's code may raise anything
            self._failure = f"{self.detector}: devices() failed: {_text(error)}"
            return []
        before = self._board.inventory_version
        changed = self._board.take(self._index, found, now, wall)
        self._tell(changed, inventory=before != self._board.inventory_version)
        return list(found.problems.values())

    async def once(self) -> None:
        """One check of every device, once a detector that watches has told what was said before."""
        watching = asyncio.create_task(self.watch(), name=f"detect: watch of {self.detector}") if self.detector.watches else None
        deadline = self._clock.now() + self.detector.timeout
        while not self.detector.settled and self._clock.now() < deadline:
            await self._clock.sleep_until(self._clock.now() + SETTLING)
        if self.detector.checks:
            await self._check_all()
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def rounds(self) -> None:
        started = self._clock.now()
        while True:
            if self.detector.checks:
                await self._check_all()
            self._greet_strangers()
            await set_by(self._look, self._clock, next_start(started, self._clock.now(), self.detector.interval, self._luck()))
            self._look.clear()
            started = self._clock.now()
            await self.inventory()

    async def watch(self) -> None:
        pause = 0.0
        while True:
            began = self._clock.now()
            why = await self._watch_once()
            lasted = self._clock.now() - began
            if lasted >= NEWS_AFTER:
                self._complaints.pop("watch", None)
            self._complain("watch", f"{self.detector}: watch() {why}")
            if not self.detector.checks:
                for device in self._board.listed_by(self._index):
                    self._tell(self._board.fail(self._index, device.name, f"{self.detector}: watch() {why}"))
            pause = next_pause(pause, lasted)
            await self._clock.sleep_until(self._clock.now() + pause)

    def end(self) -> None:
        self._lane.end()

    async def _watch_once(self) -> str:
        pushed = None
        try:
            pushed = self.detector.watch()
            async for name, reading in pushed:
                if not isinstance(reading, Reading):
                    raise TypeError(f"it told {_shown(reading)}, which is not a Reading")
                self._push(name, reading)
        except Exception as error:  # noqa: BLE001 - an author's code may raise anything
            return f"failed: {_text(error)}"
        finally:
            if (aclose := getattr(pushed, "aclose", None)) is not None:
                await aclose()
        return "ended"

    def _push(self, name: str, reading: Reading) -> None:
        if self._board.knows(name):
            self._pushed[name] = self._clock.now()
            self._tell(self._board.read(self._index, name, reading, self._clock.now(), self._clock.wall()))
        elif len(self._strangers) < MOST_STRANGERS:
            # Perhaps it came a moment ago: look at the inventory now, but only once for each name.
            if name not in self._strangers:
                self._look.set()
            self._strangers[name] = reading if self._strangers.get(name, reading) is not None else None

    def _greet_strangers(self) -> None:
        for name, reading in list(self._strangers.items()):
            if self._board.knows(name):
                del self._strangers[name]
                if reading is not None:
                    self._push(name, reading)
            elif reading is not None and not self._look.is_set():
                self._strangers[name] = None
                log.warning("skipped reading detector=%s device=%r: no detector lists this device", self.detector, name)

    async def _check_all(self) -> None:
        """One device after the other; but once one hangs, the rest several at a time: many that hang must not keep those that work from
        being read within their lease."""
        left = deque(device for device in self._board.listed_by(self._index) if device.name not in self._hung)
        while left and await self._check(left.popleft(), self._lane):
            pass
        if left:
            async with asyncio.TaskGroup() as lanes:
                for number in range(LANES):
                    lanes.create_task(self._check_rest(left), name=f"detect: {self.detector} lane {number}")

    async def _check_rest(self, left: deque[Device]) -> None:
        lane = _Lane(f"detect {self.detector}")
        try:
            while left:
                await self._check(left.popleft(), lane)
        finally:
            lane.end()

    async def _check(self, device: Device, lane: "_Lane") -> bool:
        """Whether it answered in time."""
        started = self._clock.now()
        call = await self._call(device.name, lambda: self.detector.check(device), lane)
        if call is not None:
            self._heard(device.name, started, call)
        return call is not None

    def _heard(self, name: str, started: float, call: "asyncio.Future[tuple[Reading, float, float]]") -> None:
        if self._pushed.get(name, started) > started:
            return  # what was pushed while the call was under way is newer than what the call may have read
        try:
            reading, now, wall = call.result()
            if not isinstance(reading, Reading):
                raise TypeError(f"it returned {_shown(reading)}, which is not a Reading")
        except Unreadable as error:
            self._tell(self._board.fail(self._index, name, f"{self.detector}: {error}", error.still))
        except Exception as error:  # noqa: BLE001 - an author's code may raise anything
            self._tell(self._board.fail(self._index, name, f"{self.detector}: check failed: {_text(error)}"))
        else:
            self._tell(self._board.read(self._index, name, reading, now, wall))

    async def _call(self, what: str, job: Callable[[], T], lane: "_Lane") -> "asyncio.Future[tuple[T, float, float]] | None":
        """The finished call, or None where it hangs (or still hangs from before): then its own thread is left to it."""
        if what in self._hung:
            return None
        started = self._clock.now()

        def stamped() -> tuple[T, float, float]:
            result = job()
            return result, self._clock.now(), self._clock.wall()

        call = lane.worker().call(stamped)
        if await done_by(call, self._clock, started + self.detector.timeout):
            return call
        self._hung.add(what)
        lane.end()
        if what != _INVENTORY:
            why = f"{self.detector}: check has not answered within {self.detector.timeout:g} s"
            self._tell(self._board.fail(self._index, what, why))
        call.add_done_callback(lambda late: self._came_late(what, started, late))
        return None

    def _came_late(self, what: str, started: float, call: "asyncio.Future[tuple[Any, float, float]]") -> None:
        self._hung.discard(what)
        if call.cancelled():
            return
        if what == _INVENTORY:
            call.exception()  # taken, so that it is not reported as lost; the next round asks again
        else:
            self._heard(what, started, call)

    def _complain(self, about: str, problem: str) -> None:
        """Logs a problem when it comes, changes or goes, not each time it is met."""
        if problem != self._complaints.get(about, ""):
            self._complaints[about] = problem
            if problem:
                log.warning("%s", problem)
            else:
                log.info("%s: its inventory is good again", self.detector)


class _Lane:
    """One thread for calls; another takes its place when a call hangs in it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._worker: Worker | None = None

    def worker(self) -> Worker:
        self._worker = self._worker or Worker(self._name)
        return self._worker

    def end(self) -> None:
        """Leaves the thread to the call it is in."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None


def _shown(answer: object) -> str:
    """What an author gave in place of a Reading: a plain value as it is, else its type alone, for an address would be another each time."""
    if inspect.iscoroutine(answer):
        answer.close()  # or the interpreter would warn each time that nobody awaited it
    return (
        f"{answer!r:.80}" if isinstance(answer, bool | int | float | str | bytes | None) else f"an object of type {type(answer).__name__}"
    )


def _text(error: BaseException) -> str:
    if isinstance(error, Unreadable):
        return str(error)  # said in words
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
