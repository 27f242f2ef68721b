"""Label and field selectors: `a=b,c!=d,e in (f,g),!h` → a predicate over an object. Pure; syntax and sentences are upstream's."""

import re
from collections.abc import Callable
from typing import Any

from podvitals.lab.api.kinds import PODS, Kind
from podvitals.lab.api.refusal import Refusal

Predicate = Callable[[dict[str, Any]], bool]

_SET = re.compile(r"^\s*(?P<key>[^\s=!,()]+)\s+(?P<op>in|notin)\s+\((?P<values>[^()]*)\)\s*$")
_EQUAL = re.compile(r"^\s*(?P<key>[^\s=!,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s=!,()]*)\s*$")
_COMPARE = re.compile(r"^\s*(?P<key>[^\s=!,()<>]+)\s*(?P<op><|>)\s*(?P<value>-?\d+)\s*$")
_EXISTS = re.compile(r"^\s*(?P<not>!?)\s*(?P<key>[^\s=!,()]+)\s*$")


def everything(_: dict[str, Any]) -> bool:
    return True


def _split(text: str) -> list[str]:
    """At commas outside of parentheses."""
    return [part for part in re.split(r",(?![^()]*\))", text) if part.strip()]


def _requirement(text: str) -> Callable[[dict[str, str]], bool]:
    if found := _SET.match(text):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(text):
        key, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _COMPARE.match(text):
        key, limit, above = found["key"], int(found["value"]), found["op"] == ">"
        return lambda labels: _compares(labels.get(key, ""), limit, above)
    if found := _EXISTS.match(text):
        key, absent = found["key"], bool(found["not"])
        return lambda labels: (key in labels) is not absent
    raise Refusal(400, f"unable to parse requirement: found '{text.strip()}', expected: in, notin, =, ==, !=, gt, lt, or a key")


def _compares(value: str, limit: int, above: bool) -> bool:
    try:
        return int(value) > limit if above else int(value) < limit
    except ValueError:
        return False


def labels(text: str) -> Predicate:
    """The predicate of a `labelSelector`; Refusal 400 where it does not parse."""
    requirements = [_requirement(part) for part in _split(text)]
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
        found = _EQUAL.match(part)
        if not found:
            raise Refusal(400, f"invalid field selector {part!r}: it is FIELD=VALUE, FIELD==VALUE or FIELD!=VALUE")
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
