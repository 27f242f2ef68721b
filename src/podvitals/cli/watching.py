"""When `get -w` should look again: an object changed, or a moment passed, since an agent's own state is asked for and not told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import Resource

SETTLE = 0.02
"""Seconds to wait after a change for those that come with it: one look then serves them all."""


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
