"""What a node full of devices costs that all report ten times a second, whether or not anything is new."""

import asyncio
import json
import time
from typing import Any

from podvitals.device.health import Health
from tests.bench.latency import PATIENCE
from tests.bench.stage import Stage
from tests.bench.stats import median
from tests.bench.subject import Subject, cpu, until
from tests.bench.table import Row

PODS, DEVICES, PER_CLAIM = 16, 4096, 8
RATE = 10.0
KINDS = {
    "identical": "identical reports",
    "times": "only times new",
    "one": "times new and one device changed",
}
MOST_MS, MOST_SHARE = 5.0, 5.0


async def measure(subject: Subject, seconds: float, *, devices: int = DEVICES, pods: int = PODS) -> list[Row]:
    """The agent's, from its first byte read to its last patch; then, where there is a real kubelet, the kubelet's alone."""
    rows: list[Row] = []
    async with Stage.open(subject, pods=pods, devices=devices, per_claim=min(PER_CLAIM, devices // pods)) as stage:
        async with subject.running_agent() as agent:
            await stage.until_told(range(pods), within=60)
            rows.append(await _at_rest(subject, agent, "agent", devices, seconds))
            for kind in KINDS:
                before = await _reports(subject)
                shares, sent = await _flooded(stage, agent, kind, seconds)
                heard = await _reports(subject) - before
                if heard < 0.9 * sent:
                    raise RuntimeError(f"the agent heard {heard} of {sent} reports: what it cost says nothing")
                rows += _rows(subject, kind, devices, shares, "agent")
        if subject.real:
            rows.append(await _at_rest(subject, subject.kubelet_pid, "kubelet", devices, seconds))
            for kind in KINDS:
                shares, _ = await _flooded(stage, subject.kubelet_pid, kind, seconds)
                await _until_kubelet_has_heard(stage)
                rows += _rows(subject, kind, devices, shares, "kubelet")
    return rows


async def _at_rest(subject: Subject, pid: int, who: str, devices: int, seconds: float) -> Row:
    """What of its share is not the reports': each of these has other things to do, a kubelet many."""
    shares = await _shares(pid, asyncio.create_task(asyncio.sleep(seconds), name="bench: at rest"), seconds)
    what = f"{devices:,} devices, a report each 10 s: {who}'s CPU, of a core"
    return Row(subject.name, what, len(shares), "%", median(shares))


async def _flooded(stage: Stage, pid: int, kind: str, seconds: float) -> tuple[list[float], int]:
    """The shares of a core, second by second, while the reports come; and how many came."""
    flood = asyncio.create_task(stage.devices.flood(kind, RATE, int(seconds * RATE)), name=f"bench: {kind}")
    await asyncio.sleep(2 / RATE)  # the first are news: the devices' messages and times are others than before
    return await _shares(pid, flood, seconds), await flood


async def _shares(pid: int, during: "asyncio.Task[Any]", seconds: float) -> list[float]:
    shares: list[float] = []
    while not during.done():
        used, began = await asyncio.to_thread(cpu, pid), time.monotonic()
        await asyncio.wait({during}, timeout=min(1.0, seconds / 4))
        lasted = time.monotonic() - began
        if not during.done():
            shares.append((await asyncio.to_thread(cpu, pid) - used) / lasted * 100)
    return shares


async def _until_kubelet_has_heard(stage: Stage) -> None:
    """It counts no reports. But they come in one stream: what it shows of the last, it shows after all before."""
    for health, number, message in ((Health.UNHEALTHY, 1, "n=1 the last of all"), (Health.HEALTHY, 0, "")):
        seen = stage.recorder.seen("bench-0", "field", number)
        await stage.devices.change({"d0": (health, message)})
        await until(seen, PATIENCE)


async def _reports(subject: Subject) -> int:
    """How many reports the agent has counted."""
    reader, writer = await asyncio.open_unix_connection(str(subject.agent_socket))
    writer.write(b"GET /state HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return sum(int(driver["reports"]) for driver in json.loads(answer.partition(b"\r\n\r\n")[2])["drivers"])


def _rows(subject: Subject, kind: str, devices: int, shares: list[float], who: str) -> list[Row]:
    what = f"{devices:,} devices, 10 reports/s, {KINDS[kind]}: {who}'s CPU"
    share = median(shares)
    each = median([value / 100 * 1000 / RATE for value in shares])
    ours = who == "agent"
    return [
        Row(
            subject.name,
            f"{what} per report",
            len(shares),
            "ms",
            each,
            goal=f"≤ {MOST_MS:g} ms" if ours else "",
            met=each.value <= MOST_MS if ours else None,
        ),
        Row(
            subject.name,
            f"{what}, of a core",
            len(shares),
            "%",
            share,
            goal=f"≤ {MOST_SHARE:g} %" if ours else "",
            met=share.value <= MOST_SHARE if ours else None,
        ),
    ]
