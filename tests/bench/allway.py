"""How long a fault takes from the kernel to the pod's status, by stages: told by the driver, heard by the agent, seen by a watch in the
agent's condition and in the kubelet's field. Needs root, for the faults are real ones."""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

from tests.bench.stats import median, percentile
from tests.bench.subject import Subject
from tests.bench.table import Row
from tests.cluster.api import Api
from tests.cluster.cluster import Cluster
from tests.cluster.subjects import Processes, World, condition, healths
from tests.flow import kernel
from tests.flow.kernel import Faulty

ROUNDS = 2
"""Faults of one device: the end of a third one within 10 minutes is told late, for that comes and goes (docs/detectors.md)."""
REST = 2.5
"""Seconds before a fault. A kubelet that has just looked at a pod does so again only after its next list of containers, up to 1 s later;
and the agent's annotation, for which it looks, comes up to 1 s after a change."""
PATIENCE = 20.0
TOLD, HEARD, CONDITION, FIELD = "told by the driver", "heard by the agent", "condition", "field"


@dataclass(frozen=True)
class Ground:
    """What World asks of a cluster, of whatever is measured."""

    subject: Subject
    root: Path
    environment: Mapping[str, str]


class Land(World):
    def flags(self) -> list[str]:
        subject = cast(Ground, self.cluster).subject
        where = ["--plugin-dir", str(subject.kubelet_dir / "plugins_registry"), "--cdi-dir", str(subject.kubelet_dir.parent / "cdi")]
        if not subject.real:
            where[-1] = str(subject.kubelet_dir / "cdi")
        return ["--node-name", subject.node, "--kubeconfig", str(subject.kubeconfig), *where]


async def measure(subject: Subject, times: int) -> list[Row]:
    """`times` devices of each kind, each broken twice."""
    found: dict[tuple[str, str], list[float]] = {}
    async with subject.running_agent():
        log = subject.log("agent") if subject.agent else subject.kubeconfig.parent / "logs" / "agent.log"
        for _ in range(times):
            with tempfile.TemporaryDirectory(prefix="pv-bench-") as directory:
                kinds: dict[str, Callable[[], AbstractContextManager[Faulty]]] = {
                    "a lost carrier": kernel.carrier,
                    "an Xid in the kernel log": partial(kernel.xid, Path(directory)),
                    "a vanished device node": kernel.node,
                }
                for kind, fault in kinds.items():
                    async with _world(subject, Path(directory)) as world:
                        with fault() as faulty:
                            for stage, took in await _rounds(world, faulty, log):
                                found.setdefault((kind, stage), []).append(took)
    return [
        Row(subject.name, f"{kind} → {stage}", len(values), "ms", median(values), p99=percentile(values, 0.99))
        for (kind, stage), values in found.items()
    ]


@asynccontextmanager
async def _world(subject: Subject, directory: Path) -> AsyncIterator[World]:
    (directory / "logs").mkdir(exist_ok=True)
    cluster = cast(Cluster, Ground(subject, directory, subject.environment))
    processes = Processes(cluster)
    async with Api(subject.kubeconfig) as api:
        try:
            async with Land.open(cluster, api, processes) as world:
                yield world
        finally:
            await asyncio.to_thread(processes.end_all)


async def _rounds(world: World, faulty: Faulty, agent_log: Path) -> list[tuple[str, float]]:
    """Stages and their milliseconds."""
    await kernel.held_by_a_pod(world, *faulty.words)
    (driver_log,) = world.processes.logs().values()
    found: list[tuple[str, float]] = []
    for number in range(ROUNDS):
        await asyncio.sleep(REST)
        async with world.api.watching(world.pods) as events, asyncio.timeout(PATIENCE):
            seen: dict[str, float] = {}
            wall, began = time.time(), time.monotonic()
            faulty.break_it()
            async for _, pod, received in events:
                if condition(pod).get("status") == "False":
                    seen.setdefault(CONDITION, received - began)
                if healths(pod) == ["Unhealthy"]:
                    seen.setdefault(FIELD, received - began)
                if len(seen) == 2:
                    break
        found.append((TOLD, await asyncio.to_thread(_logged, driver_log, "podvitals.detect verdict", wall)))
        if number == 0:  # the agent says the same of one device once a minute
            found.append((HEARD, await asyncio.to_thread(_logged, agent_log, f"driver={world.driver}", wall)))
        found += [(stage, 1000 * seen[stage]) for stage in (CONDITION, FIELD)]
        faulty.mend()
        await world.pod("trainer", kernel.tells("Healthy"), within=PATIENCE)
    return found


def _logged(log: Path, words: str, since: float) -> float:
    """Milliseconds from `since` to the first line with these words that says Unhealthy. Lines have whole milliseconds."""
    for line in log.read_text().splitlines():
        if words in line and "health=Unhealthy" in line and (found := re.search(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", line)):
            took = 1000 * (datetime.fromisoformat(found[0]).timestamp() - since)
            if took > -1:
                return max(0.0, took)
    raise RuntimeError(f"{log} has no line {words} health=Unhealthy of this fault")
