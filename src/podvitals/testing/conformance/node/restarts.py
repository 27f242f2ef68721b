"""The node side restarts (CONTRACT §5): a state is then as good as what is left of its lease, never better. Last, for they touch all."""

import asyncio
import time

from podvitals.testing.conformance.case import Cases, Finding, Skipped
from podvitals.testing.conformance.node.stage import Stage
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY

CASES: Cases[Stage] = Cases()

_SETTLES = 8.0
"""Seconds after a restart in which what was forgotten shows."""


async def _restart(stage: Stage) -> None:
    if stage.settings.restart is None:
        raise Skipped("how to restart the node side is not known: --restart-command says it")
    await stage.settings.restart()


def _known(stage: Stage) -> None:
    if stage.settings.restart is None:
        raise Skipped("how to restart the node side is not known: --restart-command says it")


@CASES.case(
    "restart-keeps-a-fault",
    "After a restart of the node side a fault whose lease runs is still known, though the driver says nothing new.",
    "CONTRACT §5",
    do="keep what was said in a checkpoint that survives a kill",
    stage=2,
)
async def keeps_a_fault(stage: Stage) -> str:
    _known(stage)
    async with stage.showing(UNHEALTHY) as (driver, pod):
        driver.newcomers = False
        since = time.monotonic()
        await _restart(stage)
        await asyncio.sleep(2.0)
        await stage.nudge(pod)
        await pod.stays(driver, "d0", "Unhealthy", since=since, seconds=_SETTLES - 2.0)
    return f"Unhealthy through the restart and {_SETTLES:g} s after"


@CASES.case(
    "restart-keeps-a-lease",
    "The checkpoint holds when a device was last heard, not only when it last changed.",
    "CONTRACT §5",
    do="write down that a device was heard again, once a second at most",
    stage=3,
)
async def keeps_a_lease(stage: Stage) -> str:
    _known(stage)
    async with stage.showing(HEALTHY, lease=20, beat=0.5) as (driver, pod):
        await asyncio.sleep(14.0)  # heard all the time, changed never
        driver.hush()
        driver.newcomers = False
        since = driver.sent_at
        await _restart(stage)
        # 22 s after the first report, 8 s after the last.
        await asyncio.sleep(max(0.0, since + 8.0 - time.monotonic()))
        await stage.nudge(pod)
        await pod.stays(driver, "d0", "Healthy", since=since, seconds=4.0)
    return "Healthy 12 s after the last report and 26 s after the first, with a lease of 20 s"


@CASES.case(
    "restart-ends-a-lease",
    "A lease that ends while the node side is away, or just after, ends: nothing is better after a restart than before.",
    "CONTRACT §5",
    do="count leases through a restart",
    stage=4,
)
async def ends_a_lease(stage: Stage) -> Finding:
    _known(stage)
    async with stage.showing(HEALTHY) as (driver, pod):
        driver.newcomers = False
        since = driver.say("d0", HEALTHY, lease=4)
        await asyncio.sleep(0.5)
        await _restart(stage)
        return await pod.due(driver, "d0", "Unknown", since=since, after=4.0, late=6.0)


@CASES.case(
    "restart-without-a-flap",
    "A restart of the node side alone changes no device's health: the driver says what it said.",
    "CONTRACT §5",
    do="tell pods nothing before the drivers have been heard again, or their leases are over",
    stage=5,
)
async def without_a_flap(stage: Stage) -> str:
    _known(stage)
    async with stage.showing(HEALTHY, lease=30, beat=0.5) as (driver, pod):
        since = time.monotonic()
        await _restart(stage)
        await pod.stays(driver, "d0", "Healthy", since=since, seconds=_SETTLES)
    return f"Healthy through the restart and {_SETTLES:g} s after"
