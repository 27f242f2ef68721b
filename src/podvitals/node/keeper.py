"""Keeps the checkpoint as close to the ledger as the disk allows: a change of a verdict at once, "heard again" once a second.

Nothing waits for the disk. What could not be written is written with what follows; the difference that waits has at most a row a device.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from podvitals.clock import Clock, boot_id
from podvitals.errors import LocalError
from podvitals.node.rows import Rows
from podvitals.node.switchboard import Switchboard
from podvitals.node.told import NOTHING, Told

if TYPE_CHECKING:
    from podvitals.node.checkpoint import Checkpoint

SAVE_EVERY = 1.0
SAVE_AGAIN_AFTER = 5.0
LAST_SAVE = 2.0
"""Seconds the end of the process waits for a disk that hangs."""
SAY_EVERY = 60.0
AT_ONCE = 512
"""Verdicts and devices made into rows, between which drivers are heard: two milliseconds."""
MOST_PARTS = 64
"""Who changes everything faster than that is written as a whole."""

log = logging.getLogger(__name__)


class Keeper:
    """`path`: None keeps nothing."""

    def __init__(self, path: Path | None, board: Switchboard, clock: Clock) -> None:
        self._path, self._board, self._clock = path, board, clock
        self._checkpoint: Checkpoint | None = None
        self._unsaved = asyncio.Event()
        self._said = -SAY_EVERY
        self.trouble = ""
        """Why what is known cannot be written, "" while it can."""
        self.seconds = 0.0
        """That the last save took."""

    async def load(self) -> Told:
        """Restores the switchboard; returns what readers have to be told."""
        if self._path is None:
            return NOTHING
        from podvitals.node.checkpoint import Checkpoint  # a node side without one (the relay) does without SQLite

        self._checkpoint = Checkpoint(self._path, await asyncio.to_thread(boot_id))
        rows = await self._checkpoint.load(self._clock.now(), self._clock.wall())
        return self._board.restore(rows, self._clock.now(), self._clock.wall())

    def changed(self) -> None:
        if self._board.unsaved:
            self._unsaved.set()

    async def run(self) -> None:
        rows = Rows()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SAVE_EVERY):
                    await self._unsaved.wait()
            self._unsaved.clear()
            if whole := self._checkpoint is not None and not self._checkpoint.begun:
                rows = Rows()
                self._board.unsave()
            await self._gather(rows)
            if self._checkpoint is not None and rows and not await self._write(self._checkpoint, rows, whole=whole):
                await asyncio.sleep(SAVE_AGAIN_AFTER)
            else:
                rows = Rows()

    async def _gather(self, rows: Rows) -> None:
        for _ in range(MOST_PARTS):
            rows.lay_over(self._board.drain(AT_ONCE))
            if not self._board.unsaved:
                return
            await asyncio.sleep(0)
        rows.lay_over(self._board.drain())

    async def finish(self) -> None:
        if self._checkpoint is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SAVE):
                    await self._write(self._checkpoint, self._board.everything(), whole=True)
                    await self._checkpoint.close()

    async def _write(self, checkpoint: "Checkpoint", rows: Rows, *, whole: bool) -> bool:
        now = self._clock.now()
        started = asyncio.get_running_loop().time()
        try:
            await checkpoint.save(rows, now, self._clock.wall(), whole=whole)
        except LocalError as error:
            self.trouble = str(error)
            if now - self._said >= SAY_EVERY:
                self._said = now
                log.warning("%s", error)
            return False
        self.seconds = asyncio.get_running_loop().time() - started
        if self.trouble:
            self.trouble = ""
            log.info("checkpoint is written again", extra={"path": str(self._path)})
        return True
