"""Label and field selectors: `a=b,c!=d,e in (f,g),!h` → a predicate over an object. Pure; syntax and sentences are upstream's."""

import re
from collections.abc import Callable
from typing import Any

from podvitals.lab.api.kinds import PODS, Kind
from podvitals.lab.api.refusal import Refusal

Predicate = Callable[[dict[str, Any]], bool]
Requirement = Callable[[dict[str, str]], bool]

TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
WORD = re.compile(r"[^\s=!(),<>]+")
OPERATORS = ("in", "notin", "=", "==", "!=", ">", "<")
FIELD = re.compile(r"^\s*(?P<key>[^\s=!,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s=!,()]*)\s*$")


def everything(_: dict[str, Any]) -> bool:
    return True


class _Labels:
    """The parser of a label selector; "" is the token after the last."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*TOKEN.findall(text), ""]
        self._at = 0

    @property
    def _next(self) -> str:
        return self._tokens[self._at]

    def _take(self) -> str:
        token = self._next
        self._at += bool(token)
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        if self._next and self._next != "!" and not WORD.fullmatch(self._next):
            raise Refusal(400, _unexpected(self._next, "!, identifier, or 'end of string'"))
        while self._next:
            found.append(self._requirement())
            separator = self._take()
            if not separator:
                break
            if separator != ",":
                raise Refusal(400, _unexpected(separator, "',' or 'end of string'"))
            if self._next != "!" and not WORD.fullmatch(self._next):
                raise Refusal(400, _unexpected(self._next, "identifier after ','"))
        return found

    def _requirement(self) -> Requirement:
        absent = self._next == "!"
        if absent:
            self._take()
        key = self._word()
        if absent or self._next in ("", ","):
            return lambda labels: (key in labels) is not absent
        operator = self._take()
        if operator not in OPERATORS:
            raise _unparsed(_unexpected(operator, "in, notin, =, ==, !=, gt, lt"))
        if operator in ("in", "notin"):
            return _among(key, self._values(), operator == "in")
        value = "" if self._next in ("", ",") else self._word()
        return _compares(key, operator, value) if operator in "<>" else _among(key, {value}, operator != "!=")

    def _word(self) -> str:
        if not WORD.fullmatch(self._next):
            raise _unparsed(_unexpected(self._next, "identifier"))
        return self._take()

    def _values(self) -> set[str]:
        if (opening := self._take()) != "(":
            raise _unparsed(f"found '{opening}' expected: '('")
        values: set[str] = set()
        while True:
            values.add("" if self._next in (",", ")") else self._word())
            match self._take():
                case ")":
                    return values
                case ",":
                    continue
                case other:
                    raise _unparsed(_unexpected(other, "',' or ')'"))


def _unexpected(found: str, expected: str) -> str:
    return f"found '{found}', expected: {expected}"


def _unparsed(why: str) -> Refusal:
    """Within a requirement, upstream says so first."""
    return Refusal(400, f"unable to parse requirement: {why}")


def _among(key: str, values: set[str], wanted: bool) -> Requirement:
    return lambda labels: (key in labels and labels[key] in values) is wanted


def _compares(key: str, operator: str, value: str) -> Requirement:
    try:
        limit = int(value)
    except ValueError:
        raise Refusal(400, f"for 'Gt', 'Lt' operators, the value must be an integer, not {value!r}") from None

    def compares(labels: dict[str, str]) -> bool:
        try:
            found = int(labels[key])
        except (KeyError, ValueError):
            return False
        return found > limit if operator == ">" else found < limit

    return compares


def labels(text: str) -> Predicate:
    """The predicate of a `labelSelector`; Refusal 400 where it does not parse."""
    requirements = _Labels(text).requirements()
    if not requirements:
        return everything

    def matches(data: dict[str, Any]) -> bool:
        found = data["metadata"].get("labels") or {}
        return all(requirement(found) for requirement in requirements)

    return matches


def fields(kind: Kind, text: str) -> Predicate:
    """The predicate of a `fieldSelector`; Refusal 400 for a field this kind cannot be selected by."""
    known = {"metadata.name", *(["metadata.namespace"] if kind.namespaced else []), *kind.selectable}
    terms: list[tuple[str, str, bool]] = []
    for part in text.split(","):
        if not part.strip():
            continue
        found = FIELD.match(part)
        if not found:
            raise Refusal(400, f"invalid selector: '{text}'; can't understand '{part}'")
        if found["key"] not in known:
            raise Refusal(400, f"field label not supported: {found['key']}")
        terms.append((found["key"], found["value"], found["op"] != "!="))
    if not terms:
        return everything
    return lambda data: all((value_at(kind, data, path) == value) is equal for path, value, equal in terms)


def value_at(kind: Kind, data: dict[str, Any], path: str) -> str:
    """The value a field selector compares, as upstream's typed objects show it: "" where absent, "false" for an absent bool."""
    if path == "source" and kind.kind == "Event":
        return str((data.get("source") or {}).get("component") or data.get("reportingComponent") or "")
    value: Any = data
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if value is None and path in ("spec.unschedulable", "spec.hostNetwork"):
        return "false"
    if value is None and path == "spec.restartPolicy" and kind is PODS:
        return "Always"
    return str(value).lower() if isinstance(value, bool) else str(value or "")


def both(first: Predicate, second: Predicate) -> Predicate:
    if first is everything:
        return second
    if second is everything:
        return first
    return lambda data: first(data) and second(data)
