"""The rows of the bench that need a lab and a minute: here since this suite has the time (tests/bench/test_bench.py has the others)."""

import asyncio
import json

from tests.bench import curve, load, relayed
from tests.bench.plan import TINY
from tests.bench.subject import on
from tests.bench.table import render_json
from tests.bench.test_bench import rows_of
from tests.cluster.cluster import Cluster
from tests.cluster.releases import Shown, needs
from tests.detect.veth import requires_veth
from tests.flow.kernel import requires_pci_and_log


async def test_on_the_lab_changes_and_ends_of_leases_are_seen_in_condition_and_field() -> None:
    rows = await rows_of("latency", "lease")
    ways = ("a lone change → {}", "changes 50 ms apart → {}", "3 pods at once → {}", "lease end → {}, 1 pod", "lease end → {}, 3 pods")
    assert [row.what for row in rows] == [way.format(place) for way in ways for place in ("condition", "field")]
    written = json.loads(render_json(rows))
    assert {row["samples"] for row in written} == {3, 2, 1}
    assert all(0 < row["value"]["value"] < 20_000 for row in written)
    assert all(row["floor"]["value"] > 0 for row in written if "3 pods" in row["what"])
    ends = [row for row in rows if row.what.startswith("lease end")]
    assert len(ends) == 4
    assert all(row.goal and row.met is not None for row in ends)


async def test_with_an_agent_of_its_own_restarts_memory_and_curves_have_their_rows() -> None:
    rows = await rows_of("restart", "growth", "curve")
    said = "\n".join(row.what for row in rows)
    for what in ("first correct status", "growth", "1 device:", "1 pod:"):
        assert what in said
    assert all(row.value.value > 0 for row in rows if "growth" not in row.what)
    goals = [row for row in rows if row.goal]
    assert len(goals) == 1 + 2 + 2
    assert all(row.met is not None for row in goals)
    drawn = curve.draw(rows).splitlines()
    assert len(drawn) == 1 + len(TINY.curve_devices) + len(TINY.curve_pods)
    assert all("█" in line for line in drawn[1:])


@requires_veth
@requires_pci_and_log
async def test_a_fault_in_the_kernel_has_a_row_for_each_stage_on_its_way() -> None:
    rows = await rows_of("allway")
    kinds = ("a lost carrier", "an Xid in the kernel log", "a vanished device node")
    stages = ("told by the driver", "heard by the agent", "condition", "field")
    assert [row.what for row in rows] == [f"{kind} → {stage}" for kind in kinds for stage in stages]
    assert all(0 <= row.value.value < 20_000 for row in rows)


@needs(Shown.CLAIM_BY_ITS_NAME, Shown.MESSAGE)
async def test_the_relay_before_a_kubelet_has_its_rows(cluster: Cluster) -> None:
    rows = await relayed.measure(await asyncio.to_thread(on, cluster), TINY)
    wants = ("prepare", "a lone change → field", "lease end → field", "relay killed and started → field", "relay's memory")
    assert [row.what.startswith(what) for row, what in zip(rows, wants, strict=True)] == [True] * len(wants)
    assert all(0 < row.value.value < 60_000 for row in rows)
    assert all(row.goal and row.met is not None for row in rows if "killed" not in row.what)


@needs(Shown.CLAIM_BY_ITS_NAME, Shown.MESSAGE)
async def test_beside_a_real_kubelet_the_same_reports_have_a_row_for_the_agent_and_one_for_the_kubelet(cluster: Cluster) -> None:
    rows = await load.measure(await asyncio.to_thread(on, cluster), TINY.seconds, devices=TINY.devices, pods=TINY.pods)
    said = [row.what for row in rows]
    agents = [what for what in said if "agent's CPU" in what]
    assert said == [*agents, *(what.replace("agent's", "kubelet's") for what in agents)]
    assert len(agents) == 1 + 2 * len(load.KINDS)
    assert all(row.value.value > 0 for row in rows if "10 s" not in row.what)
    assert all((row.met is not None) == ("agent's" in row.what) for row in rows if "10 s" not in row.what)
