"""What a person reads of a run: a line a round, the story of one that failed, a table in the end. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from tests.crash.report import Report

STORY = 60
"""Lines of a failed round's story that are shown; all of it is in the directory that is kept."""


def line_of(report: Report, number: int, total: int) -> str:
    verdict = (
        "ok" if not report.wrong else f"WRONG: {report.wrong[0][0]}" + (f" and {len(report.wrong) - 1} more" if report.wrong[1:] else "")
    )
    counts = f"{report.changes} changes, {report.delivered} delivered, {report.due} looked for"
    return f"round {number:3}/{total}  seed {report.seed:4}  {report.took:5.1f} s  {verdict:12}  {', '.join(report.acts)}  ({counts})"


def story_of(report: Report) -> str:
    lines = [f"  {kind}: {text}" for kind, text in report.wrong]
    if len(report.story) > STORY:
        lines.append(f"  … {len(report.story) - STORY} lines before")
    lines += [f"  {line}" for line in report.story[-STORY:]]
    return "\n".join([*lines, f"  again: make crash SEED={report.seed}    logs: {report.kept or 'none'}"])


def table(reports: Sequence[Report], found: Mapping[str, int], seconds: float, worlds: int) -> str:
    lines: list[str] = []
    if reports:
        rounds, wrong = Counter[str](), Counter[str]()
        for report in reports:
            for act in {act.partition(":")[0] for act in report.acts}:
                rounds[act] += 1
                wrong[act] += bool(report.wrong)
        lines += ["", f"{'fault':24} rounds  wrong"]
        lines += [f"{act:24} {rounds[act]:6} {wrong[act]:6}" for act in sorted(rounds)]
        lines += ["", *_totals(reports, seconds, worlds)]
    if found:
        missed = [name for name, count in found.items() if not count]
        lines.append(
            f"twins                    {len(found) - len(missed)} of {len(found)} found" + (f"; NOT {', '.join(missed)}" if missed else "")
        )
    return "\n".join(lines)


def _totals(reports: Sequence[Report], seconds: float, worlds: int) -> list[str]:
    kinds = Counter(kind for report in reports for kind, _ in report.wrong)
    settled = sorted(report.settled for report in reports)
    blips = [seconds for report in reports for seconds in report.blips]
    false = kinds["false Healthy"] + kinds["false at the end"]
    delivered, due = sum(report.delivered for report in reports), sum(report.due for report in reports)
    bad = [report for report in reports if report.wrong]
    return [
        f"rounds                   {len(reports)}, {len(bad)} of them wrong, in {seconds:.0f} s with {worlds} worlds at a time",
        f"a round                  {median(report.took for report in reports):.1f} s (median)",
        f"devices changed          {sum(report.changes for report in reports)} times",
        f"faults                   {delivered} delivered, {due} looked for",
        f"claims judged            {sum(report.claims for report in reports)}",
        f"lost                     {kinds['lost']}",
        f"false Healthy            {false}",
        f"other wrongs             {sum(kinds.values()) - kinds['lost'] - false}",
        f"back to the truth after  {median(settled):.1f} s (median), {settled[-1]:.1f} s (longest)",
        f"blips                    {len(blips)}, the longest {max(blips, default=0.0):.2f} s",
        *(f"wrong                    seed {report.seed}: {report.wrong[0][0]}: {report.wrong[0][1][:160]}" for report in bad),
    ]
