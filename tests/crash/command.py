"""What `make crash` and `make crash-cluster` have in common as commands: what can be asked for, and how they are interrupted."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Collection


def parser(name: str, doc: str | None, rounds: int, faults: Collection[str], twins: Collection[str]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m {name}", description=doc)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--first", type=int, default=0, help="the first seed")
    made.add_argument("--seed", type=int, help="one round alone")
    made.add_argument("--fault", choices=["", *faults], default="", help="each round has this fault")
    made.add_argument("--twin", choices=["all", *twins], default="", help="a refuted one, which must be found")
    made.add_argument("--no-twins", action="store_true", help="the rounds alone")
    return made


def seeds(given: argparse.Namespace) -> range:
    """Of the rounds that were asked for; none where it is a twin alone."""
    if given.seed is not None:
        return range(given.seed, given.seed + 1)
    return range(given.first, given.first + (0 if given.twin else given.rounds))


def twins_of(given: argparse.Namespace, every: Collection[str]) -> Collection[str]:
    """Those that were asked for: all of them after the rounds, where nobody asked for anything else."""
    if given.twin:
        return every if given.twin == "all" else (given.twin,)
    return () if given.no_twins or given.seed is not None else every


def say(text: str) -> None:
    print(text, flush=True)


def run(main: Callable[[], Awaitable[int]], name: str) -> None:
    """Ends the process, with what `main` returns."""

    async def call() -> int:
        return await main()

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(asyncio.run(call()))
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; everything it started is gone")
