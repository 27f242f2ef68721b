"""That the bench works; what it says is for a quiet machine."""

import json

from tests.bench.__main__ import Bench
from tests.bench.stats import Estimate, median, over_floor, percentile
from tests.bench.table import Row, render, render_json


async def test_a_small_bench_on_the_lab_fills_the_table() -> None:
    bench = Bench(pairs=3, rounds=2, starts=1, minutes=0, real=False, pods=3)
    await bench.run()
    lines = render(bench.rows).splitlines()
    assert len(lines) == 2 + 3 * 2 + 2
    rows = json.loads(render_json(bench.rows))
    assert {row["samples"] for row in rows} == {3, 2, 1}
    assert all(0 < row["value"]["value"] < 20_000 for row in rows)
    assert all(row["floor"]["value"] > 0 for row in rows if "→ condition" in row["what"])


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
