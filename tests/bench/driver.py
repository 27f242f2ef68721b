"""The driver process of the bench: reports what it is told on standard input, and says when.

    python -m tests.bench.driver NAME KUBELET_DIR DEVICES PER_CLAIM NODE

A line in is `{"d3": ["Unhealthy", "n=17"], …}`; the line out is the CLOCK_MONOTONIC second just before the report was handed to the wire.
Claim `bench-<i>` holds the devices PER_CLAIM*i … of them. All devices are reported again each third of the lease, as drivers do.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from podvitals.device.health import Health
from podvitals.wire.messages import ClaimRef, DeviceReport, PreparedDevice
from tests.cluster.scripted import ScriptedDriver

LEASE = 30.0


def devices_of_claim(name: str, per_claim: int) -> list[str]:
    first = int(name.rpartition("-")[2]) * per_claim
    return [f"d{number}" for number in range(first, first + per_claim)]


async def serve(name: str, kubelet_dir: Path, count: int, per_claim: int, node: str) -> None:
    state = {f"d{number}": (Health.HEALTHY, "") for number in range(count)}

    async def allocation(claim: ClaimRef) -> Sequence[PreparedDevice]:
        return [PreparedDevice(("device",), node, device, ()) for device in devices_of_claim(claim.name, per_claim)]

    def reports(names: Sequence[str]) -> list[DeviceReport]:
        return [DeviceReport(node, device, state[device][0], time.time(), LEASE, state[device][1]) for device in names]

    async with ScriptedDriver(name, kubelet_dir, allocation) as driver:
        driver.say_all(reports(list(state)))
        lines = asyncio.StreamReader(limit=1 << 22)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        await driver.registered.wait()
        print("registered", flush=True)
        while True:
            try:
                async with asyncio.timeout(LEASE / 3):
                    line = await lines.readline()
            except TimeoutError:
                driver.say_all(reports(list(state)))
                continue
            if not line:
                return
            change = {device: (Health(health), message) for device, (health, message) in json.loads(line).items()}
            state |= change
            now = time.monotonic()
            driver.say_all(reports(list(change)))
            print(now, flush=True)


if __name__ == "__main__":
    name, kubelet_dir, count, per_claim, node = sys.argv[1:]
    asyncio.run(serve(name, Path(kubelet_dir), int(count), int(per_claim), node))
