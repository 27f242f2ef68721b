"""How the lab speaks to the person at the terminal: numbered steps, one fact a line, colour only where it is shown."""

import os
import re
import sys
import textwrap
from collections.abc import Iterable
from shutil import get_terminal_size

MARGIN = "   "
BOLD, DIM, RED, GREEN, CYAN = "1", "2", "31", "32", "36"
_HEALTH = re.compile(r"\b(Healthy|Unhealthy|Running|CrashLoopBackOff)\b")
_TINT = {"Healthy": GREEN, "Running": GREEN, "Unhealthy": RED, "CrashLoopBackOff": RED}


class Screen:
    """Writes to standard output; a line at a time, flushed, so that a recording and a log see it as it happens."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.width = min(get_terminal_size((110, 24)).columns, 120)

    def line(self, text: str = "") -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def title(self, text: str, about: str) -> None:
        self.line(f"{self._paint(text, BOLD)} · {about}")

    def step(self, number: int, text: str, took: str = "") -> None:
        self.line()
        gap = max(self.width - 3 - len(text) - len(took), 2)
        self.line(f"{self._paint(f'{number}', CYAN)}  {self.tint(text, BOLD)}{' ' * gap}{self._paint(took, BOLD)}".rstrip())

    def say(self, text: str) -> None:
        for line in textwrap.wrap(text, self.width - len(MARGIN), break_long_words=False, break_on_hyphens=False):
            self.line(MARGIN + self.tint(line))

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        """`what   how long`, in two columns."""
        rows = list(rows)
        widest = max((len(what) for what, _ in rows), default=0)
        longest = max((len(took) for _, took in rows), default=0)
        for what, took in rows:
            self.line(f"{MARGIN}{what.ljust(widest)}   {self._paint(took.rjust(longest), BOLD)}")

    def command(self, line: str, why: str = "") -> None:
        """A command to see it with."""
        note = f"   {self._paint('# ' + why, DIM)}" if why else ""
        self.line(f"{MARGIN}{self._paint('$', DIM)} {self._paint(line, CYAN)}{note}")

    def paste(self, *lines: str) -> None:
        """Lines for another terminal, with nothing before them that would be pasted along."""
        for line in lines:
            self.line(f"  {self._paint(line, DIM if line.startswith('#') else CYAN)}")

    def quote(self, text: str) -> None:
        """The output of a command, as it came."""
        for line in text.rstrip("\n").splitlines():
            self.line(f"{MARGIN}{self._paint('│', DIM)} {self.tint(line)}".rstrip())

    def trouble(self, text: str) -> None:
        self.line(f"{MARGIN}{self._paint('✗ ' + text, RED)}")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours and text else text

    def tint(self, text: str, base: str = "") -> str:
        """`text` with the words of health in their colours."""
        if not self._colours:
            return text
        begin = f"\x1b[{base}m" if base else ""
        tinted = _HEALTH.sub(lambda word: f"\x1b[{_TINT[word[0]]}m{word[0]}\x1b[0m{begin}", text)
        return f"{begin}{tinted}\x1b[0m" if base else tinted


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds >= 0.0095 else f"{seconds * 1000:.1f} ms"
