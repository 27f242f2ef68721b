"""What a person reads of a run of `make crash-cluster`. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.crash.lines import round_line, seconds, story, summary
from tests.crash_cluster.report import ClusterReport


def line_of(report: ClusterReport, number: int, total: int) -> str:
    counts = f"{report.pods} pods, {report.changes} changes, true again after {report.settled:.1f} s"
    return round_line(report, number, total, counts)


def story_of(report: ClusterReport) -> str:
    return story(report, "make crash-cluster")


def table(reports: Sequence[ClusterReport], found: Mapping[str, int], took: float) -> str:
    return summary(reports, found, _totals(reports, took))


def _totals(reports: Sequence[ClusterReport], took: float) -> list[str]:
    rounds = [report for report in reports if report.seed >= 0]
    wrong = sum(bool(report.wrong) for report in reports)
    kinds = Counter(kind for report in reports for kind, _ in report.wrong)
    blips = [blip for report in reports for blip in report.blips]
    return [
        f"rounds                   {len(rounds)}, {wrong} of them wrong, in {took:.0f} s",
        f"a round                  {seconds([report.took for report in rounds])}",
        f"pods                     {sum(report.pods for report in reports)}",
        f"  ran after              {seconds([start for report in reports for start in report.starts])}",
        f"prepares and unprepares  {sum(report.calls for report in reports)} done by drivers",
        f"  failed                 {kinds['failed prepare']}; and {sum(report.excused for report in reports)} with relay or kubelet killed",
        f"devices changed          {sum(report.changes for report in reports)} times",
        f"faults looked for        {sum(report.due for report in reports)}, {kinds['lost']} lost",
        f"claims judged            {sum(report.claims for report in reports)}, {kinds['false Healthy']} false Healthy",
        f"other wrongs             {sum(kinds.values()) - kinds['lost'] - kinds['false Healthy'] - kinds['failed prepare']}",
        f"true again after         {seconds([report.settled for report in rounds])}",
        f"blips                    {len(blips)}, the longest {max(blips, default=0.0):.1f} s",
    ]
