"""Rules as text: tables, TOML, explanations, and what others would have changed. No I/O but reading an operator's file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from podvitals.cli.check_page import change_line
from podvitals.cli.output import Table, age
from podvitals.detect.recording import Record
from podvitals.detect.replay import Replay
from podvitals.detect.rules.describe import duration, ending, matching, meaning, toml
from podvitals.detect.rules.fields import nearest
from podvitals.detect.rules.load import builtin, load_file
from podvitals.detect.rules.rule import CodeMatch, Rule, Rules
from podvitals.errors import InvalidInput

__all__ = ["changed", "chosen", "compared", "document", "explained", "named", "of_family", "table", "toml"]


def chosen(file: Path | None) -> Rules:
    return load_file(file) if file is not None else builtin()


def named(rules: Rules, name: str) -> Rule:
    if (rule := rules.rules.get(name)) is None:
        close = nearest(name, rules.rules)
        raise InvalidInput(f"there is no rule {name}{close if 'did you' in close else ': `podvitals rules list` lists them'}")
    return rule


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


def explained(rules: Rules, what: str, code: str | None) -> list[str]:
    """Of a code of a table, of a signal, or of a rule."""
    if code is not None:
        found: Sequence[Rule] = [rule for rule in rules if _about(rule, what, code)] or rules.of_code(what, code, {})
    else:
        found = [rules.rules[what]] if what in rules.rules else rules.of_name(what)
    if not found:
        raise InvalidInput(f"no rule says anything of {what}{f' {code}' if code else ''}: `podvitals rules list` lists them")
    lines: list[str] = []
    for rule in found:
        lines += ["", *explanation(rule)] if lines else explanation(rule)
    return lines


def _about(rule: Rule, table: str, code: str) -> bool:
    return isinstance(rule.match, CodeMatch) and rule.match.table == table and code in rule.match.codes


def explanation(rule: Rule) -> list[str]:
    parts = [("Rule", rule.id), ("When", matching(rule)), ("Means", meaning(rule)), ("Says", rule.message), ("Do", rule.action)]
    parts += [("Ends", ending(rule)), ("Note", rule.note), ("Source", rule.source), ("File", rule.origin)]
    return [f"{label:<8}{text}" for label, text in parts if text]


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
    return lines or ["nothing is changed: the file has no rules"]


def _damping(rules: Rules) -> str:
    held = f", better held for {duration(rules.damping.hold)}" if rules.damping.hold else ""
    return f"{rules.damping.changes} changes in {duration(rules.damping.window)}{held}"


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
