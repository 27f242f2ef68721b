"""The frame around detectors: calls them, in time and in threads of their own, and keeps the board of what they said.

Per detector one worker thread, so an author needs no locks; inventory first, then each device, then sleep to the next interval (less up to
10 %, so that many nodes do not read in step). A call that exceeds its timeout keeps its thread; the others go on in new ones, and the
device is not asked again until the hung call returned. Its late answer still counts, for it is a real reading.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from podvitals.clock import SYSTEM, Clock, set_by
from podvitals.detect.board import Board, Source
from podvitals.detect.detector import Detector, Device, check_detector
from podvitals.detect.run import Run
from podvitals.device.verdict import Verdict
from podvitals.errors import InvalidInput

log = logging.getLogger("podvitals.detect")

Changed = Callable[[frozenset[str]], None]


class Schedule:
    """The detectors of one driver on one node. `start()` once, then `run()` until cancelled."""

    def __init__(
        self,
        driver: str,
        pool: str,
        detectors: Sequence[Detector],
        clock: Clock = SYSTEM,
        luck: Callable[[], float] = random.random,
        keep: Path | None = None,
    ) -> None:
        """`keep`: the directory in which detectors keep what they must know after a restart."""
        if not detectors:
            raise InvalidInput(f"driver {driver} has no detector: it would have no devices")
        self._detectors = tuple(check_detector(detector) for detector in detectors)
        for number, detector in enumerate(self._detectors):
            detector.join(self._detectors[:number])
        self._keep = keep
        self.clock = clock
        self._board = Board(driver, pool, [Source(str(d), d.lease_seconds) for d in self._detectors])
        self._runs = [Run(i, detector, self._board, clock, self._tell, luck) for i, detector in enumerate(self._detectors)]
        self._listeners: list[Changed] = []
        self._earlier = asyncio.Event()
        self._wakes_at = math.inf

    @property
    def devices(self) -> Mapping[str, Device]:
        """Every device that ought to be there."""
        return self._board.devices

    @property
    def inventory_version(self) -> int:
        """Grows whenever `devices` changed."""
        return self._board.inventory_version

    @property
    def failures(self) -> tuple[str, ...]:
        """Of detectors that could not tell their devices the last time they were asked: why."""
        return tuple(run.failure for run in self._runs if run.failure)

    @property
    def empty_handed(self) -> tuple[str, ...]:
        """Detectors that could look and found no device."""
        return tuple(str(run.detector) for number, run in enumerate(self._runs) if not run.failure and not self._board.listed_by(number))

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """Of every device of which something is known."""
        return self._board.verdicts

    def verdict(self, name: str) -> Verdict | None:
        return self._board.verdict(name)

    @property
    def shortest_lease(self) -> float:
        return min(detector.lease_seconds for detector in self._detectors)

    def subscribe(self, listener: Changed) -> Callable[[], None]:
        """`listener` is called in the loop after each change, with the devices whose health, message or action changed (none: only the
        inventory did). Returns what ends the subscription."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def expire(self) -> None:
        """Ends the leases that are over by now. It happens by itself; whoever is about to pass verdicts on calls it first, for this process
        may have stood still (stopped, or its machine suspended) and be woken before the task that ends leases."""
        self._tell(self._board.expire(self.clock.now()))

    async def start(self) -> None:
        """Takes the first inventories. Raises InvalidInput for what an author or operator has to mend; what fails otherwise is tried
        again."""
        if self._keep is not None:
            await asyncio.gather(*(asyncio.to_thread(_keep_in, detector, self._keep) for detector in self._detectors))
        problems = [problem for found in await asyncio.gather(*(run.first_inventory() for run in self._runs)) for problem in found]
        problems += [problem for problem in self._board.problems if problem not in problems]
        if problems:
            self.end()
            raise InvalidInput("; ".join(problems))

    async def once(self) -> None:
        """One check of every device by every detector, instead of run(). What is pushed is waited for until it is settled, not longer."""
        await asyncio.gather(*(run.once() for run in self._runs))
        self.end()

    async def run(self) -> None:
        """Until cancelled. Hung calls do not delay the end: their threads are left behind."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._end_leases(), name="detect: leases")
                for run in self._runs:
                    tasks.create_task(run.rounds(), name=f"detect: rounds of {run.detector}")
                    if run.detector.watches:
                        tasks.create_task(run.watch(), name=f"detect: watch of {run.detector}")
        finally:
            self.end()

    def end(self) -> None:
        for run in self._runs:
            run.end()

    def _tell(self, changed: frozenset[str], *, inventory: bool = False) -> None:
        """Passes a change on, and sees to it that the next end of a lease is met."""
        deadline = self._board.next_deadline()
        if deadline is not None and deadline < self._wakes_at:
            self._earlier.set()
        for name in sorted(changed):
            if (verdict := self._board.verdict(name)) is not None:
                log.info("verdict device=%s health=%s action=%s message=%r", name, verdict.health, verdict.action or "-", verdict.message)
        if changed or inventory:
            for listener in tuple(self._listeners):
                listener(changed)

    async def _end_leases(self) -> None:
        while True:
            self._earlier.clear()
            deadline = self._board.next_deadline()
            self._wakes_at = math.inf if deadline is None else deadline
            await set_by(self._earlier, self.clock, deadline)
            self.expire()


def _keep_in(detector: Detector, directory: Path) -> None:
    try:
        detector.keep_in(directory)
    except Exception as error:  # noqa: BLE001 - an author's code may raise anything; without a memory it still detects
        log.warning("%s: keep_in(%s) failed: %s: %s", detector, directory, type(error).__name__, error)
