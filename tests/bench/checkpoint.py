"""How long the checkpoint takes to be written, and to be read at a start."""

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from podvitals.device.health import Health
from podvitals.node.checkpoint import Checkpoint
from podvitals.node.ledger import Ledger
from podvitals.node.record import SourceKey
from podvitals.wire.messages import DeviceReport
from tests.bench.stats import median, percentile
from tests.bench.table import Row

DEVICES = 4096
SOURCE = SourceKey("bench.example.com")


async def measure(times: int, devices: int = DEVICES) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="pv-bench-") as directory:
        path = Path(directory) / "node.sqlite"
        ledger = Ledger()
        ledger.report(SOURCE, 1, [_report(number, Health.HEALTHY, "") for number in range(devices)], 1.0, 1000.0)
        kept = Checkpoint(path, "boot")
        await kept.load(1.0, 1000.0)
        whole = [await _timed(lambda: kept.save(ledger.everything(), 1.0, 1000.0, whole=True)) for _ in range(times)]
        ledger.drain()
        one = [await _changed(kept, ledger, number, 1) for number in range(times)]
        all_of_them = [await _changed(kept, ledger, number, devices) for number in range(times)]
        again = [await _heard(kept, ledger, number, devices) for number in range(times)]
        await kept.close()
        read = [await _read(path) for _ in range(times)]
    steps = {
        f"{devices:,} devices, written whole": whole,
        f"one verdict of {devices:,} changed": one,
        f"all {devices:,} verdicts changed": all_of_them,
        f"all {devices:,} heard again": again,
        f"{devices:,} devices, read at a start": read,
    }
    return [Row("checkpoint", what, len(values), "ms", median(values), p99=percentile(values, 0.99)) for what, values in steps.items()]


async def _changed(kept: Checkpoint, ledger: Ledger, number: int, devices: int) -> float:
    at = 10.0 + number
    ledger.report(SOURCE, 1, [_report(each, Health.UNHEALTHY, f"n={number} {at}") for each in range(devices)], at, 1000.0 + at)
    rows = ledger.drain()
    return await _timed(lambda: kept.save(rows, at, 1000.0 + at))


async def _heard(kept: Checkpoint, ledger: Ledger, number: int, devices: int) -> float:
    """The same verdicts again: only when they were heard of is new."""
    at = 1000.0 + number
    said = [_report(each, Health.HEALTHY, "") for each in range(devices)]
    ledger.report(SOURCE, 1, said, at, 1000.0 + at)
    if number == 0:
        await kept.save(ledger.drain(), at, 1000.0 + at)
        ledger.report(SOURCE, 1, said, at + 0.5, 1000.5 + at)
    rows = ledger.drain()
    return await _timed(lambda: kept.save(rows, at, 1000.0 + at))


async def _read(path: Path) -> float:
    checkpoint = Checkpoint(path, "boot")
    took = await _timed(lambda: checkpoint.load(3000.0, 4000.0))
    await checkpoint.close()
    return took


async def _timed(what: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await what()
    return (time.monotonic() - began) * 1000


def _report(number: int, health: Health, message: str) -> DeviceReport:
    return DeviceReport("node1", f"d{number}", health, 900.0, 30.0, message)
