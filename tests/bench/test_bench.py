"""That each row of the bench measures what it says; how fast it is, is for a quiet machine."""

from pathlib import Path

import pytest

from tests.bench import detectors, load, relay, taken
from tests.bench.bench import Bench
from tests.bench.page import BEGIN, END, Page
from tests.bench.plan import PARTS, TINY, Plan
from tests.bench.stats import Estimate, median, over_floor, percentile
from tests.bench.table import Row, render


async def rows_of(*parts: str) -> list[Row]:
    bench = Bench(Plan(frozenset(parts), TINY))
    await bench.run()
    return bench.rows


async def test_the_relay_has_its_rows() -> None:
    rows = await relay.measure(pairs=2, ends=1, starts=1, devices=8)
    said = "\n".join(row.what for row in rows)
    for what in ("one at a time", "under way", "begun at once", "processor", "change", "lease end", "has it all again", "keeper", "memory"):
        assert what in said
    assert all(row.value.value > 0 for row in rows if not row.what.startswith("lease end"))


async def test_with_an_agent_of_its_own_each_step_and_each_load_has_its_row() -> None:
    rows = await rows_of("where", "punctual", "load")
    said = "\n".join(row.what for row in rows)
    for what in ("its patch begins", "its patch leaves", "identical reports", "only times new", "one device changed"):
        assert what in said
    assert all(row.value.value > 0 for row in rows)
    goals = [row for row in rows if row.goal]
    assert len(goals) == 2 + 2 * len(load.KINDS)
    assert all(row.met is not None for row in goals)


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


def test_rows_measured_anew_take_the_place_of_their_old_ones_in_a_page_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n{BEGIN}\n{END}\nAfter\n")
    rows = [Row("lab", what, 3, "ms", Estimate(1.0, 1.0, 1.0)) for what in ("a change", "a burst")]
    Page(page).put(rows)
    Page(page).put(
        [Row("lab", "a change", 3, "ms", Estimate(2.0, 2.0, 2.0)), Row("Kubernetes", "a change", 3, "ms", Estimate(3.0, 3.0, 3.0))]
    )
    found = [line.split(" | ")[:4] for line in page.read_text().splitlines() if line.startswith("| ")]
    assert [line[3].split()[0] for line in found[1:]] == ["2.0", "1.0", "3.0"]
    before, _, after = page.read_text().partition(BEGIN)
    assert (before, after.partition(END)[2]) == ("# Before\n", "\nAfter\n")


def test_a_page_without_a_place_for_rows_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Another page\n")
    with pytest.raises(ValueError, match="has no place for a table"):
        Page(page)
