"""The health stream (CONTRACT §3): who is told what, and when."""

import asyncio
from pathlib import Path

from podvitals.testing.conformance.case import Cases, Failed, Finding, NotApplicable, Skipped, Warned, passed
from podvitals.testing.conformance.driver.listening import listening
from podvitals.testing.conformance.driver.observation import LONGEST_WAIT, Gap, Key, gaps
from podvitals.testing.conformance.driver.subject import DriverSubject
from podvitals.testing.conformance.frames import greeting, request
from podvitals.testing.conformance.line import stranger
from podvitals.testing.conformance.rawreport import RawDevice
from podvitals.wire.services import watch_method

CASES: Cases[DriverSubject] = Cases()

SOON = 2.0
"""Seconds within which a first report is expected."""


@CASES.case(
    "health-served",
    "A health service that is listed is served.",
    "CONTRACT §3",
    do="serve NodeWatchResources under each health service listed, or do not list it",
)
async def health_served(driver: DriverSubject) -> str:
    versions = (await driver.info()).health
    ended = {}
    async with driver.calling() as line:
        for version in versions:
            async with listening(line, version) as listener:
                await listener.heard(min(LONGEST_WAIT, driver.timeout))
            if listener.watcher.nothing and listener.watcher.ended:
                ended[version] = listener.watcher
    if len(ended) == len(versions) and all(watcher.unimplemented for watcher in ended.values()):
        raise NotApplicable("the driver has no health: it lists no service, or answers UNIMPLEMENTED")
    for version, watcher in ended.items():
        raise Failed(f"{version} is listed, and its stream ended with {watcher.ended}")
    return ", ".join(versions)


@CASES.case(
    "first-report",
    "A new stream is told the state at once.",
    "CONTRACT §3",
    do="send the whole state when a stream opens: until then the kubelet shows Unknown",
)
async def first_report(driver: DriverSubject) -> Finding:
    first = (await driver.observed()).first
    if first.nothing:
        raise Failed(first.ended or f"nothing came within {min(LONGEST_WAIT, driver.timeout):g} s")
    after = first.heard[0].at - first.opened
    if not first.devices():
        raise Warned("the first report names no device", "nothing, if there is none on this node", ms=after * 1000)
    if after > SOON:
        raise Warned(f"after {after:.1f} s", ms=after * 1000)
    return passed(f"{len(first.devices())} devices", after * 1000)


@CASES.case(
    "whole-state",
    "The whole state is sent on every new stream, not only what changes later.",
    "CONTRACT §3",
    do="send every device to each watcher that comes: a restarted kubelet knows nothing but what it is told",
)
async def whole_state(driver: DriverSubject) -> str:
    seen = await driver.observation()
    before = {key for at, report in seen.first.reports if at <= seen.late.opened for key in _keys(report)}
    if missing := sorted(before - set(seen.late.devices())):
        raise Failed(f"a stream opened later was not told of {len(missing)} of {len(before)} devices, such as {_shown(missing[0])}")
    return f"{len(before)} devices"


@CASES.case(
    "heartbeat",
    "The driver re-sends within the smallest timeout.",
    "CONTRACT §3",
    do="report each device again well within its health_check_timeout_seconds (a third of it), as long as it is really read",
)
async def heartbeat(driver: DriverSubject) -> Finding:
    seen = await driver.observation()
    found = gaps(seen.first, seen.first.heard[0].at + seen.lasted)
    judged = [gap for gap in found if gap.late or gap.lease <= seen.lasted]
    if not judged:
        lease = min((gap.lease for gap in found), default=0.0)
        raise Skipped(f"the smallest lease is {lease:g} s and would take as long to wait for: --timeout allows it")
    late: list[Gap] = [gap for gap in judged if gap.late]
    if late:
        gap = late[0]
        raise Failed(
            f"{gap.device.name} was silent for {gap.silent:.1f} s of a lease of {gap.lease:g} s"
            + (f"; so were {len(late) - 1} more" if len(late) > 1 else "")
        )
    worst = max(judged, key=lambda gap: gap.silent / gap.lease)
    return passed(f"at the latest after {worst.silent:.1f} s of a lease of {worst.lease:g} s", worst.silent * 1000)


