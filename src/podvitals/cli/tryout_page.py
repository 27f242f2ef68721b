"""`podvitals rules test`: what an operator's file changes, and what that would have changed in a recording. No I/O here."""

from collections.abc import Mapping, Sequence

from podvitals.cli.check_page import change_line
from podvitals.cli.output import age
from podvitals.detect.kernellog import Lines
from podvitals.detect.recording import Heard, Named, Record
from podvitals.detect.replay import Replay
from podvitals.detect.rules.describe import duration, ending, matching, meaning
from podvitals.detect.rules.line import Line
from podvitals.detect.rules.rule import Rule, Rules
from podvitals.detect.subject import Names


def changed(before: Rules, after: Rules) -> list[str]:
    """What an operator's file changes."""
    lines = [f"changed  damping: {_damping(before)} → {_damping(after)}"] if after.damping != before.damping else []
    for rule in after:
        if (old := before.rules.get(rule.id)) is None:
            lines.append(f"new      {rule.id}: {meaning(rule)}")
        elif rule.origin:
            lines.append(f"changed  {rule.id}: {_differences(_of_rule(old), _of_rule(rule))}")
    for line in after.lines.values():
        if (known := before.lines.get(line.id)) is None:
            lines.append(f"new      line {line.id}: {line.table} {line.code}")
        elif line.origin:
            lines.append(f"changed  line {line.id}: {_differences(_of_line(known), _of_line(line))}")
    return lines or ["nothing is changed: the file has no rules"]


def _of_rule(rule: Rule) -> dict[str, str]:
    return {
        "when": matching(rule),
        "class": str(rule.verdict),
        "action": rule.action,
        "ends": ending(rule),
        "says": rule.message,
    }


def _of_line(line: Line) -> dict[str, str]:
    return {"is": f"{line.table} {line.code}", "has": line.has, "pattern": line.pattern.pattern}


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    parts = [f"{what}: {was or 'none'} → {after[what] or 'none'}" for what, was in before.items() if was != after[what]]
    return "; ".join(parts) or "nothing that can be seen"


def _damping(rules: Rules) -> str:
    held = f", better held for {duration(rules.damping.hold)}" if rules.damping.hold else ""
    return f"{rules.damping.changes} changes in {duration(rules.damping.window)}{held}"


def tried(after: Rules, records: Sequence[Record]) -> list[str]:
    """How often each line of an operator's was found in a recording: one that never is, or is of no device, changes nothing."""
    ours = [line for line in after.lines.values() if line.origin]
    if not ours:
        return []
    if not any(isinstance(record, Named) for record in records):
        return ["", "the recording has no lines of the kernel log, so your lines could not be tried: record with family kmsg (as root)"]
    names = Names()
    for named in (record for record in records if isinstance(record, Named)):
        for device, subjects in named.names:
            names.know(device, subjects)
    heard = [record for record in records if isinstance(record, Heard)]
    told = [""]
    for line in ours:
        pattern = Lines((line,))
        found = [said for record in heard for said in pattern.said(record.line)]
        about = {device for said in found for device in names.devices(said.about, said.who)}
        devices = f"{len(about)} device{'s' if len(about) != 1 else ''}"
        told.append(f"line {line.id}: found in {len(found)} of {len(heard)} lines of the kernel log, of {devices}")
    return told


def compared(before: Rules, after: Rules, records: Sequence[Record]) -> tuple[list[str], bool]:
    """Both replayed; what differs, and whether something does."""
    lines: list[str] = []
    told = {}
    for name, rules in (("podvitals' own rules", before), ("your rules", after)):
        replay = Replay(rules, records)
        changes = [change for change in replay.run() if change.before is not None or change.now.message]
        told[name] = [change_line(f"+{age(change.at)}", change.before, change.now) for change in changes]
    (own, was), (ours, now) = told.items()
    if was == now:
        return ["", f"the recording comes out the same: {len(now)} change{'s' if len(now) != 1 else ''}"], False
    for name, mine, others in ((own, was, now), (ours, now, was)):
        only = [line for line in mine if line not in others]
        lines += ["", f"only with {name}:", *(f"  {line}" for line in only or ["nothing"])]
    return lines, True
