"""When `get -w` should look again: an object changed, or a moment passed, since an agent's own state is asked for and not told."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import click

from podvitals.cli.layout import Layout
from podvitals.cli.output import Table, joined, line_width, print_lines
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import Resource

SETTLE = 0.02
"""Seconds to wait after a change for those that come with it: one look then serves them all."""


_AGES = ("AGE", "FOR", "SINCE", "LAST REPORT", "AGENT")


@asynccontextmanager
async def changes(
    client: Client, resources: Sequence[Resource[Any]], namespace: str | None, redraw_after: float
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Gives a function that waits until something of `resources` changed, or `redraw_after` seconds passed."""
    news = asyncio.Event()

    async def hear(resource: Resource[Any]) -> None:
        async with aclosing(follow(client, resource, namespace)) as changed:
            async for _ in changed:
                news.set()

    async def wait() -> None:
        try:
            async with asyncio.timeout(redraw_after):
                await news.wait()
            await asyncio.sleep(SETTLE)
        except TimeoutError:
            pass
        news.clear()

    tasks = [asyncio.create_task(hear(resource), name=f"follow {resource.plural}") for resource in resources]
    try:
        yield wait
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class News:
    """What a watch has printed."""

    def __init__(self, form: str, *, header: bool) -> None:
        self._form, self._header = form, header
        self._shown: dict[str, list[str]] = {}
        self._layout: Layout | None = None
        self._said: frozenset[str] = frozenset()

    def note(self, sentences: Sequence[str]) -> None:
        """What could not be read, when it begins."""
        for sentence in sentences:
            if sentence not in self._said:
                click.echo(f"note: {sentence}", err=True)
        self._said = frozenset(sentences)

    def tell(self, table: Table, keys: Sequence[str]) -> None:
        """Prints the rows that are new, changed or gone, in columns that stay where they were while they can."""
        rows = {key: _ageless(table.header, row) for key, row in zip(keys, table.rows, strict=True)}
        header, *cells = table.cells(wide=self._form == "wide")
        layout = Layout.of([header, *cells], line_width(self._form), table.least, self._layout)
        fresh = [row for row, (key, said) in zip(cells, rows.items(), strict=True) if self._shown.get(key) != said]
        if fresh and self._header and (self._layout is None or layout.columns != self._layout.columns):
            fresh.insert(0, header)
        lines = [joined(line, layout.gap) for row in fresh for line in layout.lines(row)]
        print_lines([*(f"{name} is gone" for name in self._shown if name not in rows), *lines])
        self._shown = rows
        if cells:
            self._layout = layout


def _ageless(header: Sequence[str], row: Sequence[str]) -> list[str]:
    """A row without its ages, whose growth is no news: `silent for`, in place of `alive ago`, is."""
    return [re.sub(r"\S*\d\S*", "", cell) if name in _AGES else cell for name, cell in zip(header, row, strict=True)]
