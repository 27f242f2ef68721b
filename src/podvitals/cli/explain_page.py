"""`podvitals rules explain`: what a code, a signal, a rule or a line of the kernel log means, in words. No I/O here."""

import re
from collections.abc import Sequence

from podvitals.detect.kernellog import Reader, Record
from podvitals.detect.rules.describe import ending, matching, meaning
from podvitals.detect.rules.fields import close_to
from podvitals.detect.rules.rule import CodeMatch, Rule, Rules
from podvitals.detect.signal import LIFE
from podvitals.errors import InvalidInput

_STAMP = re.compile(r"(?:.*? kernel: )?(?:\[ *\d+\.\d+\] |\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\] )?")
"""What dmesg, syslog and journalctl put before the kernel's words."""


def explained(rules: Rules, what: str, code: str | None) -> list[str]:
    """Of a code of a table, of a signal, of a rule, or of a line of the kernel log. Raises InvalidInput."""
    words = what.split()
    if code is None and len(words) == 2 and _of_table(rules, words[0]):
        what, code = words
    elif len(words) > 1:
        return _of_line(rules, what)
    found = _of_code(rules, what, code) if code is not None else _of_word(rules, what)
    if not found:
        raise InvalidInput(f"no rule says anything of {what}{f' {code}' if code else ''}{_hint(rules, what)}")
    return _explanations(found)


def _of_code(rules: Rules, table: str, code: str) -> Sequence[Rule]:
    about = _of_table(rules, table)
    named = [rule for rule in about if isinstance(rule.match, CodeMatch) and code in rule.match.codes]
    return named or rules.of_code(about[0].match.table if about and isinstance(about[0].match, CodeMatch) else table, code, {})


def _of_table(rules: Rules, table: str) -> Sequence[Rule]:
    return rules.of_table(table) or rules.of_table(table.lower())


def _of_word(rules: Rules, what: str) -> Sequence[Rule]:
    rule = rules.rules.get(what) or rules.rules.get(what.lower())
    return [rule] if rule is not None else rules.of_name(what) or _of_table(rules, what)


def _hint(rules: Rules, what: str) -> str:
    tables = {rule.match.table for rule in rules if isinstance(rule.match, CodeMatch) and what in rule.match.codes}
    if tables:
        return f": did you mean {' or '.join(f'{table} {what}' for table in sorted(tables))}?"
    names = {*rules.rules, *(name for rule in rules if isinstance(name := _name(rule), str))}
    return close_to(what, names) or ": `podvitals rules list` lists them"


def _name(rule: Rule) -> str | None:
    return next((getattr(rule.match, kind) for kind in ("table", "counter", "state", "level") if hasattr(rule.match, kind)), None)


def _of_line(rules: Rules, line: str) -> list[str]:
    text = line.strip()
    said = Reader(rules.lines.values()).said(Record(0, 0, 0.0, text[len(found[0]) if (found := _STAMP.match(text)) else 0 :]))
    if not said:
        raise InvalidInput("no pattern knows this line, or it names no device: `podvitals rules list --lines` lists the patterns")
    lines: list[str] = []
    for one in said:
        lines += ["", *_said(one.about, one.who)] if lines else _said(one.about, one.who)
        rules_of_it = rules.of_code(one.code.table, one.code.code, dict(one.code.params))
        lines.append(f"Is      {one.code.table} {one.code.code}{', which ends what waits for it' if one.code.table == LIFE else ''}")
        lines += _explanations(rules_of_it)
    return lines


def _said(about: str, who: str) -> list[str]:
    return [f"Of      {about} {who}"]


def _explanations(rules: Sequence[Rule]) -> list[str]:
    lines: list[str] = []
    for rule in rules:
        lines += ["", *_explanation(rule)] if lines else _explanation(rule)
    return lines


def _explanation(rule: Rule) -> list[str]:
    parts = [("Rule", rule.id), ("When", matching(rule)), ("Means", meaning(rule)), ("Says", rule.message), ("Do", rule.action)]
    parts += [("Ends", ending(rule)), ("Note", rule.note), ("Source", rule.source), ("File", rule.origin)]
    return [f"{label:<8}{text}" for label, text in parts if text]
