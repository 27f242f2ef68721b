"""Pods that end (CONTRACT §5): what was known stays, and what is found later is added."""

import asyncio

from podvitals.testing.conformance.case import Cases, Failed, Finding
from podvitals.testing.conformance.node.puppet import Puppet
from podvitals.testing.conformance.node.reading import Shown, phase
from podvitals.testing.conformance.node.sight import EVENTUALLY, Sight
from podvitals.testing.conformance.node.stage import Stage
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY

CASES: Cases[Stage] = Cases()

_LIVES = 4
_SETTLED = 3.0


async def _ending(stage: Stage, driver: Puppet, health: str) -> Sight:
    """A pod that shows `health` and has ended when this returns."""
    pod = await stage.pod(driver, command=["sh", "-c", f"sleep {_LIVES}; exit 1"], restartPolicy="Never")
    await pod.ready(driver, "d0", health)
    if not await pod.until(lambda state: phase(state) == "Failed" or None, _LIVES + 15.0):
        raise Failed(f"a pod that ends after {_LIVES} s is {phase(pod.newest)}")
    await asyncio.sleep(_SETTLED)
    return pod


@CASES.case(
    "ended-pod-keeps-health",
    "The health of a pod's devices stays on record when the pod ends (kubernetes#132978).",
    "CONTRACT §5",
    do="leave what was known when the pod ended: that is when people look",
    stage=1,
)
async def ended_keeps(stage: Stage) -> str:
    async with stage.driver("d0") as driver:
        driver.say("d0", UNHEALTHY, b"broken")
        pod = await _ending(stage, driver, "Unhealthy")
        found = pod.shown(driver, "d0")
        if found is None or found.health != "Unhealthy":
            raise Failed(f"{_SETTLED:g} s after the pod's end the device is shown {found or 'not at all'}")
    return f"{found}, {_SETTLED:g} s after the end"


@CASES.case(
    "late-fault",
    "A fault found after the pod's end is added: a detector may be slower than the crash it explains.",
    "CONTRACT §5",
    do="remember who held what for a while after the end",
    stage=1,
)
async def late_fault(stage: Stage) -> Finding:
    async with stage.driver("d0") as driver:
        driver.say("d0", HEALTHY)
        pod = await _ending(stage, driver, "Healthy")
        since = driver.say("d0", UNHEALTHY, b"found late")

        def added(found: Shown | None) -> bool:
            """Health stays as of the end, where faults stand beside it; a field has but the one place."""
            if stage.settings.reads == "field":
                return found is not None and found.health == "Unhealthy"
            return "found late" in str(pod.newest.get("metadata", {}).get("annotations"))

        return await pod.due(driver, "d0", added, since=since, late=EVENTUALLY, what="with the fault found late")
