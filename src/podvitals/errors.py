"""The errors of podvitals, one small tree, named by whose fault it is, because that decides who acts next.

    PodvitalsError
    ├── InvalidInput        what somebody wrote is wrong: a flag, a file, a manifest, a name          exit code 2
    ├── LocalError          this machine stands in the way: a socket, a directory, a right            exit code 3
    │   └── SocketTaken     a live process already listens there
    ├── ApiError            the Kubernetes API answered with a Status that is not success             exit code 4
    │   ├── Unauthorized 401 · Forbidden 403 · NotFound 404 · Conflict 409 · Gone 410
    │   ├── Invalid 422 · TooManyRequests 429 (retry_after)
    │   └── ServerFault 5xx
    ├── ApiUnreachable      no answer from the Kubernetes API                                         exit code 4
    └── PluginError         a DRA driver (or kubelet) at the other end of a Unix socket
        ├── PluginUnreachable    nobody listens, or the connection broke
        ├── PluginUnimplemented  it answers that it does not serve this (gRPC UNIMPLEMENTED)
        └── PluginProtocolError  what it said cannot be understood or is beyond the limits

Each message says what happened, to which object, and what to do. No library's exception leaves a public function.
"""

from typing import ClassVar


class PodvitalsError(Exception):
    """The root: whatever podvitals raises on purpose."""

    exit_code: ClassVar[int] = 1


class InvalidInput(PodvitalsError):
    """What somebody wrote is wrong; the message names it and says what would be right."""

    exit_code = 2


class LocalError(PodvitalsError):
    """Something on this machine prevents it: a directory that is missing, a right, a port in use."""

    exit_code = 3


class SocketTaken(LocalError):
    """Another live process listens on the socket."""


class ApiError(PodvitalsError):
    """The Kubernetes API refused.

    `status` is the HTTP status, `reason` the machine-readable `Status.reason`, `message` the server's own sentence.
    """

    exit_code = 4

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason


class Unauthorized(ApiError):
    """401: the credentials are missing, wrong or expired."""


class Forbidden(ApiError):
    """403: a permission is missing; the message says which."""


class NotFound(ApiError):
    """404: no such object."""


class Conflict(ApiError):
    """409: it exists already, or changed since it was read."""


class Gone(ApiError):
    """410: the resource version asked for is too old; list again."""


class Invalid(ApiError):
    """422 (and 400): the object was understood and refused."""


class TooManyRequests(ApiError):
    """429: try again after `retry_after` seconds."""

    def __init__(self, message: str, *, status: int = 429, reason: str = "TooManyRequests", retry_after: float = 1.0) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after = retry_after


class ServerFault(ApiError):
    """5xx: the server failed; `retry_after` seconds where it said so, else 0."""

    def __init__(self, message: str, *, status: int = 500, reason: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after = retry_after


class ApiUnreachable(PodvitalsError):
    """No answer: connection refused, reset, timed out, or a certificate that does not fit."""

    exit_code = 4


class PluginError(PodvitalsError):
    """The other end of a Unix socket failed us."""

    exit_code = 3


class PluginUnreachable(PluginError):
    """Nobody listens at the socket, or the connection broke."""


class PluginUnimplemented(PluginError):
    """The other end does not serve this method."""


class PluginProtocolError(PluginError):
    """What the other end said cannot be understood, is an error status of its own, or exceeds the limits."""
