"""What every world is, be it of processes alone or on a real cluster: its story, what was found wrong, and somebody who looks on."""

import asyncio
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from tests.crash.oracle import Wrong
from tests.crash.report import Report

REMEMBERED = 10.0
"""Seconds for which it is forgiven that this process got no turn."""
TRACEBACK = "Traceback (most recent call last)"


class Stage(ABC):
    """`wrong`: what was found so far; `story`: what was done and seen, with its second. Its processes log into `root`/logs."""

    TICK, STALL = 0.05, 0.1
    """How often it looks, and how late a look shows that this process got no turn."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.began = time.monotonic()
        self.story: list[tuple[float, str]] = []
        self.wrong: list[Wrong] = []
        self._stalls: list[tuple[float, float]] = []
        self._read: dict[str, int] = {}

    def note(self, text: str) -> None:
        self.story.append((time.monotonic() - self.began, text))

    def found(self, wrong: Wrong) -> None:
        if wrong not in self.wrong:
            self.wrong.append(wrong)
            self.note(f"WRONG  {wrong.kind}: {wrong.text}")

    @abstractmethod
    def look(self, now: float, stalled: float) -> None:
        """Judges what is seen. `stalled`: seconds of late in which this process got no turn."""

    async def look_on(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            due += self.TICK
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self._stalls = [(at, took) for at, took in self._stalls if at > now - REMEMBERED]
            if now - due > self.STALL:
                self._stalls.append((now, now - due))
                due = now
                continue  # what is waiting to be read first was shown long ago
            self.look(now, sum(took for _, took in self._stalls))

    def tracebacks(self) -> list[str]:
        """The last lines of those that were logged since this was last asked: a fault of ours that nobody provided for. Blocks."""
        found = []
        for log in sorted((self.root / "logs").iterdir()):
            with log.open(errors="replace") as file:
                file.seek(self._read.get(log.name, 0))
                text = file.read()
                self._read[log.name] = file.tell()
            if TRACEBACK in text:
                found.append(f"{log.name}: {text.partition(TRACEBACK)[2][:4000].strip()[-300:]}")
        return found

    def since(self, begins: int) -> list[str]:
        """The story from this line on."""
        return [f"{at:8.3f}  {text}" for at, text in self.story[begins:]]

    def keep(self, report: Report, prefix: str, begins: int) -> None:
        """Copies what tells the story of a failed round to a place that stays, and tells it in the report. Blocks."""
        kept = Path(tempfile.mkdtemp(prefix=f"{prefix}-seed-{report.seed}-"))
        report.kept, report.story = str(kept), self.since(begins)
        (kept / "story.txt").write_text("".join(f"{line}\n" for line in self.since(0)))
        with suppress(OSError, shutil.Error):
            shutil.copytree(self.root / "logs", kept / "logs")
