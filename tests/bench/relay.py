"""What the relay costs and how soon it tells: prepare beside the direct call, changes, ends of leases, its own restart, its memory.

    python -m tests.bench.relay DIRECTORY DEVICES     the driver behind it: a line in is a report's message, or a lease in seconds

No kubelet takes part: a client of ours is the kubelet's side, so that the figures are the relay's. In a real kubelet's field they are seen
in `make test-cluster` (tests/cluster/test_relay.py).
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from podvitals.device.health import Health
from podvitals.relay.herald import RATE
from podvitals.relay.keeping import LOOK_EVERY
from podvitals.testing.driver import FakeDriver
from podvitals.testing.kubelet import FakeKubelet
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import DRA_V1, ClaimRef, DeviceReport, PrepareResult
from tests.bench.stats import Estimate, median, over_floor, percentile
from tests.bench.table import Row

NAME = "bench.example.com"
AT_ONCE = 110
"""Prepares under way: the pods of a full node."""
BURST, STEADY = 50, 250
"""Milliseconds each takes in the driver: where all begin in one moment, and where they come and go."""
SUBJECT = "relay"


class Node:
    """A relay process with a driver process behind it, and a kubelet of ours before it."""

    def __init__(self, root: Path, devices: int) -> None:
        self.root, self.devices = root, devices
        for part in ("d", "k"):
            (root / part / "plugins_registry").mkdir(parents=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        self.driver = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.relay", str(self.root / "d"), str(self.devices), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await self.start()
        try:
            async with FakeKubelet(self.root / "k") as self.kubelet:
                info = await self.kubelet.registered(NAME, timeout=30)
                direct = self.root / "d" / "plugins" / NAME / "dra.sock"
                async with PluginClient(direct) as self.direct, PluginClient(info.endpoint) as self.relayed:
                    yield self
        finally:
            for process in (self.relay, self.driver):
                if process.returncode is None:
                    process.send_signal(signal.SIGKILL)
                await process.wait()

    async def start(self) -> None:
        where = ["--plugin-dir", str(self.root / "d" / "plugins_registry"), "--kubelet-dir", str(self.root / "k" / "plugins_registry")]
        flags = [*where, "--run-dir", str(self.root / "r"), "--log-level", "error"]
        self.relay = await asyncio.create_subprocess_exec(sys.executable, "-m", "podvitals", "relay", *flags)

    async def tell(self, line: str) -> float:
        """The CLOCK_MONOTONIC second just before the driver said it."""
        assert self.driver.stdin is not None
        assert self.driver.stdout is not None
        self.driver.stdin.write(f"{line}\n".encode())
        return float(await self.driver.stdout.readline())

    def processor(self) -> float:
        """Seconds of processor the relay has had."""
        return int(Path(f"/proc/{self.relay.pid}/schedstat").read_text().split()[0]) / 1e9

    async def kept(self) -> None:
        """Returns when a stand-in is registered, and a keeper has had the time to hear of it."""
        async with asyncio.timeout(30):
            while not self.kubelet.registrations:
                await asyncio.sleep(0.05)
        await asyncio.sleep(2 * LOOK_EVERY)

    def memory(self) -> float:
        """MB."""
        status = Path(f"/proc/{self.relay.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def measure(pairs: int, ends: int, starts: int, devices: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        async with Node(Path(directory), devices=8).running() as node:
            rows = [*await _prepares(node, pairs), await _changes(node, pairs), await _leases(node, ends)]
            small = node.memory()
            rows.append(await _restarts(node, starts))
            rows.append(await _gaps(node, starts))
    with tempfile.TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        async with Node(Path(directory), devices=devices).running() as node:
            await node.kubelet.sees(f"gpu-{devices - 1}", Health.HEALTHY, timeout=30)
            large = node.memory()
    rows.append(Row(SUBJECT, "memory, 8 devices, after all of the above", 1, "MB", _one(small), goal="≤ 35 MB", met=small <= 35))
    rows.append(Row(SUBJECT, f"memory, {devices:,} devices", 1, "MB", _one(large)))
    return rows


async def _prepares(node: Node, pairs: int) -> list[Row]:
    rounds = max(3, pairs // 20)
    lone = [(await _one_prepare(node.relayed, 0), await _one_prepare(node.direct, 0)) for _ in range(pairs)]
    steady = await _alternately(node, rounds, _steady)
    used = node.processor()
    burst = await _alternately(node, rounds, _burst)
    each = 1e6 * (node.processor() - used) / len(burst)
    return [
        _beside("prepare, one at a time", lone, 1.0),
        _beside(f"prepare, {AT_ONCE} under way, {STEADY} ms each in the driver", steady, 1.0),
        _beside(f"prepare, {AT_ONCE} begun at once, {BURST} ms each in the driver", burst, 1.0),
        Row(SUBJECT, "processor the relay takes for one of those", len(burst), "µs", _one(each)),
    ]


async def _one_prepare(client: PluginClient, takes: int) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    await client.prepare(DRA_V1, [ClaimRef("ml", f"uid-{takes}-{number}", f"takes-{takes}-{number}") for number in range(4)])
    return 1000 * (time.perf_counter() - began)


async def _alternately(node: Node, rounds: int, once: Callable[[PluginClient], Awaitable[list[float]]]) -> list[tuple[float, float]]:
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        relayed, direct = await once(node.relayed), await once(node.direct)
        pairs += zip(sorted(relayed), sorted(direct), strict=True)
    return pairs


async def _burst(client: PluginClient) -> list[float]:
    return await asyncio.gather(*(_one_prepare(client, BURST) for _ in range(AT_ONCE)))


async def _steady(client: PluginClient) -> list[float]:
    """Each pod's prepare is followed by another; they begin spread over the time that one takes."""

    async def pod(number: int) -> list[float]:
        await asyncio.sleep(number * STEADY / AT_ONCE / 1000)
        return [await _one_prepare(client, STEADY) for _ in range(3)]

    took = await asyncio.gather(*map(pod, range(AT_ONCE)))
    return [one for pod in took for one in pod]


