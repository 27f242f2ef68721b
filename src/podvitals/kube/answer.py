"""What an API server answered, turned into objects or into an error that says what to do. Pure."""

from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec

from podvitals.claim.meta import ObjectMeta, Record
from podvitals.device.text import clean
from podvitals.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerFault,
    TooManyRequests,
    Unauthorized,
)
from podvitals.kube.resources import Resource

T = TypeVar("T")

LONGEST_ASKED = 60.0
"""Seconds of a Retry-After that are kept: a proxy's maintenance page of an hour must not silence a node for one."""


class StatusDetails(Record, frozen=True, kw_only=True):
    retry_after_seconds: int = 0


class Status(Record, frozen=True, kw_only=True):
    """meta/v1 Status: how the API says no."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


class ListMeta(Record, frozen=True, kw_only=True):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, Generic[T], frozen=True):
    items: list[T] = []
    metadata: ListMeta = ListMeta()


class RawEvent(msgspec.Struct, frozen=True, gc=False):
    """A line of a watch; the object is decoded once its type is known."""

    type: str
    object: msgspec.Raw


class OnlyMeta(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()


@lru_cache(maxsize=256)
def _decoder(struct: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(struct)


def decode(raw: bytes | msgspec.Raw, struct: Any) -> Any:
    """An object from its JSON. Go writes an unset list as null: where a field cannot be null, that means it is not there."""
    try:
        return _decoder(struct).decode(raw)
    except msgspec.DecodeError:
        pass  # once more, slowly
    try:
        return msgspec.convert(_without_nulls(msgspec.json.decode(raw)), struct)
    except msgspec.ValidationError as error:
        raise ServerFault(f"the Kubernetes API answered an object of an unexpected shape: {error}", reason="Unreadable") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ServerFault(
            f"the Kubernetes API answered something that is not JSON ({error}): {_quote(bytes(raw))!r}", reason="Unreadable"
        ) from None


def page(raw: bytes, resource: Resource[T]) -> Page[T]:
    decoded: Page[T] = decode(raw, Page[resource.struct])  # type: ignore[name-defined]
    return decoded


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def failure(status: int, body: bytes, did: str, asked: float = 0.0) -> ApiError:
    """The error for an answer with HTTP status `status`. `did` says what was asked, such as `get pods "a" in namespace "b"`;
    `asked` for how many seconds the answer's headers want to be left alone."""
    said = _status(body)
    reason = said.reason
    told = said.message or _quote(body) or f"HTTP status {status}"
    seconds = asked or min(LONGEST_ASKED, max(0.0, float(said.details.retry_after_seconds if said.details else 0)))
    if status == 401:
        told = "it does not accept the credentials (401 Unauthorized): check the user of the kubeconfig context, or log in again"
        return Unauthorized(f"cannot {did}: the Kubernetes API says that {told}", status=status, reason=reason or "Unauthorized")
    if 300 <= status < 400 and not said.message:
        told = f"the server sends us elsewhere (HTTP status {status}): is the kubeconfig's server the API itself, and not a login page?"
    if status == 429:
        return TooManyRequests(f"cannot {did} now: {told}", status=status, reason=reason or "TooManyRequests", retry_after=seconds or 1.0)
    if status >= 500:
        return ServerFault(f"cannot {did}: {told}", status=status, reason=reason, retry_after=seconds)
    kinds: dict[int, type[ApiError]] = {403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone, 400: Invalid, 422: Invalid}
    return kinds.get(status, ApiError)(f"cannot {did}: {told}", status=status, reason=reason)


def _quote(body: bytes) -> str:
    """The beginning of an answer that is none of Kubernetes', on one line."""
    return clean(" ".join(body[:200].decode(errors="replace").split()))


def _status(body: bytes) -> Status:
    try:
        said = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Status()
    return said


def retry_after(header: str | None, date: str | None) -> float:
    """Seconds from an answer's Retry-After: a number, or a time to be read by the Date of the same answer. 0.0: nothing sensible."""
    if not header:
        return 0.0
    if header.isdecimal():
        return min(LONGEST_ASKED, float(header))
    try:
        return min(LONGEST_ASKED, max(0.0, (parsedate_to_datetime(header) - parsedate_to_datetime(date or "")).total_seconds()))
    except (ValueError, TypeError, OverflowError):
        return 0.0
