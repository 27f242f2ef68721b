"""What a person reads of any run: a line a round, the story of one that failed, a table in the end. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from tests.crash.report import Report

STORY = 60
"""Lines of a failed round's story that are shown; all of it is in the directory that is kept."""


def round_line(report: Report, number: int, total: int, counts: str) -> str:
    verdict = "ok"
    if report.wrong:
        verdict = f"WRONG: {report.wrong[0][0]}" + (f" and {len(report.wrong) - 1} more" if report.wrong[1:] else "")
    which = f"round {number:3}/{total}  seed {report.seed:4}" if report.seed >= 0 else f"{'then':24}"
    return f"{which}  {report.took:5.1f} s  {verdict:12}  {', '.join(report.acts)}  ({counts})"


def story(report: Report, command: str) -> str:
    lines = [f"  {kind}: {text}" for kind, text in report.wrong]
    if len(report.story) > STORY:
        lines.append(f"  … {len(report.story) - STORY} lines before")
    lines += [f"  {line}" for line in report.story[-STORY:]]
    return "\n".join([*lines, f"  again: {command} SEED={report.seed}    logs: {report.kept or 'none'}"])


def summary(reports: Sequence[Report], found: Mapping[str, int], totals: Sequence[str]) -> str:
    """`found`: the round in which each twin was found, 0 for never."""
    lines = [*_by_fault(reports), "", *totals] if reports else []
    lines += [
        f"wrong                    seed {report.seed}: {report.wrong[0][0]}: {report.wrong[0][1][:160]}"
        for report in reports
        if report.wrong
    ]
    if found:
        missed = ", ".join(name for name, count in found.items() if not count)
        count = sum(map(bool, found.values()))
        lines.append(f"twins                    {count} of {len(found)} found" + (f"; NOT {missed}" if missed else ""))
    return "\n".join(lines)


def _by_fault(reports: Sequence[Report]) -> list[str]:
    rounds, settled = Counter[str](), defaultdict[str, list[float]](list)
    wrong = Counter[str]()
    for report in (report for report in reports if report.seed >= 0):
        for act in {act.partition(":")[0] for act in report.acts}:
            rounds[act] += 1
            wrong[act] += bool(report.wrong)
            settled[act].append(report.settled)
    lines = ["", f"{'fault':24} rounds  wrong  true again after (median, longest)"]
    return lines + [f"{act:24} {rounds[act]:6} {wrong[act]:6}  {seconds(settled[act])}" for act in sorted(rounds)]


def seconds(samples: Sequence[float]) -> str:
    return f"{median(samples):.1f} s (median), {max(samples):.1f} s (longest)" if samples else "none"
