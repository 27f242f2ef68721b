"""The results as a page (docs/benchmarks.md): a table between two marks.

A run that measures some rows replaces those and leaves the others."""

from collections.abc import Sequence
from pathlib import Path

from tests.bench.table import HEADINGS, Row, cells

BEGIN, END = '<!-- rows: begin (make bench ARGS="--into docs/benchmarks.md") -->', "<!-- rows: end -->"


class Page:
    def __init__(self, path: Path) -> None:
        """Raises OSError or ValueError where there is no such page, or no place for a table in it."""
        self._path, text = path, path.read_text()
        if not 0 <= text.find(BEGIN) < text.find(END):
            raise ValueError(f"{path} has no place for a table: write {BEGIN!r} and {END!r} on lines of their own")
        self._before, _, rest = text.partition(BEGIN)
        table, _, self._after = rest.partition(END)
        self._lines = {_key(line): line for line in table.splitlines() if line.startswith("| ")}

    def put(self, rows: Sequence[Row]) -> None:
        self._lines.update((_key(line), line) for line in (_line(cells(row)) for row in rows))
        self._lines.pop(_key(_line(HEADINGS)), None)
        table = "\n".join([_line(HEADINGS), "|" + "---|" * len(HEADINGS), *self._lines.values()])
        self._path.write_text(f"{self._before}{BEGIN}\n{table}\n{END}{self._after}")


def _line(texts: Sequence[str]) -> str:
    return "".join(f"| {text.replace('|', '/')} " for text in texts) + "|"


def _key(line: str) -> tuple[str, ...]:
    """Whose row it is, and what it measures."""
    return tuple(line.split(" | ")[:2])
