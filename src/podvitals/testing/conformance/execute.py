"""Runs cases, each bounded in time; whatever one does becomes its result."""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

from podvitals.errors import ApiError, ApiUnreachable, PodvitalsError
from podvitals.testing.conformance.case import Case, Finding, Outcome, Result, Told

S = TypeVar("S")


async def execute(
    cases: Sequence[Case[S]], subject: S, *, limit: float, at_once: int = 1, told: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """The results in the order of `cases`. `limit`: seconds a case may take. `at_once`: how many of one stage run beside each other; those
    of stage 0 never do. `told` hears of each result as it comes."""
    results: dict[str, Result] = {}
    order = sorted(cases, key=lambda case: case.stage)
    for stage, group in groupby(order, key=lambda case: case.stage):
        gate = asyncio.Semaphore(at_once if stage else 1)

        async def one(case: Case[S], gate: asyncio.Semaphore = gate) -> None:
            async with gate:
                results[case.name] = result = await judged(case, subject, limit)
            told(result)

        async with asyncio.TaskGroup() as tasks:
            for case in group:
                tasks.create_task(one(case), name=f"conformance: {case.name}")
    return [results[case.name] for case in cases]


async def judged(case: Case[S], subject: S, limit: float) -> Result:
    began = time.monotonic()
    try:
        async with asyncio.timeout(limit):
            found = await case.run(subject)
        finding = Finding(Outcome.PASS, found) if isinstance(found, str) else found
    except Told as told:
        finding = told.finding(case.do)
    except TimeoutError:
        finding = Finding(Outcome.FAIL, f"no outcome within {limit:g} s", case.do)
    except (ApiError, ApiUnreachable) as error:
        # Neither the subject's doing nor this suite's: what stands in the way is told as it is.
        finding = Finding(Outcome.SKIP, f"the Kubernetes API is in the way: {error}")
    except PodvitalsError as error:
        finding = Finding(Outcome.FAIL, str(error), case.do)
    return Result(case.name, case.sentence, case.source, finding, time.monotonic() - began)
