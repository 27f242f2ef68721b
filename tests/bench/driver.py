"""The driver process of the bench: reports what it is told on standard input, and says when.

    python -m tests.bench.driver NAME KUBELET_DIR DEVICES PER_CLAIM NODE [--alone]

A line in is one of
    {"say": {"d3": ["Unhealthy", "n=17"], …}, "lease": 30}    out: the CLOCK_MONOTONIC second just before the report was handed to the wire
    {"flood": "identical", "rate": 10, "reports": 100}        whole reports; out: how many were sent
Floods are "identical" (the same bytes), "times" (other times of checking) or "one" (other times, and one device's message too).
Claim `bench-<i>` holds the devices PER_CLAIM*i … of them. All devices are reported again each third of the lease, as drivers do, but for
those last said with another lease: they are to go silent. With `--alone` there is no kubelet that registers anybody.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from podvitals.device.health import Health
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import ClaimRef, DeviceReport, PreparedDevice
from tests.cluster.scripted import ScriptedDriver

LEASE = 30.0


def devices_of_claim(name: str, per_claim: int) -> list[str]:
    first = int(name.rpartition("-")[2]) * per_claim
    return [f"d{number}" for number in range(first, first + per_claim)]


class BenchDriver(ScriptedDriver):
    """Beside what a scripted driver says, whole reports as bytes, the newest of which every watcher is sent."""

    whole = b""
    floods = 0

    def send(self, raw: bytes) -> None:
        self.whole = raw
        self.floods += 1
        self._changes.tell()

    async def watch(self) -> AsyncIterator[bytes]:
        self.watchers += 1
        self._changes.tell()
        told, flooded = 0, self.floods
        try:
            while True:
                await self._changes.until_changed(lambda last=told, sent=flooded: self._last > last or self.floods > sent)  # type: ignore[misc]
                if self.floods > flooded:
                    flooded = self.floods
                    yield self.whole
                    continue
                news = [self._devices[device] for device, said in self._said.items() if said > told]
                told = self._last
                for raw in encode_report(news):
                    yield raw
        finally:
            self.watchers -= 1
            self._changes.tell()


class Script:
    def __init__(self, name: str, kubelet_dir: Path, count: int, per_claim: int, node: str) -> None:
        self._node, self._per_claim = node, per_claim
        self._state: dict[str, tuple[Health, str, float]] = {f"d{number}": (Health.HEALTHY, "", LEASE) for number in range(count)}
        self.driver = BenchDriver(name, kubelet_dir, self._allocation)

    async def _allocation(self, claim: ClaimRef) -> Sequence[PreparedDevice]:
        devices = devices_of_claim(claim.name, self._per_claim)
        return [PreparedDevice(("device",), self._node, device, ()) for device in devices]

    def everything(self, checked: float | None = None) -> list[DeviceReport]:
        """But for those that are to go silent."""
        when = time.time() if checked is None else checked
        return [
            DeviceReport(self._node, device, health, when, lease, message)
            for device, (health, message, lease) in self._state.items()
            if lease == LEASE
        ]

    def say(self, said: dict[str, Any]) -> float:
        lease = float(said.get("lease", LEASE))
        changed = {device: (Health(health), message, lease) for device, (health, message) in said["say"].items()}
        self._state |= changed
        checked = time.time()
        reports = [DeviceReport(self._node, device, health, checked, lease, message) for device, (health, message, _) in changed.items()]
        now = time.monotonic()
        self.driver.say_all(reports)
        return now

    async def flood(self, said: dict[str, Any]) -> int:
        kind, rate, reports = said["flood"], float(said["rate"]), int(said["reports"])
        checked = time.time() - reports - 1.0
        (same,) = encode_report(self.everything(checked))
        began = time.monotonic()
        for number in range(reports):
            if kind == "one":
                self._state["d0"] = (Health.HEALTHY, f"n={number}", LEASE)
            # Times are whole seconds on the wire: each report has one of its own, and none lies ahead.
            raw = same if kind == "identical" else encode_report(self.everything(checked + number))[0]
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            self.driver.send(raw)
        await asyncio.sleep(1 / rate)
        return reports


async def serve(name: str, kubelet_dir: Path, count: int, per_claim: int, node: str, alone: bool) -> None:
    script = Script(name, kubelet_dir, count, per_claim, node)
    async with script.driver as driver:
        driver.say_all(script.everything())
        lines = asyncio.StreamReader(limit=1 << 22)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        if not alone:
            await driver.registered.wait()
        print("registered", flush=True)
        while True:
            try:
                async with asyncio.timeout(LEASE / 3):
                    line = await lines.readline()
            except TimeoutError:
                driver.say_all(script.everything())
                continue
            if not line:
                return
            said = json.loads(line)
            print(await script.flood(said) if "flood" in said else script.say(said), flush=True)


if __name__ == "__main__":
    alone = sys.argv[-1] == "--alone"
    name, kubelet_dir, count, per_claim, node = sys.argv[1:6]
    asyncio.run(serve(name, Path(kubelet_dir), int(count), int(per_claim), node, alone))
