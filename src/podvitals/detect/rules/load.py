"""From TOML to rules. What is wrong is said with file, line and column, all mistakes at once, and the nearest right word. Pure, but for
`builtin` and `load_file`, which read files.

An operator's file has the same form as those beside this one: a table that names a known rule changes the fields it gives, any other table
is a new rule. [lines.NAME] does the same for lines of the kernel log, [damping] says how often a verdict may change.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from podvitals.detect.rules.fields import DAMPING_FIELDS, LINE_FIELDS, RULE_FIELDS, Mistake, Mistakes, braces, close_to, read_table
from podvitals.detect.rules.line import KMSG, Line
from podvitals.detect.rules.positions import Positions
from podvitals.detect.rules.rule import ANY, NEEDS, Class, CodeMatch, GrowthMatch, Rule, Rules
from podvitals.detect.signal import LIFE
from podvitals.errors import InvalidInput, LocalError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_SYNTAX = re.compile(r"(.*) \(at line (\d+), column (\d+)\)")
_NEW = ("match", "class", "message")
_NEW_LINE = ("has", "pattern")
LONGEST_FILE = 1 << 20
DAMPING, LINES = "damping", "lines"
"""The tables that are no family."""


@cache
def builtin() -> Rules:
    """The rules podvitals comes with. Blocks."""
    rules = Rules()
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        rules = read_rules(path.read_text(), path.name, rules, origin="")
    check_whole(rules, "podvitals' own rules")
    return rules


def load_file(path: Path, base: Rules | None = None) -> Rules:
    """The rules of `base` (podvitals' own), changed by an operator's file. Blocks. Raises InvalidInput with all mistakes, or LocalError."""
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise LocalError(f"cannot read rules {path}: {error.strerror}") from None
    if len(data) > LONGEST_FILE:
        raise InvalidInput(f"rules {path} are longer than {LONGEST_FILE} bytes: is it the right file?")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidInput(f"{path}:{line}: it is not UTF-8") from None
    rules = read_rules(text, str(path), builtin() if base is None else base, origin=str(path))
    check_whole(rules, str(path), text)
    return rules


def read_rules(text: str, name: str, base: Rules, origin: str) -> Rules:
    """`base` with what `text` adds and changes. Raises InvalidInput."""
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _SYNTAX.fullmatch(str(error))
        where, why = (f"{name}:{found[2]}:{found[3]}", found[1]) if found else (name, str(error))
        hint = ": a text with backslashes stands in single quotes" if "\\" in why else ""
        raise InvalidInput(f"{where}: {why[:1].lower()}{why[1:]}{hint}") from None
    reading = _Reading(base, origin)
    reading.document(document)
    refuse(reading.mistakes, name, text)
    return Rules(reading.rules, reading.about, reading.damping, reading.lines)


def check_whole(rules: Rules, name: str, text: str = "") -> None:
    """What only shows when all rules are there. Raises InvalidInput; `text` is where the mistakes are looked for."""
    mistakes = Mistakes()
    _check_ends(rules, mistakes)
    _check_lines(rules, mistakes)
    refuse(mistakes, name, text)


def refuse(mistakes: Mistakes, name: str, text: str) -> None:
    """Raises InvalidInput with all mistakes, if there are any."""
    if mistakes.found:
        positions = Positions(text)
        raise InvalidInput("\n".join(_told(mistake, positions, name) for mistake in mistakes.found))


def _told(mistake: Mistake, positions: Positions, name: str) -> str:
    if mistake.path[:2] not in positions.keys:
        return f"{name}: {mistake.why}"  # about a rule of another file, which this one does not suit
    line, column = positions.key(mistake.path) if mistake.of_key else positions.value(mistake.path)
    return f"{name}:{line}:{column}: {mistake.why}"


class _Reading:
    def __init__(self, base: Rules, origin: str) -> None:
        self.rules, self.about = dict(base.rules), dict(base.about)
        self.damping, self.lines = base.damping, dict(base.lines)
        self.mistakes = Mistakes()
        self._origin = origin

    def document(self, document: Mapping[str, Any]) -> None:
        for family, table in document.items():
            if not _NAME.fullmatch(family):
                self.mistakes.key((family,), f"family {family!r} is not a name of small letters, digits and dashes")
            elif not isinstance(table, dict):
                self.mistakes.key((family,), f"{family} is not a table: write a rule as [family.name], such as [xid.79]")
            elif family == DAMPING:
                self.damping = replace(self.damping, **read_table(DAMPING_FIELDS, (family,), table, self.mistakes, "damping"))
            elif family == LINES:
                for name, value in table.items():
                    if self._is_table("line", (family, name), value):
                        self._line(name, value)
            else:
                self._family(family, table)

    def _is_table(self, what: str, path: tuple[str, str], value: Any) -> bool:
        """Whether this can be a rule, or a line; otherwise says why not."""
        if not _NAME.fullmatch(path[1]):
            self.mistakes.key(path, f"{what} {path[1]!r} is not a name of small letters, digits and dashes")
        elif not isinstance(value, dict):
            self.mistakes.key(path, f"{'.'.join(path)} is not a table: write a {what} as [{'.'.join(path)}]")
        else:
            return True
        return False

    def _family(self, family: str, table: Mapping[str, Any]) -> None:
        source = table.get("source", "")
        for name, value in table.items():
            path = (family, name)
            if name in ("about", "source"):
                if not isinstance(value, str):
                    self.mistakes.value(path, f"{name} is not a text")
                elif name == "about":
                    self.about[family] = value
            elif self._is_table("rule", path, value):
                self._rule(f"{family}.{name}", path, value, str(source))

    def _rule(self, rule: str, path: tuple[str, ...], table: Mapping[str, Any], source: str) -> None:
        before, old = len(self.mistakes.found), self.rules.get(rule)
        fields = read_table(RULE_FIELDS, path, table, self.mistakes, f"rule {rule}")
        missing = [] if old is not None else [name for name in _NEW if name not in table]
        if missing:
            self.mistakes.key(path, f"rule {rule} is new and says no {' and no '.join(missing)}")
        if len(self.mistakes.found) > before:
            return
        if {"needs", "expires", "clears"} & table.keys():
            fields = {"needs": "", "expires": 0.0} | {name: value for name, value in fields.items() if name != "clears"}
        fields |= {"origin": self._origin} if self._origin else {}
        made = replace(old, **fields) if old is not None else Rule(id=rule, **({"source": source} | fields))
        if wrong := contradiction(made):
            self.mistakes.key(path, f"rule {rule} {wrong}")
        self.rules[rule] = made

    def _line(self, name: str, table: Mapping[str, Any]) -> None:
        before, old, path = len(self.mistakes.found), self.lines.get(name), (LINES, name)
        fields = read_table(LINE_FIELDS, path, table, self.mistakes, f"line {name}")
        if missing := [field for field in _NEW_LINE if old is None and field not in table]:
            self.mistakes.key(path, f"line {name} is new and says no {' and no '.join(missing)}")
        if len(self.mistakes.found) > before:
            return
        fields |= {"origin": self._origin} if self._origin else {}
        made = replace(old, **fields) if old is not None else Line(**({"id": name, "table": KMSG, "code": name} | fields))
        for group in braces(made.code):
            if group not in made.pattern.groupindex:
                named = ", ".join(made.pattern.groupindex) or "none"
                self.mistakes.value((*path, "code"), f"code asks for {{{group}}}, and the pattern has no such group; it has {named}")
        self.lines[name] = made


def contradiction(rule: Rule) -> str:
    """What of a rule does not go together; empty where all does."""
    counts = rule.verdict in (Class.HEALTHY, Class.APPLICATION) and (rule.escalate is None or rule.escalate.verdict is Class.APPLICATION)
    match rule.match:
        case GrowthMatch(within=0.0) if rule.clears and not counts:
            return "is about growth, which is over when it is seen: say `expires` or `needs`, or a rate by `within`"
        case CodeMatch() if (rule.lasting or rule.hold) and not counts:
            return "is about something said once, so it neither lasts nor is held: say `expires` or `needs`"
        case GrowthMatch(within=within) if within and rule.escalate is not None:
            return "is a rate and escalates too: write a second rule with the higher rate"
        case GrowthMatch() if rule.escalate is not None and rule.clears:
            return "escalates, so it has to remember: say `expires` or `needs`"
    if rule.per and not isinstance(rule.match, CodeMatch):
        return "says `per`, which is about something said once: a state or counter has parts of its own"
    if rule.escalate is not None and rule.escalate.verdict.rank < rule.verdict.rank:
        return f"escalates from {rule.verdict} to {rule.escalate.verdict}, which is less"
    return ""


def _check_ends(rules: Rules, mistakes: Mistakes) -> None:
    cancelled = {name for rule in rules for name in rule.cancels}
    for rule in rules:
        path = tuple(rule.id.split("."))
        for name in rule.cancels:
            if name not in rules.rules:
                mistakes.value((*path, "cancels"), f"rule {rule.id} cancels {name}, which is no rule{close_to(name, rules.rules)}")
        said_once = isinstance(rule.match, CodeMatch) and rule.clears
        if said_once and (rule.verdict.rank or rule.escalate is not None) and rule.id not in cancelled:
            why = "is about something said once and would never end: say `expires` or `needs`, or let another rule cancel it"
            mistakes.key(path, f"rule {rule.id} {why}")


def _check_lines(rules: Rules, mistakes: Mistakes) -> None:
    """A line whose code no rule knows would be read for nothing."""
    for line in rules.lines.values():
        known = {code for rule in rules.of_table(line.table) if isinstance(rule.match, CodeMatch) for code in rule.match.codes}
        known |= set(NEEDS) if line.table == LIFE else set()
        if not known or not (known & {line.code, ANY} or braces(line.code)):
            match = f'match = {{ table = "{line.table}", code = "{line.code}" }}'
            mistakes.key((LINES, line.id), f"line {line.id} is {line.table} {line.code}, which no rule knows: write one with {match}")
