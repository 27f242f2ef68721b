"""What a driver says is shown: at once, in order, whole, and no oftener than it changes."""

import asyncio
import time

from podvitals.testing.conformance.case import Cases, Failed, Finding, NotApplicable
from podvitals.testing.conformance.node.reading import Shown, entries
from podvitals.testing.conformance.node.sight import EVENTUALLY
from podvitals.testing.conformance.node.stage import Stage
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY, UNKNOWN

CASES: Cases[Stage] = Cases()

MESSAGE = "Xid 79: GPU has fallen off the bus (PCI 0000:3b:00.0) – ü"
ANNOTATED = 2.5
"""Seconds within which a message is shown: podvitals' annotation is written at most once a second."""
_RESTED = 1.2
"""Seconds without a change before a time is taken: a pod worker that has just worked is not what is measured."""
_PAIRS = 6
_DO = "see how long the way from the stream to the pod's status is"


@CASES.case("first-report", "What a driver reports of a device is shown by the pods that hold it.", "CONTRACT §4", do=_DO)
async def first_report(stage: Stage) -> Finding:
    async with stage.driver("d0") as driver:
        pod = await stage.pod(driver)
        await driver.watched_by_somebody()
        await asyncio.sleep(_RESTED)
        return await pod.due(driver, "d0", "Healthy", since=driver.say("d0", HEALTHY))


@CASES.case("change", "A change of a device's health is shown at once.", "CONTRACT §4", do=_DO)
async def change(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY) as (driver, pod):
        await asyncio.sleep(_RESTED)
        return await pod.due(driver, "d0", "Unhealthy", since=driver.say("d0", UNHEALTHY, MESSAGE.encode()))


@CASES.case("recovery", "A device that is healthy again is shown so.", "CONTRACT §4", do=_DO)
async def recovery(stage: Stage) -> Finding:
    async with stage.showing(UNHEALTHY) as (driver, pod):
        await asyncio.sleep(_RESTED)
        return await pod.due(driver, "d0", "Healthy", since=driver.say("d0", HEALTHY))


@CASES.case(
    "changes-50ms-apart",
    "Of changes that follow one another the newest is shown, each as soon as a lone one.",
    "CONTRACT §5",
    do="publish the newest state when the last write is done, without a pause between",
)
async def close_changes(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY) as (driver, pod):
        found = []
        # A kubelet's pod worker looks once a second: only several tries meet the whole of that second.
        for turn in range(_PAIRS):
            await asyncio.sleep(_RESTED + 0.13 * turn)
            driver.say("d0", UNHEALTHY, b"broken")
            await asyncio.sleep(0.05)
            health, wanted = ((UNKNOWN, "Unknown"), (HEALTHY, "Healthy"))[turn % 2]
            found.append(await pod.due(driver, "d0", wanted, since=driver.say("d0", health), late=0.5))
    return max(found, key=lambda each: each.ms or 0.0)


@CASES.case(
    "message",
    "The driver's message is shown with the health.",
    "CONTRACT §3",
    do="carry DeviceHealth.message to the pod",
    stage=1,
)
async def message(stage: Stage) -> Finding:
    carries_messages(stage)
    async with stage.showing(HEALTHY) as (driver, pod):
        wanted = Shown("Unhealthy", MESSAGE)
        since = driver.say("d0", UNHEALTHY, MESSAGE.encode())
        return await pod.due(driver, "d0", lambda found: found == wanted, since=since, late=ANNOTATED, what="Unhealthy with its message")


@CASES.case(
    "message-changes",
    "A message that changes while the health stays is shown too.",
    "CONTRACT §3",
    do="compare messages, not only health, when it is decided whether a pod changed",
    stage=1,
)
async def message_changes(stage: Stage) -> Finding:
    carries_messages(stage)
    async with stage.driver("d0") as driver:
        driver.say("d0", UNHEALTHY, b"one link down")
        pod = await stage.pod(driver)
        await pod.ready(driver, "d0", lambda found: found == Shown("Unhealthy", "one link down"))
        since = driver.say("d0", UNHEALTHY, b"two links down")
        wanted = Shown("Unhealthy", "two links down")
        return await pod.due(driver, "d0", lambda found: found == wanted, since=since, late=ANNOTATED, what="with the new message")


@CASES.case(
    "unchanged-is-not-written",
    "A report that changes nothing changes no pod.",
    "CONTRACT §5",
    do="compare before writing: a report is sent again every few seconds, by every driver of every node",
    stage=1,
)
async def unchanged(stage: Stage) -> str:
    async with stage.showing(HEALTHY, UNHEALTHY) as (driver, pod):
        await asyncio.sleep(2.5)
        since = time.monotonic()
        driver.beat(0.1)
        await asyncio.sleep(3.0)
        written = len(pod.states(since)) - 1
        # A kubelet writes a pod for reasons of its own now and then.
        if written > 1:
            raise Failed(f"30 reports that said the same changed the pod {written} times")
    return f"30 reports in 3 s, {written} changes of the pod"


@CASES.case(
    "same-order",
    "Identical states are identical: entries keep their order.",
    "CONTRACT §5",
    do="sort the entries: those of a map come in any order, and the pod is written for it",
    stage=1,
)
async def same_order(stage: Stage) -> str:
    names = [f"d{number}" for number in range(6)]
    async with stage.driver(*names) as driver:
        driver.say_all(*(driver.device(name, HEALTHY) for name in names))
        pod = await stage.pod(driver, count=len(names))
        await pod.ready(driver, names[-1], "Healthy")
        since = time.monotonic()
        for turn in range(6):
            health = (UNKNOWN, HEALTHY)[turn % 2]
            last = driver.say_all(*(driver.device(name, health) for name in names))
            await pod.due(driver, "d5", ("Unknown", "Healthy")[turn % 2], since=last, late=EVENTUALLY)
        orders = {tuple(found) for _, state in pod.states(since) if (found := [entry.id for entry in entries(state, stage.settings.reads)])}
        if len(orders) > 1:
            raise Failed(f"{len(orders)} different orders of {len(names)} devices in {len(pod.states(since))} states of the pod")
    return f"one order in {len(pod.states(since))} states of the pod"


@CASES.case(
    "event",
    "KEP-4680: expose device health in Pod Status and events.",
    "CONTRACT §5",
    do="write an event about the pod when a device of it fails",
    stage=1,
)
async def event(stage: Stage) -> str:
    async with stage.showing(HEALTHY) as (driver, pod):
        driver.say("d0", UNHEALTHY, MESSAGE.encode())
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:  # an event has no other sign than that it is there
            for each in await stage.events(pod):
                if each.get("type") == "Warning" and ("d0" in each.get("message", "") or "Device" in each.get("reason", "")):
                    return f"{each['reason']}: {each['message']}"
            await asyncio.sleep(0.25)
    raise Failed("no event about the device within 5 s")


def carries_messages(stage: Stage) -> None:
    if stage.settings.reads == "field" and stage.minor < 36:
        raise NotApplicable(f"a kubelet of 1.{stage.minor} knows no messages")
