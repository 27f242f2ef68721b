"""The driver suite: a driver that keeps the contract passes every case, and each case finds the twin that breaks its sentence."""

import asyncio
import sys
from pathlib import Path

import pytest

from podvitals import Driver
from podvitals.claim.meta import ObjectMeta
from podvitals.claim.resource import AllocationResult, DeviceAllocation, DeviceResult, ResourceClaim, ResourceClaimStatus
from podvitals.detect.spec import parse
from podvitals.testing import FakeKubelet
from podvitals.testing.conformance.case import Outcome, Result, chosen
from podvitals.testing.conformance.driver import CASES
from podvitals.testing.conformance.driver.subject import DriverSubject
from podvitals.testing.conformance.execute import execute
from tests.conformance.model import REAL, Model
from tests.conformance.twins import TWINS, LooksClaimsUp

NEEDS_A_LEASE = {"heartbeat", "slow-watcher", "watchers-independent"}
"""Cases that wait for the end of a lease, 1 s here."""
WARNED = {"dra-order", "socket-name", "stale-sockets", "message-printable", "message-timeless", "report-rate"}
"""Twins that only surprise."""


async def tried(socket: Path, *only: str, timeout: float = 5.0, restart: str = "") -> list[Result]:
    return await execute(chosen(CASES, only), DriverSubject(socket, timeout, [REAL], restart), limit=30)


def not_passed(results: list[Result]) -> dict[str, str]:
    return {result.name: f"{result.outcome}: {result.finding.seen}" for result in results if result.outcome is not Outcome.PASS}


async def test_a_driver_that_keeps_the_contract_passes_every_case(short: Path) -> None:
    async with Model(short) as driver:
        results = await tried(driver.registration_path)
    assert not_passed(results) == {"restart": "skip: how to restart the driver is not known: --restart-command says it"}


@pytest.mark.parametrize("listed", [2, 4])
async def test_a_driver_without_health_passes_what_is_left(short: Path, listed: int) -> None:
    """It lists no health service, or, as upstream's helper has it, lists them and answers UNIMPLEMENTED."""
    driver = Model(short)
    driver.versions = driver.versions[:listed]
    driver._unimplemented = True
    async with driver:
        results = await tried(driver.registration_path)
    assert {result.outcome for result in results} == {Outcome.PASS, Outcome.NOT_APPLICABLE, Outcome.SKIP}
    assert {result.name for result in results if result.outcome is Outcome.SKIP} == {"restart"}


async def test_a_call_that_fails_as_a_whole_for_an_unknown_claim_is_no_failure(short: Path) -> None:
    """Upstream's helper looks every claim up first, and fails the call where one is not found."""
    async with LooksClaimsUp(short) as driver:
        unknown, every = await tried(driver.registration_path, "unknown-claim", "every-claim-answered")
    assert (unknown.outcome, every.outcome) == (Outcome.WARN, Outcome.PASS)


async def test_of_a_driver_that_is_gone_one_case_says_so_and_the_others_are_skipped_without_asking_again(short: Path) -> None:
    driver = Model(short)
    await driver.start()
    await driver.crash()
    first, second, third, *others = await tried(driver.registration_path)
    assert first.outcome is Outcome.FAIL
    assert first.finding.seen.endswith("Connection refused")
    assert first.finding.do.startswith("start the driver: its socket is left from one that has gone")
    assert second.finding.seen.endswith("Connection refused")
    assert third.finding.seen == "GetInfo does not answer"
    assert {result.outcome for result in (second, third, *others)} == {Outcome.SKIP}


async def test_who_names_the_drivers_other_socket_is_told_which_one_is_wanted(short: Path) -> None:
    async with Model(short) as driver:
        (result,) = await tried(driver.endpoint, "get-info")
    assert result.outcome is Outcome.FAIL
    assert result.finding.do.startswith("name the registration socket (<driver>-reg.sock in plugins_registry)")


async def test_the_sdks_driver_passes_every_case(short: Path) -> None:
    await asyncio.to_thread((short / "sim").mkdir)
    for name, said in (("d0", "Healthy\n"), ("d1", "Unhealthy: fell off the bus\n")):
        await asyncio.to_thread((short / "sim" / name).write_text, said)
    toys = Driver("toy.example.com", parse(f"sim:{short}/sim,interval=0.3,lease=1"))
    given = DeviceResult(request="toy", driver="toy.example.com", pool="node-1", device="d0")
    allocation = AllocationResult(devices=DeviceAllocation(results=(given,)))
    claim = ResourceClaim(
        metadata=ObjectMeta(namespace=REAL.namespace, name=REAL.name, uid=REAL.uid), status=ResourceClaimStatus(allocation=allocation)
    )
    async with FakeKubelet(short) as kubelet, toys.serving(kubelet, claims=[claim]):
        results = await tried(short / "plugins_registry" / "toy.example.com-reg.sock")
    assert not_passed(results) == {"restart": "skip: how to restart the driver is not known: --restart-command says it"}


def test_every_case_has_a_twin_that_breaks_it() -> None:
    assert list(TWINS) == [case.name for case in CASES]


@pytest.mark.parametrize("name", TWINS)
async def test_a_driver_that_breaks_a_sentence_is_found_by_its_case(short: Path, name: str) -> None:
    async with TWINS[name](short) as driver:
        timeout = 2.0 if name in NEEDS_A_LEASE else 0.3
        (result,) = await tried(driver.registration_path, name, timeout=timeout, restart="true")
    assert result.outcome is (Outcome.WARN if name in WARNED else Outcome.FAIL), result.finding
    assert result.finding.seen
    assert result.finding.do


async def test_a_driver_that_restarts_is_found_again(short: Path) -> None:
    program = (
        "import asyncio, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.conformance.model import Model\n"
        "async def main():\n"
        "    async with Model(Path(sys.argv[1])):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    script = short / "driver.py"
    await asyncio.to_thread(script.write_text, program)
    start = f"PYTHONPATH={':'.join(sys.path)} {sys.executable} {script} {short} >{short}/out 2>&1 & echo $! >{short}/pid"
    first = await asyncio.create_subprocess_shell(start)
    await first.wait()
    socket = short / "plugins_registry" / "toy.example.com-reg.sock"
    try:
        async with asyncio.timeout(10):
            while not await asyncio.to_thread(socket.exists):
                await asyncio.sleep(0.05)
        (result,) = await tried(socket, "restart", timeout=2.0, restart=f"kill -9 $(cat {short}/pid); {start}")
        assert result.outcome is Outcome.PASS, result.finding
        assert result.finding.seen == "2 devices, 1 claims"
    finally:
        last = await asyncio.create_subprocess_shell(f"kill -9 $(cat {short}/pid)")
        await last.wait()