@CASES.case(
    "heartbeat-is-read",
    "A wedged monitor must decay to Unknown, so nothing may re-send on its behalf.",
    "CONTRACT §3",
    do="let last_updated_time be when the device was read, and re-send only what was read since",
)
async def heartbeat_is_read(driver: DriverSubject) -> str:
    seen = await driver.observation()
    times: dict[Key, list[int]] = {}
    for _, report in seen.first.reports:
        for device in report:
            times.setdefault((device.pool, device.device), []).append(device.checked_at)
    again = {key: told for key, told in times.items() if len(told) > 1}
    if not again:
        raise Skipped("no device was reported twice in the time it was watched")
    if back := [key for key, told in again.items() if told != sorted(told)]:
        raise Failed(f"last_updated_time of {_shown(back[0])} goes back")
    stuck = [key for key, told in again.items() if told[0] == told[-1]]
    if stuck and seen.lasted > 3.0:
        raise Warned(f"{len(stuck)} devices were reported again with the time of the first report, such as {_shown(stuck[0])}")
    return f"last_updated_time of {len(again) - len(stuck)} of {len(again)} devices moved on"


@CASES.case(
    "watchers-agree",
    "Several watchers at once are told the same, in every health version.",
    "CONTRACT §3",
    do="keep the state apart from the streams, and a place of its own for each stream",
)
async def watchers_agree(driver: DriverSubject) -> str:
    seen = await driver.observation()
    wanted = seen.first.state()
    for which, watcher in (("the second", seen.second), ("the other version's", seen.other), ("the late", seen.late)):
        if watcher is None:
            continue
        if watcher.nothing:
            raise Failed(f"{which} watcher was told nothing ({watcher.ended or 'it waits'}); the first {len(wanted)} devices")
        if differing := sorted(key for key in wanted | watcher.state() if wanted.get(key) != watcher.state().get(key)):
            raise Failed(f"{which} watcher and the first differ in {len(differing)} devices, such as {_shown(differing[0])}")
    return f"{len(seen.watchers)} watchers, {len(wanted)} devices"


@CASES.case(
    "watchers-independent",
    "Each watcher is served for itself: one that ends does not end another.",
    "CONTRACT §3",
    do="end a stream's own work when it ends, and nothing else",
)
async def watchers_independent(driver: DriverSubject) -> str:
    version = await driver.health_version()
    async with driver.calling() as stays, driver.calling() as goes, listening(stays, version) as listener:
        kept = listener.watcher
        await listener.heard(min(LONGEST_WAIT, driver.timeout))
        for _ in range(3):
            async with listening(goes, version) as other:
                await other.heard(SOON)
        await goes.close()
        before = len(kept.heard)
        await asyncio.sleep(min(kept.smallest_lease() * 0.6 + 0.2, driver.timeout / 2, 5.0))
        if kept.ended:
            raise Failed(f"a stream ended with {kept.ended} when another was closed")
    return f"one stayed open while three went; {len(kept.heard) - before} reports since"


@CASES.case(
    "slow-watcher",
    "A watcher that reads nothing holds up no other.",
    "CONTRACT §3",
    do="never wait for one stream while others are to be told: drop to the newest state for who is slow",
)
async def slow_watcher(driver: DriverSubject) -> str:
    version = await driver.health_version()
    method = watch_method(version)
    loop = asyncio.get_running_loop()
    sockets = []
    try:
        for _ in range(2):
            sockets.append(deaf := stranger(Path(await driver.endpoint())))
            await loop.sock_sendall(deaf, greeting(window=0) + request(method))
        async with driver.calling() as line, listening(line, version) as listener:
            watcher = listener.watcher
            await listener.heard(min(LONGEST_WAIT, driver.timeout))
            first, lease = len(watcher.heard), watcher.smallest_lease()
            waits = min(lease * 1.05 + 0.2, driver.timeout / 2, 10.0)
            await asyncio.sleep(waits)
    finally:
        for each in sockets:
            each.close()
    if not first:
        raise Failed("beside two watchers that read nothing a third was told nothing")
    if lease < waits and len(watcher.heard) == first:
        alone = await driver.observation()
        if not any(gap.late for gap in gaps(alone.first, alone.first.heard[0].at + alone.lasted)):
            raise Failed(f"beside two watchers that read nothing a third heard nothing for {waits:.1f} s of a lease of {lease:g} s")
    return f"a third watcher heard {len(watcher.heard)} reports"


def _keys(report: tuple[RawDevice, ...]) -> set[Key]:
    return {(device.pool, device.device) for device in report}


def _shown(key: Key) -> str:
    return "/".join((part or b"").decode(errors="replace") for part in key)
