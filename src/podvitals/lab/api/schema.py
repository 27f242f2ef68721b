"""The shape of every object the lab stores: upstream's own field names, types, required fields and patch strategies (1.37.2).

`schema.json` is made from upstream's OpenAPI by tests/lab/api/make_schema.py, so that a misspelt field, a strategic merge or `kubectl
apply` meets here what it meets on a cluster, instead of what somebody remembered.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

Body = dict[str, Any]
"""A JSON object as clients send it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One type. `kind` is "struct" (`name` is a definition), "list" or "map" (of `item`), else a scalar's name."""

    kind: str
    name: str = ""
    item: "Shape | None" = None


@dataclass(frozen=True, slots=True)
class Field:
    """`merge_key`: lists are merged by it; `merge`: lists of scalars are merged as sets; else a patch replaces the list."""

    shape: Shape
    required: bool = False
    merge_key: str = ""
    merge: bool = False
    retain_keys: bool = False


SCALARS = frozenset({"string", "int", "number", "bool", "time", "microtime", "quantity", "intorstring", "any"})
QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
"""metav1.MicroTime (leases, new events) is read with six digits only, which clients of a real API server find out the hard way."""
LAYOUTS = {"time": "2006-01-02T15:04:05Z07:00", "microtime": "2006-01-02T15:04:05.000000Z07:00"}
RAW: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("schema.json").read_text())


def shape_of(text: str) -> Shape:
    if text.startswith("[]"):
        return Shape("list", item=shape_of(text[2:]))
    if text.startswith("{}"):
        return Shape("map", item=shape_of(text[2:]))
    return Shape(text) if text in SCALARS else Shape("struct", name=text)


def _field(text: str) -> Field:
    first, *flags = text.split()
    key = next((flag[4:] for flag in flags if flag.startswith("key=")), "")
    return Field(shape_of(first.removesuffix("!")), first.endswith("!"), key, "merge" in flags, "retain" in flags)


@cache
def fields(definition: str) -> dict[str, Field]:
    """The fields of a definition by JSON name."""
    return {name: _field(text) for name, text in RAW[definition].items()}


@dataclass(frozen=True, slots=True)
class Decoded:
    """`value` without unknown fields, nulls and empty optional lists and maps, which upstream's own types drop as well."""

    value: dict[str, Any]
    unknown: tuple[str, ...]
    wrong: tuple[str, ...]


def decode(definition: str, value: dict[str, Any]) -> Decoded:
    """What upstream's decoder makes of `value`: the known part, the paths of unknown fields, and what has the wrong type."""
    unknown: list[str] = []
    wrong: list[str] = []
    known = _struct(definition, value, "", unknown, wrong)
    return Decoded(known, tuple(unknown), tuple(wrong))


def _struct(definition: str, value: dict[str, Any], path: str, unknown: list[str], wrong: list[str]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    spec = fields(definition)
    for name, part in value.items():
        here = f"{path}.{name}" if path else name
        field = spec.get(name)
        if field is None:
            unknown.append(here)
        elif part is not None:
            kept = _value(field.shape, part, here, unknown, wrong)
            if not (kept in ([], {}) and field.shape.kind in ("list", "map") and not field.required):
                known[name] = kept
    return known


def _value(shape: Shape, value: Any, path: str, unknown: list[str], wrong: list[str]) -> Any:
    match shape.kind:
        case "any":
            return value
        case "struct" if isinstance(value, dict):
            return _struct(shape.name, value, path, unknown, wrong)
        case "list" if isinstance(value, list) and shape.item:
            return [_value(shape.item, part, f"{path}[{at}]", unknown, wrong) for at, part in enumerate(value)]
        case "map" if isinstance(value, dict) and shape.item:
            return {key: _value(shape.item, part, f"{path}.{key}", unknown, wrong) for key, part in value.items() if part is not None}
        case "time" | "microtime" | "quantity" if (text := _text(shape.kind, value)) is not None:
            return text
        case "string" | "bool" | "int" | "number" | "intorstring" if _fits(shape.kind, value):
            return value
    if isinstance(value, str) and shape.kind in LAYOUTS:
        wrong.append(f'parsing time "{value}" as "{LAYOUTS[shape.kind]}": cannot parse it (field {path})')
        return value
    wrong.append(f"cannot unmarshal {_json_name(value)} into field {path} of type {_type_name(shape)}")
    return value


def _text(kind: str, value: Any) -> str | None:
    """A time or quantity as upstream's types write it back; None for what they would not read."""
    if kind == "quantity":
        text = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
        return text if isinstance(text, str) and QUANTITY.fullmatch(text) else None
    if not isinstance(value, str) or not (TIME if kind == "time" else MICRO_TIME).fullmatch(value):
        return None
    try:
        when = datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        return None
    return when.strftime("%Y-%m-%dT%H:%M:%SZ" if kind == "time" else "%Y-%m-%dT%H:%M:%S.%fZ")


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:  # number, intorstring
            return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _json_name(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    name = names.get(type(value), "null")
    return f'string "{value}"' if isinstance(value, str) else name


def _type_name(shape: Shape) -> str:
    if shape.item:
        return ("[]" if shape.kind == "list" else "map[string]") + _type_name(shape.item)
    return shape.name.rsplit(".", 1)[-1] if shape.name else shape.kind
