"""How wide the columns of a table are, and which of them a narrow terminal shows. No I/O here.

One word is a name, which people copy: it is never cut or broken. Prose is cut (in lists) or goes on below (on pages).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

_GAPS = (3, 2)
"""Spaces between two columns: as many as kubectl's, and where that is too much."""
_LEAST_PROSE = 20
"""Characters that prose keeps before a column is left out for it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """`columns` by index, each with its width. `apart`: the column whose longer cells stand on a line of their own, if any."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    gap: int = _GAPS[0]
    apart: int | None = None

    @classmethod
    def of(cls, rows: Sequence[Sequence[str]], width: int | None, least: Sequence[str] = (), before: "Layout | None" = None) -> "Layout":
        """For `rows`, header first. `before`: the layout of what was printed above, whose columns stay where they were if they can."""
        columns = tuple(range(len(rows[0])))
        natural = [max(len(row[column]) for row in rows) for column in columns]
        if before is not None and before.apart is None:
            kept = dict(zip(before.columns, before.widths, strict=True))
            natural = [max(wanted, kept.get(column, 0)) for column, wanted in enumerate(natural)]
        if width is None:
            return cls(columns, tuple(natural))
        for gap in _GAPS:
            if sum(natural) + gap * (len(columns) - 1) <= width:
                return cls(columns, tuple(natural), gap)
        return cls(columns, tuple(natural), _GAPS[-1])._narrowed(rows, width, [rows[0].index(name) for name in least if name in rows[0]])

    @classmethod
    def folding(cls, rows: Sequence[Sequence[str]], width: int) -> "Layout":
        """For rows whose prose goes on below: every column has at least its longest word, the last one what the others leave."""
        whole = cls.of(rows, None)
        if whole._taken() <= width:
            return whole
        floors = [max(len(word) for row in rows for word in (*row[column].split(), rows[0][column])) for column in whole.columns]
        shrunk = replace(whole, gap=_GAPS[-1])._shrunk(floors, width)
        used = [max(len(line) for row in rows for line in _fold(row[c], shrunk.widths[c])) for c in shrunk.columns]
        last = max(used[-1], width - sum(used[:-1]) - shrunk.gap * (len(used) - 1))
        return replace(shrunk, widths=(*used[:-1], last))

    def lines(self, row: Sequence[str]) -> list[list[str]]:
        """A row of a list, each cell as wide as its column: one line, or two where its name is longer than the name's column."""
        cells = [_cut(row[column], width) for column, width in zip(self.columns, self.widths, strict=True)]
        if self.apart is None or len(cells[self.apart]) <= self.widths[self.apart]:
            return [self._padded(cells)]
        padded, end = self._padded(cells), self.apart + 1
        return [padded[:end], [" " * width for width in self.widths[:end]] + padded[end:]]

    def folded(self, row: Sequence[str]) -> list[list[str]]:
        """A row of a page, in as many lines as its longest cell needs."""
        parts = [_fold(row[column], width) for column, width in zip(self.columns, self.widths, strict=True)]
        return [self._padded([part[n] if n < len(part) else "" for part in parts]) for n in range(max(map(len, parts)))]

    def _padded(self, cells: Sequence[str]) -> list[str]:
        return [cell.ljust(width) for cell, width in zip(cells, self.widths, strict=True)]

    def _taken(self) -> int:
        return sum(self.widths) + self.gap * (len(self.widths) - 1)

    def _narrowed(self, rows: Sequence[Sequence[str]], width: int, least: Sequence[int]) -> "Layout":
        floors = [_floor([row[column] for row in rows]) for column in self.columns]
        layout, left_out = self, list(least)
        while (shrunk := layout._shrunk([floors[c] for c in layout.columns], width))._taken() > width and left_out:
            layout = layout._without(left_out.pop(0))
        over = shrunk._taken() - width
        if over <= 0:
            return shrunk
        # Names alone are too long: the longest of them stand above the rest of their rows.
        apart = max(range(len(shrunk.columns)), key=lambda position: shrunk.widths[position])
        least_width = max(len(rows[0][shrunk.columns[apart]]), shrunk.widths[apart] - over)
        widths = (*shrunk.widths[:apart], least_width, *shrunk.widths[apart + 1 :])
        return replace(shrunk, widths=widths, apart=apart)

    def _without(self, column: int) -> "Layout":
        kept = [(c, w) for c, w in zip(self.columns, self.widths, strict=True) if c != column]
        return replace(self, columns=tuple(c for c, _ in kept), widths=tuple(w for _, w in kept))

    def _shrunk(self, floors: Sequence[int], width: int) -> "Layout":
        """The widest first, each down to its floor at most."""
        widths, over = list(self.widths), self._taken() - width
        while over > 0:
            position = max(range(len(widths)), key=lambda p: widths[p] if widths[p] > floors[p] else 0)
            if widths[position] <= floors[position]:
                break
            widths[position] -= 1
            over -= 1
        return replace(self, widths=tuple(widths))


def _floor(cells: Sequence[str]) -> int:
    header, *rows = cells
    names = max((len(cell) for cell in rows if " " not in cell), default=0)
    prose = max((len(cell) for cell in rows if " " in cell), default=0)
    return max(len(header), names, min(_LEAST_PROSE, prose))


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width or " " not in cell else cell[: width - 1].rstrip() + "…"


def _fold(cell: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]
