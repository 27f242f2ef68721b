"""The fields of a rule as they are written, each with what checks and reads it. Pure."""

import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from podvitals.detect.detector import ACTIONS
from podvitals.detect.rules.rule import NEEDS, WORST, Class, CodeMatch, Escalation, GrowthMatch, LevelMatch, Match, StateMatch

Path = tuple[str, ...]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Mistake:
    path: Path
    why: str
    of_key: bool


@dataclass(slots=True)
class Mistakes:
    found: list[Mistake] = field(default_factory=list)

    def key(self, path: Path, why: str) -> None:
        self.found.append(Mistake(path, why, True))

    def value(self, path: Path, why: str) -> None:
        self.found.append(Mistake(path, why, False))


class Wrong(Exception):
    """A value is wrong; the text says how."""


@dataclass(frozen=True, slots=True)
class Field:
    """`name`: of the attribute it becomes."""

    name: str
    read: Callable[[Any], Any]


def read_table(fields: Mapping[str, Field], path: Path, table: Mapping[str, Any], mistakes: Mistakes, whose: str) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in table.items():
        if name not in fields:
            mistakes.key((*path, name), f"{whose} has no field {name!r}{nearest(name, fields)}")
            continue
        try:
            read[fields[name].name] = fields[name].read(value)
        except Wrong as wrong:
            mistakes.value((*path, name), f"{name} {wrong}")
    given = [name for name in ("clears", "needs", "expires") if name in table and table[name] is not False]
    if len(given) > 1:
        mistakes.key((*path, given[1]), f"{whose} says {' and '.join(given)}: it ends in one way only")
    return read


def close_to(word: str, words: Iterable[str]) -> str:
    close = get_close_matches(word, list(words), 1)
    return f": did you mean {close[0]!r}?" if close else ""


def nearest(word: str, words: Iterable[str]) -> str:
    """The word that may have been meant; all there are where none is like it."""
    return close_to(word, words) or f"; it has {', '.join(words)}"


