"""Strategic merge patch, as apimachinery's strategicpatch applies it, element order included. Pure.

Lists are merged by the key the schema names (conditions by type, containers by name), else replaced. Directives: `$patch:
replace|delete`, `$retainKeys`, `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`. The order rule surprises: elements only
the patch names come first.
"""

from typing import Any

from podvitals.lab.api.refusal import Refusal
from podvitals.lab.api.schema import Body, Field, Shape, fields

PATCH = "$patch"
RETAIN = "$retainKeys"
ORDER = "$setElementOrder/"
DELETE = "$deleteFromPrimitiveList/"

_OPAQUE = Field(Shape("any"))


def apply(definition: str, original: Body, patch: Body) -> Body:
    """`original` with `patch` merged in; both are used up. Refusal 400 for a patch that means nothing."""
    return _merge(Shape("struct", definition), original, patch)


def _field(shape: Shape, name: str) -> Field:
    if shape.kind == "struct":
        return fields(shape.name).get(name, _OPAQUE)
    return Field(shape.item) if shape.kind == "map" and shape.item else _OPAQUE


def _merge(shape: Shape, original: Body, patch: Body) -> Body:
    if PATCH in patch:
        return _replaced(patch)
    _retain(original, patch)
    for name in [name for name in patch if name.startswith(ORDER)]:
        _ordered(_field(shape, name.removeprefix(ORDER)), original, patch, name)
    for name, value in patch.items():
        if name.startswith(DELETE):
            _delete_scalars(original, name.removeprefix(DELETE), value)
        elif value is None:
            original.pop(name, None)
        else:
            _merge_field(_field(shape, name), original, name, value)
    return original


def _replaced(patch: Body) -> Body:
    directive = patch.pop(PATCH)
    if directive not in ("replace", "delete"):
        raise Refusal(400, f"unknown patch type: {directive!r}: $patch is replace or delete")
    return patch if directive == "replace" else {}


def _retain(original: Body, patch: Body) -> None:
    keep = patch.pop(RETAIN, None)
    if keep is None:
        return
    named = {name for name, value in patch.items() if value is not None and not name.startswith((DELETE, ORDER))}
    if not isinstance(keep, list) or not named <= set(keep):
        raise Refusal(400, "invalid patch format of retainKeys: it must list every field the patch sets")
    for name in [name for name in original if name not in keep]:
        del original[name]


def _merge_field(field: Field, original: Body, name: str, value: Any) -> None:
    present = original.get(name)
    if isinstance(value, dict) and isinstance(present, dict):
        original[name] = _merge(field.shape, present, value)
    elif isinstance(value, list) and isinstance(present, list) and (field.merge_key or field.merge):
        original[name] = _merge_list(field, present, value)
    else:
        kept = _stripped(value)
        if kept is _NOTHING:
            original.pop(name, None)
        else:
            original[name] = kept


_NOTHING = object()


def _stripped(value: Any) -> Any:
    """A value that is new: without directives and nulls. `_NOTHING` for an object that is only a directive."""
    if isinstance(value, dict):
        if PATCH in value:
            return _NOTHING
        parts = {name: _stripped(part) for name, part in value.items() if part is not None and not name.startswith((ORDER, DELETE))}
        return {name: part for name, part in parts.items() if part is not _NOTHING and name != RETAIN}
    if isinstance(value, list):
        return [part for part in map(_stripped, value) if part is not _NOTHING]
    return value


def _delete_scalars(original: Body, name: str, values: Any) -> None:
    if isinstance(original.get(name), list) and isinstance(values, list):
        original[name] = [value for value in original[name] if value not in values]


def _identity(key: str, element: Any) -> Any:
    if not key:
        return element
    if not isinstance(element, dict) or key not in element:
        raise Refusal(400, f"map: {element} does not contain declared merge key: {key}")
    return element[key]


def _merge_list(field: Field, original: list[Any], patch: list[Any]) -> list[Any]:
    before, key = original, field.merge_key
    if key:
        original, patch = _special(key, original, patch)
        before, merged = original, _merge_elements(field, original, patch)
    else:
        merged = list(dict.fromkeys([*original, *patch]))
    return _sorted(key, merged, [_identity(key, element) for element in patch], before)


def _special(key: str, original: list[Any], patch: list[Any]) -> tuple[list[Any], list[Any]]:
    """`$patch` among the elements: delete takes those with the same key away, replace makes the patch the whole list."""
    plain: list[Any] = []
    replace = False
    for element in patch:
        directive = element.get(PATCH) if isinstance(element, dict) else None
        if directive is None:
            plain.append(element)
        elif directive == "delete":
            gone = _identity(key, element)
            original = [kept for kept in original if _identity(key, kept) != gone]
        elif directive == "replace":
            replace = True
        else:
            raise Refusal(400, f"unknown patch type: {directive!r} in a list merged by {key}")
    return ([], plain) if replace else (original, plain)


def _merge_elements(field: Field, original: list[Any], patch: list[Any]) -> list[Any]:
    key, merged = field.merge_key, list(original)
    for element in patch:
        wanted = _identity(key, element)
        at = next((at for at, known in enumerate(merged) if _identity(key, known) == wanted), None)
        if at is None:
            merged.append(_stripped(element))
        else:
            merged[at] = _merge(field.shape.item or _OPAQUE.shape, merged[at], element)
    return merged


def _ordered(field: Field, original: Body, patch: Body, directive: str) -> None:
    """`$setElementOrder/<list>`: merges the list it names and gives it the wanted order."""
    name, order = directive.removeprefix(ORDER), patch.pop(directive)
    if not isinstance(order, list):
        raise Refusal(400, f"invalid patch format of setElementOrder list: {directive} is no list")
    present, wanted = original.get(name), patch.pop(name, None)
    key = field.merge_key
    places = [_identity(key, element) for element in order]
    if wanted is not None:
        listed = [_identity(key, element) for element in wanted if not (isinstance(element, dict) and PATCH in element)]
        if any(element not in places for element in listed):
            raise Refusal(400, f"the order in patch list {name} doesn't match its setElementOrder list: an element is missing there")
    if present is None and wanted is None:
        return
    if present is None:
        merged = _stripped(wanted)
    elif wanted is None:
        merged = present
    else:
        merged = _merge_list(field, present, wanted) if key or field.merge else wanted
    original[name] = _sorted(key, merged, places, present or [])


def _sorted(key: str, merged: list[Any], places: list[Any], before: list[Any]) -> list[Any]:
    """What the patch names in its order, the rest in theirs; where both knew an element its old place decides, else the patch's first."""
    named = sorted((element for element in merged if _identity(key, element) in places), key=lambda e: places.index(_identity(key, e)))
    old = [_identity(key, element) for element in before]
    own = [element for element in merged if _identity(key, element) not in places]
    result: list[Any] = []
    while named and own:
        left, right = _identity(key, own[0]), _identity(key, named[0])
        own_first = left in old and right in old and old.index(left) < old.index(right)
        result.append(own.pop(0) if own_first else named.pop(0))
    return [*result, *own, *named]
