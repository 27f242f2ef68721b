"""The relay in a real kubelet's own field: prepare as the kubelet measures it, changes, ends of leases, its restart, its memory."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp

from podvitals.device.health import Health
from tests.bench.latency import Latency
from tests.bench.lease import Leases
from tests.bench.plan import Sizes
from tests.bench.stage import DRIVER, Stage
from tests.bench.stats import Estimate, median, over_floor, percentile
from tests.bench.subject import PODVITALS, Subject, rss, until
from tests.bench.table import Row

PODS = 10
"""They take turns."""
WITHIN = 60.0
"""Seconds within which the field must be right again after a restart of the relay."""
BEHIND = "behind the relay"


class Relay:
    """A relay before the kubelet of a subject. `subject`: the same, for drivers that register with the relay."""

    def __init__(self, subject: Subject) -> None:
        directory = subject.kubeconfig.with_name("bench-relay")
        (directory / "plugins_registry").mkdir(parents=True)
        self.subject = replace(subject, kubelet_dir=directory)
        where = ["--plugin-dir", str(directory / "plugins_registry"), "--kubelet-dir", str(subject.kubelet_dir / "plugins_registry")]
        self._command = [*PODVITALS, "relay", *where, "--run-dir", str(directory / "run")]
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.subject.log("relay").open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=log, env=self.subject.environment)

    async def kill(self) -> None:
        if self._running is not None:
            self._running.kill()
            await self._running.wait()

    @property
    def memory(self) -> float:
        """MB."""
        assert self._running is not None
        return rss(self._running.pid)


@asynccontextmanager
async def _relay(subject: Subject) -> AsyncIterator[Relay]:
    relay = await asyncio.to_thread(Relay, subject)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.kill()


async def measure(subject: Subject, sizes: Sizes) -> list[Row]:
    """Without an agent: nobody but the relay makes the kubelet look."""
    pods = min(PODS, sizes.pods)
    async with Stage.open(subject, pods=pods, twins=pods, devices=pods + sizes.points) as stage:
        direct = await _prepare(stage, pods, sizes.points)
        alone = await _changes(stage, sizes.pairs, pods)
    async with _relay(subject) as relay, Stage.open(relay.subject, pods=pods, twins=pods, devices=pods + sizes.points) as stage:
        prepare = _prepare_row(subject, sizes.points, await _prepare(stage, pods, sizes.points), direct)
        behind = await _changes(stage, sizes.pairs, pods)
        late = await Leases(stage, ["field"], Latency(stage, ["field"])).one(sizes.ends, pods)
        restarts = await _restarts(stage, relay, sizes.starts)
        memory = relay.memory
    found = median(restarts)
    return [
        prepare,
        _change_row(subject, behind, alone),
        _lease_row(subject, late.places["field"]),
        Row(subject.name, "relay killed and started → field", len(restarts), "ms", found, p99=percentile(restarts, 0.99)),
        Row(subject.name, "relay's memory, after all of that", 1, "MB", _one(memory), goal="≤ 35 MB", met=memory <= 35),
    ]


async def _prepare(stage: Stage, first: int, count: int) -> float:
    """Milliseconds that a prepare took the kubelet in the mean, pods starting one after the other."""
    before = await _counted(stage.subject)
    for number in range(first, first + count):
        await stage.begin(f"bench-{number}")
        await stage.until_running([f"bench-{number}"], within=WITHIN)
    after = await _counted(stage.subject)
    return 1000 * (after[0] - before[0]) / (after[1] - before[1])


async def _changes(stage: Stage, pairs: int, pods: int) -> list[float]:
    latency = Latency(stage, ["field"])
    await latency.prepare()
    return (await latency.lone(pairs, pods)).places["field"]


async def _restarts(stage: Stage, relay: Relay, starts: int) -> list[float]:
    """Milliseconds from the start of a new relay until the field shows what changed while none was there."""
    took = []
    for number in range(2_000_000, 2_000_000 + starts):  # later than any other of this stage
        await relay.kill()
        seen = stage.recorder.seen("bench-0", "field", number)
        await stage.devices.change({"d0": (Health.UNHEALTHY, f"n={number} while no relay was there")})
        began = asyncio.get_running_loop().time()
        await relay.start()
        took.append(1000 * (await until(seen, WITHIN) - began))
    return took


def _prepare_row(subject: Subject, pods: int, relayed: float, direct: float) -> Row:
    """The kubelet's own measure of its calls; it keeps sums and buckets, so the mean is all that is exact."""
    over = Estimate(relayed - direct, relayed - direct, relayed - direct)
    return Row(
        subject.name, f"prepare in the kubelet's own measure, one at a time, mean, {BEHIND}", pods, "ms", _one(relayed), floor=_one(direct),
        over=over, over_unit="ms", goal="≤ +1 ms", met=over.value <= 1.0,
    )  # fmt: skip


def _change_row(subject: Subject, behind: list[float], alone: list[float]) -> Row:
    over = over_floor(list(zip(behind, alone, strict=True)))
    return Row(
        subject.name, f"a lone change → field, {BEHIND}", len(behind), "ms", median(behind), p99=percentile(behind, 0.99),
        floor=median(alone), over=over, over_unit="ms", goal="≤ +2 ms", met=over.value <= 2.0,
    )  # fmt: skip


def _lease_row(subject: Subject, late: list[float]) -> Row:
    found = median(late)
    return Row(
        subject.name, f"lease end → field, {BEHIND}", len(late), "ms", found, p99=percentile(late, 0.99), goal="≤ 50 ms",
        met=found.value <= 50.0,
    )  # fmt: skip


async def _counted(subject: Subject) -> tuple[float, int]:
    """Seconds, and calls, that the kubelet has counted for prepares of the bench's driver."""
    tls = ssl._create_unverified_context()
    async with aiohttp.ClientSession() as session, session.get(f"{subject.kubelet}/metrics", ssl=tls) as answer:
        text = await answer.text()
    found = {}
    for part in ("sum", "count"):
        lines = re.findall(rf"^dra_grpc_operations_duration_seconds_{part}{{(.*)}} (\S+)$", text, re.MULTILINE)
        found[part] = sum(float(value) for labels, value in lines if f'"{DRIVER}"' in labels and "/NodePrepareResources" in labels)
    return found["sum"], round(found["count"])


def _one(value: float) -> Estimate:
    return Estimate(value, value, value)
