"""What is printed: tables, JSON, YAML, ages, times, colour. Colour appears on a terminal only, and never carries meaning alone.

Text that came from a cluster is data of another party: it is cleaned (device.text) before it reaches a terminal.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

import click

from podvitals.cli.layout import Layout
from podvitals.device.health import Health
from podvitals.device.text import clean

FORMATS = ("table", "wide", "json", "yaml")
_COLOURS = {Health.HEALTHY: "green", Health.UNKNOWN: "yellow", Health.UNHEALTHY: "red"}


@dataclass(frozen=True, slots=True)
class Table:
    """`header` and `rows` of plain text; columns from `wide_from` on are printed with -o wide only. `least`: what a narrow terminal goes
    without, the first named first."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    wide_from: int | None = None
    least: Sequence[str] = ()

    def lines(self, *, wide: bool = False, indent: str = "", header: bool = True, width: int | None = None) -> list[str]:
        """The table as kubectl would lay it out, in lines of at most `width` characters where that can be had (None: nothing is cut)."""
        cells = self.cells(wide=wide)
        layout = Layout.of(cells, width, self.least)
        return [indent + joined(line, layout.gap) for row in cells[0 if header else 1 :] for line in layout.lines(row)]

    def folded(self, width: int, *, indent: str = "", header: bool = True) -> list[str]:
        """The same with nothing cut: what is too long for its column goes on below. For pages, whose lines are read and not compared."""
        cells = self.cells()
        layout = Layout.folding(cells, width - len(indent))
        return [indent + joined(line, layout.gap) for row in cells[0 if header else 1 :] for line in layout.folded(row)]

    def cells(self, *, wide: bool = False) -> list[list[str]]:
        """Header and rows as they are printed: harmless, and `-` where there is nothing."""
        columns = len(self.header) if wide or self.wide_from is None else self.wide_from
        return [list(self.header[:columns]), *([clean(cell) or "-" for cell in row[:columns]] for row in self.rows)]


def joined(cells: Sequence[str], gap: int) -> str:
    """One line of a table, each health in its colour."""
    return (" " * gap).join(_tinted(cell) for cell in cells).rstrip()


def _tinted(cell: str) -> str:
    return paint(cell, Health(cell.rstrip())) if cell.rstrip() in _COLOURS else cell


def colours() -> bool:
    """Whether standard output is a terminal that shows colours (https://no-color.org is respected)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, health: Health) -> str:
    return click.style(text, fg=_COLOURS[health], bold=health is Health.UNHEALTHY) if colours() else text


def strong(text: str) -> str:
    return click.style(text, bold=True) if colours() else text


def encode(document: Mapping[str, object], form: str) -> str:
    """`document` as JSON (two-space indent) or YAML, ending in one newline."""
    if form == "json":
        import json

        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        # What a terminal would obey is written as an escape, which means the same to a machine.
        return text if _harmless(text) else json.dumps(document, indent=2) + "\n"
    import yaml

    written: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    if not _harmless(written):
        written = yaml.safe_dump(document, sort_keys=False, allow_unicode=False, width=120)
    return written


def _harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable()


def age(seconds: float) -> str:
    """How long, as kubectl writes it: 4s, 2m40s, 6m, 3h12m, 2d5h."""
    left = max(int(seconds), 0)
    days, hours, minutes = left // 86400, left % 86400 // 3600, left % 3600 // 60
    if days:
        return f"{days}d{hours}h" if hours and days < 8 else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if left >= 600:
        return f"{minutes}m"
    if minutes:
        return f"{minutes}m{left % 60}s" if left % 60 else f"{minutes}m"
    return f"{left}s"


def clock(unix: float, now: float, zone: tzinfo | None = None) -> str:
    """A moment in the reader's local time: 12:03:04, with the date in front when it is not of today."""
    moment, today = datetime.fromtimestamp(unix, UTC).astimezone(zone), datetime.fromtimestamp(now, UTC).astimezone(zone)
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%b %d %H:%M:%S")


def stamp(unix: float) -> str:
    """A moment for machines: RFC 3339, UTC."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def wrapped(text: str, width: int, indent: str) -> str:
    """`text` in lines of at most `width` characters, later lines behind `indent`."""
    import textwrap

    return f"\n{indent}".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""])


def columns() -> int:
    """Characters a line has on this terminal; 120 where there is none."""
    import shutil

    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120


def line_width(form: str) -> int | None:
    """Characters a line of a list may have, for Table.lines; None: any. What goes into a pipe or a file is whole."""
    return columns() if form != "wide" and sys.stdout.isatty() else None


def print_lines(lines: Iterable[str]) -> None:
    text = "\n".join(lines)
    if text:
        click.echo(text)
