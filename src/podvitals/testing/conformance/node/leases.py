"""Leases (CONTRACT §3): what was said is good for so long, and not longer, and not shorter."""

import asyncio
import time

from podvitals.testing.conformance.case import Cases, Finding
from podvitals.testing.conformance.node.apart import Apart
from podvitals.testing.conformance.node.stage import Stage
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY

CASES: Cases[Stage] = Cases()

_LEASE = 3
_DO = "end each device's lease by a timer of its own, not when the next message is read"


@CASES.case(
    "lease-end",
    "A device is Unknown when health_check_timeout_seconds are over since the last report of it (kubernetes#140819).",
    "CONTRACT §5",
    do=_DO,
    stage=1,
)
async def lease_end(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY) as (driver, pod):
        return await pod.due(driver, "d0", "Unknown", since=driver.say("d0", HEALTHY, lease=_LEASE), after=_LEASE)


@CASES.case(
    "lease-end-of-a-fault",
    "A fault ends with its lease too: nobody knows any more.",
    "CONTRACT §3",
    do=_DO,
    stage=1,
)
async def lease_end_of_a_fault(stage: Stage) -> Finding:
    async with stage.showing(UNHEALTHY) as (driver, pod):
        return await pod.due(driver, "d0", "Unknown", since=driver.say("d0", UNHEALTHY, b"broken", lease=_LEASE), after=_LEASE)


@CASES.case(
    "driver-process-stopped",
    "A driver whose process is stopped says nothing, though its sockets are open: its devices are Unknown when their leases end.",
    "CONTRACT §3",
    do="end leases by their time: an open connection says nothing of who is behind it",
    stage=1,
)
async def process_stopped(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY, lease=_LEASE, beat=0.5, kind=Apart) as (driver, pod):
        assert isinstance(driver, Apart)
        driver.hush()
        await asyncio.sleep(0.3)  # what it was given to say is said
        driver.halt()
        try:
            return await pod.due(driver, "d0", "Unknown", since=driver.sent_at, after=_LEASE)
        finally:
            driver.go_on()


@CASES.case(
    "lease-renewed",
    "Each report of a device starts its lease anew, also one that says the same.",
    "CONTRACT §3",
    do="renew the lease before comparing what was said",
    stage=1,
)
async def lease_renewed(stage: Stage) -> str:
    async with stage.showing(HEALTHY, lease=2, beat=0.5) as (driver, pod):
        await pod.stays(driver, "d0", "Healthy", since=time.monotonic(), seconds=5)
    return "Healthy for 5 s with a lease of 2 s, renewed twice a second"


@CASES.case(
    "return-unchanged",
    "A state that expired and returns unchanged is shown again.",
    "CONTRACT §5",
    do="compare with what is shown, not with what was last said",
    stage=1,
)
async def return_unchanged(stage: Stage) -> Finding:
    async with stage.driver("d0") as driver:
        driver.say("d0", HEALTHY, lease=2)
        pod = await stage.pod(driver)
        # Made to look once the lease is over, a kubelet sees that it is.
        await asyncio.sleep(max(0.0, driver.sent_at + 2.5 - time.monotonic()))
        await stage.nudge(pod)
        await pod.ready(driver, "d0", "Unknown")
        await asyncio.sleep(1.2)
        since = driver.say("d0", HEALTHY, lease=2)
        driver.beat(0.5)
        return await pod.due(driver, "d0", "Healthy", since=since)


@CASES.case(
    "lease-per-device",
    "Each device has a lease of its own.",
    "CONTRACT §3",
    do=_DO,
    stage=1,
)
async def lease_per_device(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY, HEALTHY) as (driver, pod):
        since = driver.say_all(driver.device("d0", HEALTHY, lease=_LEASE), driver.device("d1", HEALTHY, lease=60))
        found = await pod.due(driver, "d0", "Unknown", since=since, after=_LEASE)
        await pod.stays(driver, "d1", "Healthy", since=since, seconds=1.5)
        return found


@CASES.case(
    "subset-report",
    "A report may be a subset: a device absent from it keeps its state until its own timeout.",
    "CONTRACT §3",
    do=_DO,
    stage=1,
)
async def subset(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY, UNHEALTHY) as (driver, pod):
        since = driver.say("d1", UNHEALTHY, b"broken", lease=_LEASE)
        for _ in range(_LEASE * 2):
            driver.say("d0", HEALTHY)
            await asyncio.sleep(0.4)
        await pod.stays(driver, "d1", "Unhealthy", since=since, seconds=0)
        return await pod.due(driver, "d1", "Unknown", since=since, after=_LEASE)


@CASES.case(
    "lease-shortened",
    "The lease is that of the newest report.",
    "CONTRACT §3",
    do="take the timeout from each report, not from the first",
    stage=1,
)
async def lease_shortened(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY, lease=60) as (driver, pod):
        driver.say("d0", HEALTHY, lease=1)
        prolonged = driver.say("d0", HEALTHY, lease=_LEASE)
        return await pod.due(driver, "d0", "Unknown", since=prolonged, after=_LEASE)


@CASES.case(
    "lease-absent-or-negative",
    "A timeout that is absent or not positive means 30 s.",
    "CONTRACT §3",
    do="take 30 s where the driver says none",
    stage=1,
    slow=True,
)
async def lease_default(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY, HEALTHY) as (driver, pod):
        since = driver.say_all(driver.device("d0", HEALTHY, lease=0), driver.device("d1", HEALTHY, lease=-7))
        found = await pod.due(driver, "d0", "Unknown", since=since, after=30)
        await pod.due(driver, "d1", "Unknown", since=since, after=30)
        return found


@CASES.case(
    "lease-huge",
    "A huge lease overflows a duration: it is clamped.",
    "CONTRACT §3",
    do="clamp what the driver says at 24 h",
    stage=1,
)
async def lease_huge(stage: Stage) -> str:
    async with stage.showing(HEALTHY) as (driver, pod):
        since = driver.say("d0", HEALTHY, lease=2**63 - 1)
        await stage.nudge(pod)
        await pod.stays(driver, "d0", "Healthy", since=since, seconds=3)
    return "Healthy 3 s after a report with a lease of 2⁶³ s"
