"""What a person reads of a run: a line a round, the story of one that failed, a table in the end. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from tests.crash_cluster.report import Report

STORY = 60
"""Lines of a failed round's story that are shown; all of it is in the directory that is kept."""


def line_of(report: Report, number: int, total: int) -> str:
    verdict = "ok"
    if report.wrong:
        verdict = f"WRONG: {report.wrong[0][0]}" + (f" and {len(report.wrong) - 1} more" if report.wrong[1:] else "")
    counts = f"{report.pods} pods, {report.changes} changes, true again after {report.settled:.1f} s"
    which = f"round {number:3}/{total}  seed {report.seed:4}" if report.seed >= 0 else f"{'then':24}"
    return f"{which}  {report.took:5.1f} s  {verdict:12}  {', '.join(report.acts)}  ({counts})"


def story_of(report: Report) -> str:
    lines = [f"  {kind}: {text}" for kind, text in report.wrong]
    if len(report.story) > STORY:
        lines.append(f"  … {len(report.story) - STORY} lines before")
    lines += [f"  {line}" for line in report.story[-STORY:]]
    return "\n".join([*lines, f"  again: make crash-cluster SEED={report.seed}    logs: {report.kept or 'none'}"])


def table(reports: Sequence[Report], found: Mapping[str, int], seconds: float) -> str:
    lines = [*_by_fault(reports), "", *_totals(reports, seconds)] if reports else []
    if found:
        missed = [name for name, count in found.items() if not count]
        lines.append(
            f"twins                    {len(found) - len(missed)} of {len(found)} found" + (f"; NOT {', '.join(missed)}" if missed else "")
        )
    return "\n".join(lines)


def _by_fault(reports: Sequence[Report]) -> list[str]:
    rounds, wrong, settled = Counter[str](), Counter[str](), dict[str, list[float]]()
    for report in (report for report in reports if report.seed >= 0):
        for act in {act.partition(":")[0] for act in report.acts}:
            rounds[act] += 1
            wrong[act] += bool(report.wrong)
            settled.setdefault(act, []).append(report.settled)
    lines = ["", f"{'fault':24} rounds  wrong  true again after (median, longest)"]
    return lines + [f"{act:24} {rounds[act]:6} {wrong[act]:6}  {_seconds(settled[act])}" for act in sorted(rounds)]


def _totals(reports: Sequence[Report], seconds: float) -> list[str]:
    rounds = [report for report in reports if report.seed >= 0]
    bad = [report for report in reports if report.wrong]
    kinds = Counter(kind for report in reports for kind, _ in report.wrong)
    blips = [seconds for report in reports for seconds in report.blips]
    return [
        f"rounds                   {len(rounds)}, {len(bad)} of them wrong, in {seconds:.0f} s",
        f"a round                  {_seconds([report.took for report in rounds])}",
        f"pods                     {sum(report.pods for report in reports)}",
        f"  ran after              {_seconds([start for report in reports for start in report.starts])}",
        f"prepares and unprepares  {sum(report.calls for report in reports)} done by drivers",
        f"  failed                 {kinds['failed prepare']}; and {sum(report.excused for report in reports)} with relay or kubelet killed",
        f"devices changed          {sum(report.changes for report in reports)} times",
        f"faults looked for        {sum(report.due for report in reports)}, {kinds['lost']} lost",
        f"claims judged            {sum(report.claims for report in reports)}, {kinds['false Healthy']} false Healthy",
        f"other wrongs             {sum(kinds.values()) - kinds['lost'] - kinds['false Healthy'] - kinds['failed prepare']}",
        f"true again after         {_seconds([report.settled for report in rounds])}",
        f"blips                    {len(blips)}, the longest {max(blips, default=0.0):.1f} s",
        *(f"wrong                    seed {report.seed}: {report.wrong[0][0]}: {report.wrong[0][1][:160]}" for report in bad),
    ]


def _seconds(samples: Sequence[float]) -> str:
    return f"{median(samples):.1f} s (median), {max(samples):.1f} s (longest)" if samples else "none"
