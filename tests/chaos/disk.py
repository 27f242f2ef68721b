"""The machine's clocks, and its disk: what of an agent survives it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podvitals.device.key import DeviceKey
from podvitals.node.checkpoint import Checkpoint
from podvitals.node.rows import DeviceRow, FactKey, FactRow, Rows
from podvitals.pod.book import Memo
from tests.chaos.cast import WALL
from tests.chaos.loop import Loop


class Machine:
    """`skew`: how far its wall clock is ahead of the truth."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.booted, self.skew, self.boots = 0.0, 0.0, 1
        self.asleep = self.down = False

    @property
    def runs(self) -> bool:
        return not self.asleep and not self.down

    @property
    def boot(self) -> str:
        return f"boot-{self.boots}"

    def now(self) -> float:
        return self._loop.now - self.booted

    def wall(self) -> float:
        return WALL + self._loop.now + self.skew

    def reboot(self) -> None:
        self.down = False
        self.boots += 1
        self.booted = self._loop.now


class Disk:
    """Checkpoint and memory as rows that were written whole or not at all: SQLite's promise, and tests/crash's subject.

    `snapshot`: what the oracle believed when the rows were drained."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.full = False
        self.begun = False
        self.exists = False
        self.rows = Rows()
        self.heard: dict[int, tuple[str, float, float]] = {}
        self.memos: dict[str, Memo] = {}
        self.snapshot: Any = None

    def save(self, rows: Rows, now: float, wall: float, whole: bool, snapshot: Any) -> bool:
        if self.full:
            if rows.facts or rows.devices or not self.begun:
                # A file that cannot be kept current is removed.
                self.begun = False
                self.lose_checkpoint()
            return False
        if whole:
            self.lose_checkpoint()
        self.rows.facts.update(rows.facts)
        self.rows.devices.update(rows.devices)
        for batch, heard in rows.heard.items():
            if heard is None:
                self.heard.pop(batch, None)
            else:
                self.heard[batch] = (self._machine.boot, heard, wall - (now - heard))
        self.begun = self.exists = True
        self.snapshot = snapshot
        return True

    def load(self, now: float, wall: float) -> Rows:
        """As node/checkpoint reads it."""
        reader = Checkpoint(Path("unused"), self._machine.boot)
        facts: dict[FactKey, FactRow | None] = {key: row for key, row in self.rows.facts.items() if row is not None}
        devices: dict[DeviceKey, DeviceRow | None] = {key: row for key, row in self.rows.devices.items() if row is not None}
        heard: dict[int, float | None] = {batch: reader._in_this_boot(*at, now, wall) for batch, at in self.heard.items()}
        self.begun = self.exists
        return Rows(facts, devices, heard)

    def lose_checkpoint(self) -> None:
        self.rows, self.heard, self.exists, self.snapshot = Rows(), {}, False, None

    def save_memos(self, memos: Mapping[str, Memo | None]) -> bool:
        if self.full:
            return False
        for uid, memo in memos.items():
            if memo is None:
                self.memos.pop(uid, None)
            else:
                self.memos[uid] = memo
        return True

    def load_memos(self) -> list[Memo]:
        return list(self.memos.values())
