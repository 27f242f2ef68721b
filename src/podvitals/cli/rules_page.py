"""Rules as text: tables, TOML, explanations, and what others would have changed. No I/O but reading an operator's file."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from podvitals.cli.check_page import change_line
from podvitals.cli.output import Table, age
from podvitals.detect.kernellog import Lines
from podvitals.detect.kernellog import Record as LogRecord
from podvitals.detect.recording import Heard, Named, Record
from podvitals.detect.replay import Replay
from podvitals.detect.rules.describe import duration, ending, line_toml, matching, meaning, toml
from podvitals.detect.rules.fields import close_to, nearest
from podvitals.detect.rules.line import Line
from podvitals.detect.rules.load import LINES, builtin, load_file
from podvitals.detect.rules.rule import Class, Rule, Rules
from podvitals.detect.subject import Names
from podvitals.errors import InvalidInput


def chosen(file: Path | None) -> Rules:
    return load_file(file) if file is not None else builtin()


def shown(rules: Rules, name: str) -> str:
    """A rule, or a line (`lines.xid`), as it is written."""
    family, _, of_line = name.partition(".")
    if family == LINES and of_line in rules.lines:
        return line_toml(rules.lines[of_line])
    if name in rules.rules:
        return toml(rules.rules[name])
    close = close_to(name, (*rules.rules, *(f"{LINES}.{line}" for line in rules.lines)))
    raise InvalidInput(f"there is no rule {name}{close or ': `podvitals rules list` lists them'}")


def of_family(rules: Rules, family: str) -> list[Rule]:
    found = [rule for rule in rules if not family or rule.family == family]
    if not found:
        families = dict.fromkeys(rule.family for rule in rules)
        raise InvalidInput(f"there is no family {family} with rules{nearest(family, families)}")
    return found


def table(rules: Iterable[Rule]) -> Table:
    rows = [
        (rule.id, matching(rule), str(rule.verdict), rule.action, ending(rule), rule.message, rule.source, rule.origin) for rule in rules
    ]
    return Table(("RULE", "WHEN", "CLASS", "DO", "ENDS", "SAYS", "SOURCE", "FILE"), rows, wide_from=5)


def document(rule: Rule) -> Mapping[str, object]:
    return {
        "id": rule.id,
        "when": matching(rule),
        "class": str(rule.verdict),
        "action": rule.action,
        "message": rule.message,
        "ends": ending(rule),
        "meaning": meaning(rule),
        "note": rule.note,
        "source": rule.source,
        "file": rule.origin,
    }


def lines_table(lines: Iterable[Line]) -> Table:
    rows = [(line.id, f"{line.table} {line.code}", line.has, line.pattern.pattern, line.origin) for line in lines]
    return Table(("LINE", "IS", "HAS", "PATTERN", "FILE"), rows, wide_from=3)


def line_document(line: Line) -> Mapping[str, object]:
    return {
        "id": line.id,
        "table": line.table,
        "code": line.code,
        "has": line.has,
        "pattern": line.pattern.pattern,
        "file": line.origin,
    }


def tally(rules: Sequence[Rule]) -> str:
    """`172 rules: 90 fatal, 60 degraded, 5 unknown, 12 application, 5 healthy; 2 of them from ours.toml`."""
    classes = Counter(rule.verdict for rule in rules)
    parts = [f"{classes[verdict]} {verdict}" for verdict in reversed(Class) if classes[verdict]]
    files = Counter(rule.origin for rule in rules if rule.origin)
    given = "".join(f"; {count} of them from {name}" for name, count in files.items())
    return f"{len(rules)} rule{'s' if len(rules) != 1 else ''}: {', '.join(parts)}{given}"


def changed(before: Rules, after: Rules) -> list[str]:
    lines = [f"changed  damping: {_damping(before)} → {_damping(after)}"] if after.damping != before.damping else []
    for rule in after:
        old = before.rules.get(rule.id)
        if old is None:
            lines.append(f"new      {rule.id}: {meaning(rule)}")
        elif rule.origin:
            parts = [
                f"{what}: {was or 'none'} → {now or 'none'}"
                for what, was, now in (
                    ("when", matching(old), matching(rule)),
                    ("class", str(old.verdict), str(rule.verdict)),
                    ("action", old.action, rule.action),
                    ("ends", ending(old), ending(rule)),
                    ("says", old.message, rule.message),
                )
                if was != now
            ]
            lines.append(f"changed  {rule.id}: {'; '.join(parts) or 'nothing that can be seen'}")
    for line in after.lines.values():
        known = before.lines.get(line.id)
        if known is None:
            lines.append(f"new      line {line.id}: {line.table} {line.code}")
        elif line.origin:
            parts = [
                f"{what}: {was} → {now}"
                for what, was, now in (
                    ("is", f"{known.table} {known.code}", f"{line.table} {line.code}"),
                    ("has", known.has, line.has),
                    ("pattern", known.pattern.pattern, line.pattern.pattern),
                )
                if was != now
            ]
            lines.append(f"changed  line {line.id}: {'; '.join(parts) or 'nothing that can be seen'}")
    return lines or ["nothing is changed: the file has no rules"]


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
        found = [said for record in heard for said in pattern.said(LogRecord(0, 0, 0.0, record.text, dict(record.keys)))]
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
