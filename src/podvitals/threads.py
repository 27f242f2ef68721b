"""What is done in a thread for one who may be cancelled meanwhile. A thread cannot be: what it makes has to be there to be closed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def finished(thread: Awaitable[T], undo: Callable[[T], object] | None = None) -> T:
    """The result of `thread` (asyncio.to_thread). Whoever is cancelled meanwhile is so when it has ended and what it made was undone, in a
    thread as well."""
    task = asyncio.ensure_future(thread)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if undo is not None and not task.cancelled() and task.exception() is None:
            await asyncio.to_thread(undo, task.result())
        raise
