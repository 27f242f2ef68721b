"""The results as rows: one table for people, the same as JSON."""

import json
from dataclasses import asdict, dataclass

from tests.bench.stats import Estimate


@dataclass(frozen=True)
class Row:
    """`floor`: what bare patches of the same bytes took. `over`: the excess, or for bursts the ratio. `goal` as the issue says it."""

    subject: str
    what: str
    samples: int
    unit: str
    value: Estimate
    p99: float | None = None
    floor: Estimate | None = None
    over: Estimate | None = None
    over_unit: str = ""
    goal: str = ""
    met: bool | None = None


HEADINGS = ("subject", "what", "n", "p50 (95 % interval)", "p99", "bare patch p50", "over it", "goal", "")


def render(rows: list[Row]) -> str:
    table = [HEADINGS, *map(cells, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def render_json(rows: list[Row]) -> str:
    return json.dumps([asdict(row) for row in rows], indent=1)


def cells(row: Row) -> tuple[str, ...]:
    """Below HEADINGS."""
    met = {None: "", True: "met", False: "MISSED"}[row.met]
    p99 = "" if row.p99 is None else f"{row.p99:.1f} {row.unit}"
    number = str(row.samples) if row.samples else ""
    return (
        row.subject,
        row.what,
        number,
        _text(row.value, row.unit),
        p99,
        _text(row.floor, row.unit),
        _text(row.over, row.over_unit),
        row.goal,
        met,
    )


def _text(estimate: Estimate | None, unit: str) -> str:
    if estimate is None:
        return ""
    sign = "× " if unit == "×" else f" {unit} "
    if estimate.low == estimate.high:
        return f"{estimate.value:.1f}{sign}".rstrip()
    return f"{estimate.value:.1f}{sign}({estimate.low:.1f}–{estimate.high:.1f})"
