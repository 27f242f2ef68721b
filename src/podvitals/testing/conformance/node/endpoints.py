"""Who speaks for a driver (CONTRACT §1, §5): streams that end, drivers that restart, two endpoints in a rolling update."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from podvitals.testing.conformance.case import Cases, Failed, Finding, NotApplicable
from podvitals.testing.conformance.node.puppet import Puppet
from podvitals.testing.conformance.node.sight import EVENTUALLY, Sight
from podvitals.testing.conformance.node.stage import Stage
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1

CASES: Cases[Stage] = Cases()

GONE = 30.0
"""Seconds a driver may be away (ARCHITECTURE, rule 1)."""
_AWAY = 1.5
_ASKING = 3
"""Node sides that may watch beside each other (kubelet, agent, relay); each may try both versions."""
_KEEP = "keep what was said until its lease ends, whatever becomes of the stream"


@CASES.case(
    "stream-end",
    "The end of a stream clears no state whose lease runs.",
    "CONTRACT §5",
    do=_KEEP,
    stage=1,
)
async def stream_end(stage: Stage) -> str:
    async with stage.showing(UNHEALTHY) as (driver, pod):
        driver.newcomers = False
        since = time.monotonic()
        driver.end_streams()
        await asyncio.sleep(0.5)
        await stage.nudge(pod)
        await pod.stays(driver, "d0", "Unhealthy", since=since, seconds=4)
    return "Unhealthy for 4 s after its stream ended, with 300 s of lease left"


async def _comes_back(stage: Stage, end: Callable[[Puppet], Awaitable[None]]) -> str:
    """The driver is gone, and back after a moment in which a kubelet looks at the pod."""
    async with stage.showing(HEALTHY, lease=30) as (driver, pod):
        await end(driver)
        since = time.monotonic()
        await stage.nudge(pod)
        await asyncio.sleep(_AWAY)
        await driver.again()
        driver.beat(0.5)
        await pod.stays(driver, "d0", "Healthy", since=since, seconds=4)
    return f"Healthy throughout, {_AWAY:g} s without the driver and 4 s after"


@CASES.case(
    "restart-within-lease",
    "A driver restart within the lease causes no flap.",
    "CONTRACT §5",
    do=_KEEP,
    stage=1,
)
async def restart(stage: Stage) -> str:
    return await _comes_back(stage, Puppet.stop)


@CASES.case(
    "crash-within-lease",
    "A driver that is killed and comes back within the lease causes no flap; its stale socket is no other driver.",
    "CONTRACT §1",
    do=_KEEP,
    stage=1,
)
async def crash(stage: Stage) -> str:
    return await _comes_back(stage, Puppet.crash)


@CASES.case(
    "driver-gone",
    "A driver none of whose endpoints is connected for 30 s is Unknown, however long its leases are.",
    "CONTRACT §4",
    do="end what is known of a driver 30 s after its last connection",
    stage=1,
    slow=True,
)
async def gone(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY, lease=3600) as (driver, pod):
        since = time.monotonic()
        await driver.stop()
        return await pod.due(driver, "d0", "Unknown", since=since, after=GONE, late=2.0)


@asynccontextmanager
async def _rolling_update(stage: Stage, *, lease: int = 300, beat: float = 0.0) -> AsyncIterator[tuple[Puppet, Puppet, Sight]]:
    """The old endpoint of a driver, the new one, watched and silent yet, and a pod that shows what the old one said."""
    async with stage.showing(HEALTHY, lease=lease, beat=beat, pod_uid="0-old") as (old, pod), stage.successor(old) as new:
        await new.watched_by_somebody()
        yield old, new, pod


@CASES.case(
    "rolling-update",
    "Of two endpoints in a rolling update the newer speaks; what the older still says does not overwrite it (kubernetes#140818).",
    "CONTRACT §5",
    do="take a driver's health from one endpoint at a time, the newest that has reported",
    stage=1,
)
async def rolling(stage: Stage) -> Finding:
    async with _rolling_update(stage, beat=0.5) as (old, new, pod):
        found = await pod.breaks(new)
        await pod.stays(old, "d0", "Unhealthy", since=time.monotonic(), seconds=4)
        return found


@CASES.case(
    "rolling-update-ends",
    "When the older of two endpoints goes, what the newer said stays (kubernetes#140818).",
    "CONTRACT §5",
    do="clear nothing that another endpoint of the driver said",
    stage=1,
)
async def rolling_ends(stage: Stage) -> str:
    async with _rolling_update(stage) as (old, new, pod):
        await pod.breaks(new)
        since = time.monotonic()
        await old.stop()
        await stage.nudge(pod)
        await pod.stays(old, "d0", "Unhealthy", since=since, seconds=4)
    return "Unhealthy for 4 s after the older endpoint went"


@CASES.case(
    "new-endpoint-crashes",
    "When the newer of two endpoints crashes, the older, which still runs, speaks again.",
    "CONTRACT §1",
    do="go back to the older endpoint when the newer is gone",
    stage=1,
)
async def new_crashes(stage: Stage) -> Finding:
    async with _rolling_update(stage, lease=5, beat=0.5) as (old, new, pod):
        said = new.say("d0", UNHEALTHY, b"said by the new one", lease=5)
        await pod.due(new, "d0", "Unhealthy", since=said, late=EVENTUALLY)
        since = time.monotonic()
        await new.crash()
        return await pod.due(old, "d0", "Healthy", since=since, late=6.0)


@CASES.case(
    "driver-without-health",
    "A driver that answers UNIMPLEMENTED is left alone (kubernetes#141855), its pods start, and its devices are not Healthy.",
    "CONTRACT §3",
    do="remember that it has none until it registers again",
    stage=1,
)
async def without_health(stage: Stage) -> str:
    async with stage.driver("d0", health=False) as driver:
        pod = await stage.pod(driver)
        await asyncio.sleep(6.0)
        tries, found = driver.calls["NodeWatchResources"], pod.shown(driver, "d0")
        if found is not None and found.health == "Healthy":
            raise Failed("a device of which nobody said anything is shown Healthy")
        if tries > 2 * _ASKING:
            raise Failed(f"asked for its health {tries} times in 6 s")
    return f"asked {tries} times; shown {found or 'not at all'}"


async def _one_version(stage: Stage, version: str) -> Finding:
    async with stage.showing(HEALTHY, versions=(DRA_V1, DRA_V1BETA1, version)) as (driver, pod):
        return await pod.breaks(driver)


@CASES.case(
    "v1alpha1-only",
    "A driver that serves v1alpha1.DRAResourceHealth alone is heard (kubelets 1.34 to 1.39).",
    "CONTRACT §3",
    do="speak both versions: their messages are the same",
    stage=1,
)
async def alpha_only(stage: Stage) -> Finding:
    return await _one_version(stage, HEALTH_V1ALPHA1)


@CASES.case(
    "v1-only",
    "A driver that serves v1.DRAResourceHealth alone is heard (kubelets from 1.37).",
    "CONTRACT §3",
    do="speak both versions: their messages are the same",
    stage=1,
)
async def v1_only(stage: Stage) -> Finding:
    if stage.settings.reads == "field" and stage.minor < 37:
        raise NotApplicable(f"a kubelet of 1.{stage.minor} knows v1alpha1 only")
    return await _one_version(stage, HEALTH_V1)
