"""A call passed on as bytes: what a stand-in for a driver takes from the kubelet and gives to the driver, and back. Imports no gRPC.

Nothing in it is read, so that fields, methods and versions that are not known here pass as well (ARCHITECTURE, rule 12).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from podvitals.errors import PluginError

Pairs = tuple[tuple[str, str], ...]

_OURS = frozenset(("te", "content-type", "user-agent", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "connection"))


@dataclass(frozen=True, slots=True)
class RawCall:
    """One unary call. `method`: its path; `timeout`: seconds its caller still waits, None: for ever; `metadata`: the caller's own."""

    method: str
    request: bytes
    timeout: float | None = None
    metadata: Pairs = ()


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """`message` is None where the call failed. `trailers`: `grpc-status`, `grpc-message` and whatever else came, still encoded."""

    message: bytes | None
    trailers: Pairs


_OF_RESET = {8: (1, "CANCEL"), 11: (8, "ENHANCE_YOUR_CALM"), 12: (7, "INADEQUATE_SECURITY")}


def answer_of_reset(code: int | None) -> RawAnswer | None:
    """What gRPC takes a call for that its server ended with this code of HTTP/2; None where it was not begun (REFUSED_STREAM)."""
    if code is None or code == 7:
        return None
    status, name = _OF_RESET.get(code, (13, str(code)))
    return RawAnswer(None, (("grpc-status", str(status)), ("grpc-message", f"the driver reset the call (HTTP/2 error {name})")))


Outcome = RawAnswer | PluginError | None
"""How a call that was begun ended: with its answer, with an error that is its answer, or with neither."""


class PassHandler(Protocol):
    def begin(self, call: RawCall, done: Callable[[Outcome], None]) -> Callable[[], None] | None:
        """Makes the call at once, without a task, where nothing has to be waited for; returns what gives it up. None where `pass_on` is
        needed, as it is when `done` is told None. `done` is not called before this returns."""

    async def pass_on(self, call: RawCall) -> RawAnswer: ...


def own_metadata(headers: Pairs) -> Pairs:
    """Of a request's headers those that are its caller's, not HTTP/2's or gRPC's; a name may come twice."""
    return tuple(pair for pair in headers if not pair[0].startswith(":") and pair[0] not in _OURS)


_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def timeout_of(text: str | None) -> float | None:
    """Seconds of a `grpc-timeout` header ("45S", "1500m"); None where there is none, or none that gRPC knows."""
    if not text or text[-1] not in _UNITS or not (text[:-1].isascii() and text[:-1].isdecimal()) or len(text) > 9:
        return None
    return int(text[:-1]) * _UNITS[text[-1]]


def timeout_text(seconds: float) -> str:
    """As a `grpc-timeout` header, which has eight digits: never longer than it is, and never none."""
    milliseconds = max(1, int(seconds * 1000))
    return f"{milliseconds}m" if milliseconds < 10**8 else f"{min(int(seconds), 10**8 - 1)}S"
