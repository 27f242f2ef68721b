"""A driver that restarts (CONTRACT §1, §2): what a kubelet must find again."""

import asyncio
import time

from podvitals.testing.conformance.case import Cases, Failed, Finding, NotApplicable, Skipped, Warned, passed
from podvitals.testing.conformance.driver.calls import prepare, unprepare
from podvitals.testing.conformance.driver.registration import dead_sockets
from podvitals.testing.conformance.driver.subject import DriverSubject, RawInfo
from podvitals.wire.messages import ClaimRef

CASES: Cases[DriverSubject] = Cases()

_AGAIN = 0.05


@CASES.case(
    "restart",
    "A driver that restarts registers under the same name, at a socket that kubelets find, and tells the same devices.",
    "CONTRACT §1",
    do="remove the old socket and make a new one: a kubelet registers what is new in its directory, and nothing else",
    stage=1,
)
async def restarted(driver: DriverSubject) -> Finding:
    before = await driver.info()
    known = await _told(driver)
    claims = await _prepared(driver)
    file = await _file(driver)
    began = time.monotonic()
    after = await _restart(driver)
    took = time.monotonic() - began
    if after.name != before.name:
        raise Failed(f"it was {before.name} and came back as {after.name}")
    if await _file(driver) == file:
        raise Failed("the registration socket is the same file as before: a kubelet does not register it again")
    again = DriverSubject(driver.socket, driver.timeout, driver.claims)
    if gone := sorted(known - await _told(again)):
        raise Failed(f"{len(gone)} of {len(known)} devices are not reported any more, such as {gone[0]}")
    await _unprepared(again, claims)
    if stale := await asyncio.to_thread(dead_sockets, driver.socket.parent, before.name):
        raise Warned(f"it left {', '.join(stale)}", "remove the sockets of former instances")
    return passed(f"{len(known)} devices" + (f", {len(claims)} claims" if claims else ""), took * 1000)


async def _file(driver: DriverSubject) -> tuple[int, int]:
    """What tells a new socket at the same path from the old one: a file system may give the inode again."""
    facts = await asyncio.to_thread(driver.socket.stat)
    return facts.st_ino, facts.st_mtime_ns


async def _told(driver: DriverSubject) -> set[str]:
    """The devices a watcher is told of; none for a driver without health."""
    try:
        return {device.name for device in (await driver.observation()).first.devices().values()}
    except NotApplicable:
        return set()


async def _prepared(driver: DriverSubject) -> tuple[ClaimRef, ...]:
    claims = tuple(driver.claims)
    if claims:
        async with driver.calling() as line:
            await prepare(driver, line, *claims)
    return claims


async def _unprepared(driver: DriverSubject, claims: tuple[ClaimRef, ...]) -> None:
    """Unprepare may meet another instance than prepare did."""
    if claims:
        async with driver.calling() as line:
            for uid, error in (await unprepare(driver, line, *claims)).items():
                if error:
                    raise Failed(f"claim {uid} was prepared before the restart and cannot be unprepared after it: {error}")


async def _restart(driver: DriverSubject) -> RawInfo:
    if not driver.restart:
        raise Skipped("how to restart the driver is not known: --restart-command says it")
    process = await asyncio.create_subprocess_shell(
        driver.restart, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(driver.timeout):
            _, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise Skipped(f"the restart command ended with {process.returncode}: {said.decode(errors='replace').strip()[-200:]}")
    deadline = time.monotonic() + driver.timeout
    while True:  # nothing tells when a driver is back but the driver
        try:
            return await driver.get_info()
        except Failed as failed:
            if time.monotonic() > deadline:
                raise Failed(f"not registered {driver.timeout:g} s after its restart: {failed.seen}") from None
        await asyncio.sleep(_AGAIN)
