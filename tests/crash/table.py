"""What a person reads of a run of `make crash`. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.crash.lines import round_line, seconds, story, summary
from tests.crash.report import NodeReport


def line_of(report: NodeReport, number: int, total: int) -> str:
    counts = f"{report.changes} changes, {report.delivered} delivered, {report.due} looked for"
    return round_line(report, number, total, counts)


def story_of(report: NodeReport) -> str:
    return story(report, "make crash")


def table(reports: Sequence[NodeReport], found: Mapping[str, int], took: float, worlds: int) -> str:
    return summary(reports, found, _totals(reports, took, worlds))


def _totals(reports: Sequence[NodeReport], took: float, worlds: int) -> list[str]:
    kinds = Counter(kind for report in reports for kind, _ in report.wrong)
    blips = [blip for report in reports for blip in report.blips]
    false = kinds["false Healthy"] + kinds["false at the end"]
    delivered, due = sum(report.delivered for report in reports), sum(report.due for report in reports)
    wrong = sum(bool(report.wrong) for report in reports)
    return [
        f"rounds                   {len(reports)}, {wrong} of them wrong, in {took:.0f} s with {worlds} worlds at a time",
        f"a round                  {seconds([report.took for report in reports])}",
        f"devices changed          {sum(report.changes for report in reports)} times",
        f"faults                   {delivered} delivered, {due} looked for",
        f"claims judged            {sum(report.claims for report in reports)}",
        f"lost                     {kinds['lost']}",
        f"false Healthy            {false}",
        f"other wrongs             {sum(kinds.values()) - kinds['lost'] - false}",
        f"back to the truth after  {seconds([report.settled for report in reports])}",
        f"blips                    {len(blips)}, the longest {max(blips, default=0.0):.2f} s",
    ]
