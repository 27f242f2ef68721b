"""That each row of the bench measures what it says; how fast it is, is for a quiet machine."""

import json

import pytest

from tests.bench import curve, detectors, load, taken
from tests.bench.bench import Bench
from tests.bench.plan import PARTS, TINY, Plan
from tests.bench.stats import Estimate, median, over_floor, percentile
from tests.bench.table import Row, render, render_json
from tests.detect.veth import requires_veth
from tests.flow.kernel import requires_pci_and_log


async def rows_of(*parts: str) -> list[Row]:
    bench = Bench(Plan(frozenset(parts), TINY))
    await bench.run()
    return bench.rows


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


@requires_veth
@requires_pci_and_log
async def test_a_fault_in_the_kernel_has_a_row_for_each_stage_on_its_way() -> None:
    rows = await rows_of("allway")
    kinds = ("a lost carrier", "an Xid in the kernel log", "a vanished device node")
    stages = ("told by the driver", "heard by the agent", "condition", "field")
    assert [row.what for row in rows] == [f"{kind} → {stage}" for kind in kinds for stage in stages]
    assert all(0 <= row.value.value < 20_000 for row in rows)


async def test_with_an_agent_of_its_own_each_step_and_each_load_has_its_row() -> None:
    rows = await rows_of("where", "punctual", "load")
    said = "\n".join(row.what for row in rows)
    for what in ("its patch begins", "its patch leaves", "identical reports", "only times new", "one device changed"):
        assert what in said
    assert all(row.value.value > 0 for row in rows)
    goals = [row for row in rows if row.goal]
    assert len(goals) == 2 + 2 * len(load.KINDS)
    assert all(row.met is not None for row in goals)


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


async def test_the_rows_of_this_process_need_no_other() -> None:
    rows = await rows_of("taken", "checkpoint")
    assert [row.subject for row in rows] == ["node"] * 3 + ["checkpoint"] * 5
    assert all(row.value.value > 0 for row in rows)


def test_a_report_that_changes_a_device_is_taken_as_one_that_does() -> None:
    """The reports of the rows are what their names say: the same bytes, the same but for times, and one device more."""
    from podvitals.wire.convert import decode_report

    first, same, later, changed = (decode_report(taken._report(4, *said)) for said in ((0,), (0,), (1,), (1, "n=1")))
    assert first == same
    assert [(one.device, one.health) for one in first.devices] == [(one.device, one.health) for one in later.devices]
    assert all(one.checked_at < two.checked_at for one, two in zip(first.devices, later.devices, strict=True))
    assert [one.device for one, two in zip(later.devices, changed.devices, strict=True) if one != two] == ["d0"]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_asked_for_by_name(part: str) -> None:
    assert Plan(frozenset({part})).wants(part)
    assert not Plan(frozenset({part})).wants(*(PARTS.keys() - {part}))


def test_a_median_lies_within_its_interval_and_a_wider_sample_has_a_wider_one() -> None:
    narrow, wide = median([float(number) for number in range(101)]), median([number * 10.0 for number in range(101)])
    assert narrow.low < narrow.value == 50.0 < narrow.high
    assert wide.high - wide.low > narrow.high - narrow.low


def test_what_both_of_a_pair_have_in_common_does_not_widen_the_excess() -> None:
    pairs = [(base + 2.0, float(base)) for base in range(0, 1000, 10)]
    assert over_floor(pairs) == Estimate(2.0, 2.0, 2.0)


def test_the_99th_percentile_of_a_hundred_is_the_last_but_none() -> None:
    assert percentile([float(number) for number in range(100)], 0.99) == 99.0


def test_a_missed_goal_is_said_to_be_missed() -> None:
    row = Row("lab", "a lone change", 300, "ms", Estimate(5.0, 4.0, 6.0), goal="≤ +2 ms", met=False)
    assert render([row]).splitlines()[-1].endswith("≤ +2 ms  MISSED")


async def test_what_watching_hardware_costs_is_measured_and_every_fault_of_it_is_told() -> None:
    rows = await detectors.measure(1.0, 2, interval=0.5)
    assert [row.goal for row in rows][:3] == ["≤ 1 %", "≤ 70 MB", "≤ 500 ms"]
    assert all(row.value.value > 0 for row in rows[1:])
    assert all(row.samples == 2 for row in rows[2:])
