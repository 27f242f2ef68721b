"""Rules as text: tables, TOML, documents. No I/O but reading an operator's file."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from podvitals.cli.output import Table
from podvitals.detect.rules.describe import ending, line_toml, matching, meaning, toml
from podvitals.detect.rules.fields import close_to, nearest
from podvitals.detect.rules.line import Line
from podvitals.detect.rules.load import LINES, builtin, load_file
from podvitals.detect.rules.rule import Class, Rule, Rules
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
