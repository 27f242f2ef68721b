"""Many seeds in several processes. They are begun anew, not forked: who calls may have threads."""

import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context

from tests.chaos.shrink import Finding, find

BATCH = 25
ENOUGH = 3
"""Findings after which no more seeds are tried."""
SAY_EVERY = 10.0


def batch(seeds: range) -> tuple[int, list[Finding], float]:
    """How many seeds were tried, what was found, and the seconds of processor time."""
    logging.disable(logging.CRITICAL)
    began = time.process_time()
    found = [one for seed in seeds if (one := find(seed)) is not None]
    return len(seeds), found, time.process_time() - began


def batches(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, BATCH):
        yield range(start, min(start + BATCH, first + count))


def hunt(first: int, count: int, processes: int) -> list[Finding]:
    """Tries `count` seeds; says every few seconds how far it is."""
    found: list[Finding] = []
    tried, burnt, began, said = 0, 0.0, time.monotonic(), time.monotonic()
    waiting = batches(first, count)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        running: set[Future[tuple[int, list[Finding], float]]] = set()
        while True:
            while len(running) < 2 * processes and len(found) < ENOUGH and (seeds := next(waiting, None)) is not None:
                running.add(pool.submit(batch, seeds))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                number, findings, seconds = one.result()
                tried, burnt = tried + number, burnt + seconds
                found += findings
            if time.monotonic() - said >= SAY_EVERY:
                said = time.monotonic()
                print(f"chaos: {tried} of {count} seeds in {said - began:.0f} s, {len(found)} findings", file=sys.stderr)
    each = 1000 * burnt / max(tried, 1)
    print(
        f"chaos: {tried} seeds from {first} in {time.monotonic() - began:.0f} s ({each:.0f} ms of processor a seed), {len(found)} findings"
    )
    return found
