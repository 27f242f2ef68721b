"""Data of another party (CONTRACT §3, §5): what a driver says wrongly costs that, and nothing else."""

import asyncio
import time
import unicodedata
from collections.abc import Callable

from podvitals.testing.conformance.case import Cases, Failed, Finding
from podvitals.testing.conformance.node.apart import Apart
from podvitals.testing.conformance.node.reading import Shown
from podvitals.testing.conformance.node.sight import EVENTUALLY
from podvitals.testing.conformance.node.stage import Stage
from podvitals.testing.conformance.node.told import ANNOTATED, carries_messages
from podvitals.testing.conformance.rawreport import HEALTHY, UNHEALTHY, RawDevice, write_report

CASES: Cases[Stage] = Cases()

LONGEST_MESSAGE = 1024
_RATE, _SECONDS = 1000, 2.0
_ROOM = 4 * 1024 * 1024 - 64 * 1024
_TOO_MUCH = 6 * 1024 * 1024
_WATCHED_AGAIN = 10.0
"""Seconds within which a driver whose stream was ended is heard again."""


@CASES.case(
    "message-cut",
    "A message is cut at 1,024 bytes, at a character.",
    "CONTRACT §3",
    do="cut at a character: half of one is no text any more",
    stage=1,
)
async def message_cut(stage: Stage) -> str:
    carries_messages(stage)
    async with stage.showing(HEALTHY) as (driver, pod):
        for shift in range(3):  # one of three has its 1,021st byte inside a character
            since = driver.say("d0", UNHEALTHY, ("x" * shift + "€" * 700).encode())
            begins = "x" * shift + "€"
            wanted = lambda found, begins=begins: found is not None and found.message.startswith(begins)  # noqa: E731
            await pod.due(driver, "d0", wanted, since=since, late=ANNOTATED, what="with its message of 2,100 bytes")
            found = pod.shown(driver, "d0") or Shown("")
            if "\ufffd" in found.message:
                raise Failed(f"the message was cut inside a character: it ends in {found.message[-6:]!r}")
            if len(found.message.encode()) > LONGEST_MESSAGE:
                raise Failed(f"the message is shown with {len(found.message.encode())} bytes")
    return f"{len(found.message.encode())} bytes of {700 * 3}"


@CASES.case(
    "control-characters",
    "Control characters, terminal escapes and bidirectional marks of a message do not reach who reads it.",
    "CONTRACT §3",
    do="escape them: the message ends up on a terminal",
    stage=1,
)
async def control_characters(stage: Stage) -> str:
    carries_messages(stage)
    async with stage.showing(HEALTHY) as (driver, pod):
        since = driver.say("d0", UNHEALTHY, "bus\x1b[2J\r\n\u202egone\x00".encode())
        await pod.due(
            driver, "d0", lambda found: found is not None and "bus" in found.message, since=since, late=ANNOTATED, what="with its message"
        )
        message = (pod.shown(driver, "d0") or Shown("")).message
        if bad := sorted({f"U+{ord(each):04X}" for each in message if unicodedata.category(each) in ("Cc", "Cf")}):
            raise Failed(f"the message holds {', '.join(bad)}")
    return repr(message)


@CASES.case(
    "bad-utf8",
    "A message that is not UTF-8 costs its own text, not the report it stands in.",
    "CONTRACT §3",
    do="read the field as bytes: a protobuf parser throws the whole report away for it",
    stage=1,
)
async def bad_utf8(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY, HEALTHY) as (driver, pod):
        driver.newcomers = False
        since = driver.say_all(driver.device("d0", HEALTHY, b"Xid \xff\xfe"), driver.device("d1", UNHEALTHY, b"broken"))
        return await pod.due(driver, "d1", "Unhealthy", since=since, late=EVENTUALLY)


@CASES.case(
    "entry-without-device",
    "Pool and device are both required: an entry without them is skipped, its neighbours are not.",
    "CONTRACT §3",
    do="judge each entry for itself",
    stage=1,
)
async def nameless(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY) as (driver, pod):
        nobody = [RawDevice(None, None, UNHEALTHY), RawDevice(b"", b"d0", UNHEALTHY), RawDevice(driver.pool.encode(), b"", UNHEALTHY)]
        since = driver.send(write_report([*nobody, driver.device("d0", UNHEALTHY, b"broken")]))
        return await pod.due(driver, "d0", "Unhealthy", since=since, late=EVENTUALLY)


@CASES.case(
    "unknown-health-value",
    "A health that is none of 0, 1 and 2 is Unknown.",
    "CONTRACT §3",
    do="take what a later driver says as not known, never as healthy",
    stage=1,
)
async def unknown_value(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY) as (driver, pod):
        return await pod.due(driver, "d0", "Unknown", since=driver.say("d0", 7), late=EVENTUALLY)


@CASES.case(
    "large-report",
    "A report of just under 4 MiB is taken.",
    "CONTRACT §3",
    do="keep gRPC's receive limit, and read what is below it",
    stage=1,
)
async def large_report(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY) as (driver, pod):
        others = [driver.device(f"other-{number}", HEALTHY, b"x" * 1000) for number in range(_ROOM // 1050)]
        raw = write_report([*others, driver.device("d0", UNHEALTHY, b"broken")])
        found = await pod.due(driver, "d0", "Unhealthy", since=driver.send(raw), late=EVENTUALLY)
    return Finding(found.outcome, f"{len(raw)} bytes, {found.seen}", ms=found.ms)


@CASES.case(
    "oversized-report",
    "A report of more than 4 MiB costs its stream, and nothing else: the driver's next one is shown, and other drivers' meanwhile.",
    "CONTRACT §3",
    do="refuse it by its length, and watch the driver again",
    stage=1,
)
async def oversized(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY, kind=Apart) as (loud, first), stage.showing(HEALTHY) as (quiet, second):
        loud.send(write_report([loud.device(f"other-{number}", HEALTHY, b"x" * 1000) for number in range(_TOO_MUCH // 1000)]))
        await second.breaks(quiet)
        await asyncio.sleep(1.0)  # an interval in which it is read
        found = await first.breaks(loud, late=_WATCHED_AGAIN)
    return Finding(found.outcome, f"after a report of {_TOO_MUCH >> 20} MiB, {found.seen}", ms=found.ms)


@CASES.case(
    "flood",
    "Of 1,000 reports a second the last is shown in time, and another driver's change during them.",
    "CONTRACT §5",
    do="drop to the newest state; give each driver its own share of the node side's time",
    stage=1,
)
async def flood(stage: Stage) -> Finding:
    async with stage.showing(HEALTHY) as (loud, first), stage.showing(HEALTHY) as (quiet, second):
        flooding = asyncio.create_task(_flood(loud.send, loud.device("d0", HEALTHY)), name="conformance: flood")
        await asyncio.sleep(_SECONDS / 2)
        await second.breaks(quiet)
        await flooding
        return await first.breaks(loud)


async def _flood(send: Callable[[bytes], float], device: RawDevice) -> None:
    """Healthy and Unknown in turn."""
    end, number = time.monotonic() + _SECONDS, 0
    while time.monotonic() < end:
        for _ in range(_RATE // 100):
            number += 1
            send(write_report([device._replace(health=number % 2)]))
        await asyncio.sleep(0.01)
