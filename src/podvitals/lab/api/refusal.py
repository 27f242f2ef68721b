"""A refusal: what the server answers instead of an object, as the Kubernetes `Status` it becomes. Reasons and sentences are upstream's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

REASONS = {
    400: "BadRequest",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    500: "InternalError",
    501: "NotImplemented",
    504: "Timeout",
}


class Refusal(Exception):
    """Raised anywhere on the way of a request; the server turns it into an answer."""

    def __init__(self, code: int, message: str, *, reason: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or REASONS.get(code, "")
        self.details = details or {}

    def status(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details:
            body["details"] = self.details
        return body | {"code": self.code}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an object: `field` is its path; `message` begins as upstream's: "Required value", "Invalid value: …"."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


def required(field: str, why: str = "") -> Fault:
    return Fault(field, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def invalid(field: str, value: object, why: str) -> Fault:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Fault(field, f"Invalid value: {shown}: {why}")


def forbidden(field: str, why: str) -> Fault:
    return Fault(field, f"Forbidden: {why}", "FieldValueForbidden")


def unprocessable(kind: str, group: str, name: str, faults: Sequence[Fault]) -> Refusal:
    """422, upstream's sentence: `Pod "x" is invalid: spec.containers: Required value` (several in brackets)."""
    texts = [f"{fault.field}: {fault.message}" for fault in faults]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind}.{group}" if group else kind
    causes = [{"reason": fault.reason, "message": fault.message, "field": fault.field} for fault in faults]
    details = {"name": name, "group": group, "kind": kind, "causes": causes}
    return Refusal(422, f'{qualified} "{name}" is invalid: {joined}', details={key: value for key, value in details.items() if value})


def _about(plural: str, group: str, name: str) -> dict[str, Any]:
    details = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in details.items() if value}


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> Refusal:
    return Refusal(404, f'{_qualified(plural, group)} "{name}" not found', details=_about(plural, group, name))


def already_exists(plural: str, group: str, name: str) -> Refusal:
    message = f'{_qualified(plural, group)} "{name}" already exists'
    return Refusal(409, message, reason="AlreadyExists", details=_about(plural, group, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(plural: str, group: str, name: str, why: str = MODIFIED) -> Refusal:
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return Refusal(409, message, details=_about(plural, group, name))


def expired(message: str) -> Refusal:
    return Refusal(410, message, reason="Expired")


def no_such_path() -> Refusal:
    return Refusal(404, "the server could not find the requested resource", details={})
