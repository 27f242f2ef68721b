"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902). Pure; both change the document they are given."""

from collections.abc import Mapping
from typing import Any

from podvitals.lab.api.refusal import Refusal

REJECTED = "the server rejected our request due to an error in our request"


def merge(document: Any, patch: Any) -> Any:
    """RFC 7386: null deletes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = document if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def apply(document: Any, operations: Any) -> Any:
    """RFC 6902. Refusal 400 for what is no patch, 422 for a path that is missing and a test that fails, as upstream."""
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise Refusal(400, "error decoding patch: a JSON patch is a list of operations")
    for operation in operations:
        document = _apply_one(document, operation)
    return document


def _apply_one(document: Any, operation: Mapping[str, Any]) -> Any:
    path = _pointer(operation.get("path"))
    match operation.get("op"):
        case "add":
            return _add(document, path, _copy(operation.get("value")))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            _get(document, path)
            return _add(_remove(document, path)[0], path, _copy(operation.get("value"))) if path else _copy(operation.get("value"))
        case "move":
            document, value = _remove(document, _pointer(operation.get("from")))
            return _add(document, path, value)
        case "copy":
            return _add(document, path, _copy(_get(document, _pointer(operation.get("from")))))
        case "test":
            if _get(document, path, missing=None) != operation.get("value"):
                raise _rejected(f"testing value {operation.get('path')} failed: test failed")
            return document
        case other:
            raise Refusal(400, f"error decoding patch: unexpected kind of operation: {other!r}")


def _rejected(why: str) -> Refusal:
    details = {"causes": [{"reason": "UnexpectedServerResponse", "message": why}]}
    return Refusal(422, f"{REJECTED}: {why}", details=details)


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise Refusal(400, f"error decoding patch: {text!r} is no JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(part) for key, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, list) else value


_MISSING = object()


def _get(document: Any, path: list[str], *, missing: Any = _MISSING) -> Any:
    value = document
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif missing is not _MISSING:
            return missing
        else:
            raise _rejected(f"path /{'/'.join(path)} does not exist")
    return value


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and last == "-":
        parent.append(value)
    elif isinstance(parent, list) and last.isdigit() and int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise _rejected(f"add operation does not apply: /{'/'.join(path)}: no such place")
    return document


def _remove(document: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        raise _rejected("remove operation does not apply to the whole document")
    value = _get(document, path)
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.pop(int(last))
    else:
        del parent[last]
    return document, value
