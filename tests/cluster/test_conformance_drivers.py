"""`podvitals conformance driver` on drivers of others: built with upstream's helper, in Go."""

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from podvitals.testing.conformance.case import Outcome, Result
from podvitals.testing.conformance.driver import CASES
from podvitals.testing.conformance.driver.subject import DriverSubject
from podvitals.testing.conformance.execute import execute
from tests.cluster import upstream
from tests.roots import requires

pytestmark = requires("Go 1.26 or newer", shutil.which("go") is not None)
NAME = "go.example.com"


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pv", dir="/tmp") as made:
        yield Path(made)


async def tried(directory: Path, health: str) -> list[Result]:
    binary = await asyncio.to_thread(upstream.driver)
    process = await asyncio.create_subprocess_exec(
        str(binary), "--dir", str(directory), "--name", NAME, "--health", health, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            assert await process.stdout.readline() == b"up\n"
        subject = DriverSubject(directory / "plugins_registry" / f"{NAME}-reg.sock", timeout=10.0)
        return await execute(CASES, subject, limit=60)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


def named(results: list[Result], outcome: Outcome) -> set[str]:
    return {result.name for result in results if result.outcome is outcome}


async def test_a_driver_of_upstreams_helper_fails_no_case(directory: Path) -> None:
    results = await tried(directory, "kept")
    assert {result.name: result.finding.seen for result in results if result.outcome is Outcome.FAIL} == {}
    assert named(results, Outcome.WARN) == {"unknown-claim"}, "the helper fails the whole call"
    assert named(results, Outcome.SKIP) == {"prepare-real", "prepare-again", "restart"}


async def test_one_without_health_fails_no_case(directory: Path) -> None:
    """The helper lists health all the same, and answers UNIMPLEMENTED."""
    results = await tried(directory, "none")
    assert named(results, Outcome.FAIL) == set()
    assert {"health-served", "first-report", "heartbeat"} <= named(results, Outcome.NOT_APPLICABLE)


async def test_one_that_reports_only_on_change_fails_the_heartbeat_and_nothing_else(directory: Path) -> None:
    results = await tried(directory, "once")
    assert named(results, Outcome.FAIL) == {"heartbeat"}