def seconds(value: Any) -> float:
    """ "30s", "10min", "24h", "7d"."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None or not (length := float(found[1]) * _SECONDS[found[2]]):
        raise Wrong(f"{_shown(value)} is not a time such as '30s', '10min' or '24h'")
    return length


def _shown(value: Any) -> str:
    return repr(value)[:60]


def _part(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    """A field of a field: what is wrong with it is said with its name."""
    try:
        return read(value)
    except Wrong as wrong:
        raise Wrong(f"{name} {wrong}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"{_shown(value)} is not a text")
    return value


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value in words:
            return str(value)
        raise Wrong(f"{_shown(value)} is none of {', '.join(word or repr('') for word in words)}{close_to(str(value), words)}")

    return read


def _class(value: Any) -> Class:
    return Class(_one_of(tuple(map(str, Class)))(value))


def _texts(value: Any) -> tuple[str, ...]:
    """One text, or several; numbers are taken for what they read like."""
    values = value if isinstance(value, list) else [value]
    if not values or any(isinstance(one, bool) or not isinstance(one, str | int) for one in values):
        raise Wrong(f"{_shown(value)} is neither a text nor a list of texts")
    return tuple(str(one) for one in values)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Wrong(f"{_shown(value)} is not a whole number of at least 1")
    return value


def _true(value: Any) -> bool:
    if value is not True:
        raise Wrong(f"{_shown(value)} is not true")
    return True


def braces(text: str) -> list[str]:
    """The names in braces, which are filled in."""
    try:
        names = [name or "" for _, name, form, conversion in string.Formatter().parse(text) if name is not None or form or conversion]
    except ValueError as error:
        raise Wrong(f"{_shown(text)}: {error}") from None
    for name in names:
        if not re.fullmatch(r"\w+", name):
            raise Wrong(f"{_shown(text)}: {{{name}}} is not a name in braces")
    return names


def template(value: Any) -> str:
    """`Xid {code}[ (PCI {pci})]`: braces are filled in, brackets are left out where a field in them is not known."""
    text = _text(value)
    braces(text)
    if not re.fullmatch(r"[^\[\]]*(\[[^\[\]]*\][^\[\]]*)*", text):
        raise Wrong(f"{_shown(value)}: brackets must be paired, and not stand in one another")
    if not text.strip():
        raise Wrong("is empty: say what a person should read")
    return text


def _words(value: Any) -> str:
    text = _text(value)
    if not text.strip():
        raise Wrong("is empty")
    return text


def _code(value: Any) -> str:
    text = _words(value)
    braces(text)
    return text


def _pattern(value: Any) -> re.Pattern[str]:
    try:
        return re.compile(_words(value))
    except re.error as error:
        raise Wrong(f"is no regular expression: {error}") from None


_MATCHES: Mapping[str, tuple[str, ...]] = {
    "table": ("code", "where"),
    "counter": ("grew", "within"),
    "state": ("is", "is_not", "became"),
    "level": ("above", "below", "at_least"),
}


def match_of(value: Any) -> Match:
    kinds = [kind for kind in _MATCHES if isinstance(value, dict) and kind in value]
    if len(kinds) != 1:
        raise Wrong(f"must be about one of {', '.join(_MATCHES)}, such as {{ table = 'xid', code = '79' }}")
    kind = kinds[0]
    for name in value:
        if name != kind and name not in _MATCHES[kind]:
            raise Wrong(f"about a {kind} has no {name!r}{nearest(name, _MATCHES[kind])}")
    what = _text(value[kind])
    match kind:
        case "table":
            where = value.get("where", {})
            if "code" not in value or not isinstance(where, dict):
                raise Wrong("about a table needs `code`, and `where` is a table: { severity = 'Fatal' }")
            details = tuple((name, _part(name, _texts, values)) for name, values in where.items())
            return CodeMatch(what, _part("code", _texts, value["code"]), details)
        case "counter":
            within = _part("within", seconds, value["within"]) if "within" in value else 0.0
            return GrowthMatch(what, _part("grew", _whole, value.get("grew", 1)), within)
        case "state":
            return _state(what, value)
        case _:
            return _level(what, value)


def _state(what: str, value: Mapping[str, Any]) -> StateMatch:
    how = [name for name in ("is", "is_not", "became") if name in value]
    if len(how) != 1:
        raise Wrong("about a state needs one of is, is_not, became")
    return StateMatch(what, _part(how[0], _texts, value[how[0]]), differs=how[0] == "is_not", became=how[0] == "became")


def _level(what: str, value: Mapping[str, Any]) -> LevelMatch:
    how = [name for name in ("above", "below", "at_least") if name in value]
    than = value[how[0]] if how else None
    if len(how) != 1 or isinstance(than, bool) or not isinstance(than, str | int | float):
        raise Wrong("about a level needs one of above, below, at_least: a number, or the name of another level")
    return LevelMatch(what, than if isinstance(than, str) else float(than), above=how[0] != "below", or_equal=how[0] == "at_least")


def _escalation(value: Any) -> Escalation:
    fields: Mapping[str, Callable[[Any], Any]] = {
        "at": _whole,
        "within": seconds,
        "class": _class,
        "action": _one_of(ACTIONS),
        "message": template,
    }
    if not isinstance(value, dict) or not {"at", "within", "class"} <= value.keys():
        raise Wrong("needs at, within and class: { at = 5, within = '24h', class = 'degraded' }")
    for name in value:
        if name not in fields:
            raise Wrong(f"has no {name!r}{nearest(name, fields)}")
    read: dict[str, Any] = {}
    for name, one in value.items():
        read["verdict" if name == "class" else name] = _part(name, fields[name], one)
    return Escalation(**read)


def _changes(value: Any) -> int:
    changes = _whole(value)
    if changes <= WORST:
        raise Wrong(f"{changes} is too few: there must be more than {WORST}, all the way down and one back")
    return changes


DAMPING_FIELDS: Mapping[str, Field] = {
    "changes": Field("changes", _changes),
    "window": Field("window", seconds),
    "hold": Field("hold", seconds),
}

RULE_FIELDS: Mapping[str, Field] = {
    "match": Field("match", match_of),
    "class": Field("verdict", _class),
    "action": Field("action", _one_of(ACTIONS)),
    "message": Field("message", template),
    "clears": Field("clears", _true),
    "needs": Field("needs", _one_of(NEEDS)),
    "expires": Field("expires", seconds),
    "cancels": Field("cancels", _texts),
    "escalate": Field("escalate", _escalation),
    "lasting": Field("lasting", seconds),
    "hold": Field("hold", seconds),
    "fresh": Field("fresh", seconds),
    "yields_to": Field("yields_to", _text),
    "per": Field("per", _text),
    "source": Field("source", _text),
    "note": Field("note", _text),
}

LINE_FIELDS: Mapping[str, Field] = {
    "has": Field("has", _words),
    "pattern": Field("pattern", _pattern),
    "table": Field("table", _words),
    "code": Field("code", _code),
}
