"""A driver process that reports as fast as it is read, until it is killed: `python -m tests.flow.flooding DIR NAME`."""

import asyncio
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.flow.hostile import Flood, report


def flapping() -> Iterator[bytes]:
    return itertools.cycle([report({"device": "d0", "health": health, "message": f"n={n}"}) for n in range(50) for health in (1, 2)])


async def serve(directory: Path, name: str) -> None:
    async with Flood(directory, flapping, name):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