def _beside(what: str, pairs: Sequence[tuple[float, float]], limit: float) -> Row:
    over = over_floor(pairs)
    relayed, direct = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Row(
        SUBJECT, what, len(pairs), "ms", median(relayed), p99=percentile(relayed, 0.99), floor=median(direct), over=over, over_unit="ms",
        goal=f"≤ +{limit:g} ms, p99 ≤ +5 ms (direct: {percentile(direct, 0.99):.1f} ms)",
        met=over.value <= limit and percentile(relayed, 0.99) - percentile(direct, 0.99) <= 5.0,
    )  # fmt: skip


async def _changes(node: Node, pairs: int) -> Row:
    took = []
    for number in range(min(pairs, 60)):
        await asyncio.sleep(1.5 / RATE)  # more often a watcher is told of none at once
        said = await node.tell(f"n={number}")
        await node.kubelet.sees("gpu-0", Health.UNHEALTHY, message=f"n={number}")
        took.append(1000 * (time.monotonic() - said))
    middle = median(took)
    return Row(SUBJECT, "change → watcher", len(took), "ms", middle, p99=percentile(took, 0.99), goal="≤ 2 ms", met=middle.value <= 2.0)


async def _leases(node: Node, ends: int) -> Row:
    late = []
    for _ in range(ends):
        said = await node.tell("lease 1")
        await node.kubelet.sees("gpu-0", Health.HEALTHY)
        await node.kubelet.sees("gpu-0", Health.UNKNOWN)
        late.append(1000 * (time.monotonic() - said - 1.0))
    middle = median(late)
    return Row(
        SUBJECT, "lease end → watcher", len(late), "ms", middle, p99=percentile(late, 0.99), goal="≤ 20 ms", met=middle.value <= 20.0
    )


async def _restarts(node: Node, starts: int) -> Row:
    took = []
    for number in range(starts):
        await node.tell(f"before restart {number}")
        await node.kubelet.sees("gpu-0", Health.UNHEALTHY, message=f"before restart {number}")
        node.relay.send_signal(signal.SIGKILL)
        await node.relay.wait()
        await node.tell(f"after restart {number}")
        began = time.monotonic()
        await node.start()
        await node.kubelet.sees("gpu-0", Health.UNHEALTHY, message=f"after restart {number}", timeout=30)
        took.append(1000 * (time.monotonic() - began))
    return Row(SUBJECT, "relay killed and started → watcher has it all again", len(took), "ms", median(took))


async def _gaps(node: Node, starts: int) -> Row:
    """With a keeper."""
    keeper = await asyncio.create_subprocess_exec(sys.executable, "-m", "podvitals", "relay", "keep", "--run-dir", str(node.root / "r"))
    took = []
    try:
        for _ in range(starts):
            await node.kept()
            async with PluginClient((await node.kubelet.registered(NAME)).endpoint, connect_timeout=30) as client:
                await client.prepare(DRA_V1, [])
                node.relay.send_signal(signal.SIGKILL)
                await node.relay.wait()
                began = time.monotonic()
                call = asyncio.create_task(client.prepare(DRA_V1, []))
                await node.start()
                await call
                took.append(1000 * (time.monotonic() - began))
    finally:
        keeper.kill()
        await keeper.wait()
    return Row(SUBJECT, "relay killed, with a keeper: a prepare begun then is answered", len(took), "ms", median(took))


def _one(value: float) -> Estimate:
    return Estimate(value, value, value)


class _Driver(FakeDriver):
    async def prepare(self, claims: Sequence[ClaimRef]) -> dict[str, PrepareResult]:
        if claims and (takes := claims[0].name.split("-")[1:2]):
            await asyncio.sleep(int(takes[0]) / 1000)
        return dict(await super().prepare(claims))


async def _drive(directory: Path, devices: int) -> None:
    names = [f"gpu-{number}" for number in range(devices)]
    async with _Driver(directory, NAME) as driver:
        driver.report([DeviceReport("n", name, Health.HEALTHY, 1000.0, 3600.0) for name in names])
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := (await lines.readline()).decode().strip():
            word, _, number = line.partition(" ")
            lease, message = (float(number), "") if word == "lease" else (3600.0, line)
            health = Health.HEALTHY if word == "lease" else Health.UNHEALTHY
            print(time.monotonic(), flush=True)
            driver.report([DeviceReport("n", names[0], health, time.time(), lease, message)])


if __name__ == "__main__":
    asyncio.run(_drive(Path(sys.argv[1]), int(sys.argv[2])))
