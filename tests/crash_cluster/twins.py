"""Refuted relays: each breaks one promise, and `make crash-cluster TWIN=name` must find each. They test the test."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tests.crash.twins import _replace

VARIABLE = "PODVITALS_CRASH_TWIN"


def _does_not_hold() -> None:
    """A call that finds nobody fails at once."""
    from podvitals.relay import calls

    _replace(calls, "HOLD", 0.0)


def _says_healthy_on_its_own() -> None:
    """What a device was is said again and again, whether its driver says so or not: no lease ends."""
    from podvitals.node.ledger import Ledger

    _replace(Ledger, "expire", lambda self, now, wall: frozenset())
    _replace(Ledger, "next_deadline", lambda self: None)


def _delivers_late() -> None:
    """A prepare that its caller gave up long ago reaches the driver after the claim was unprepared."""
    from podvitals.relay.calls import Calls

    async def pass_on(self: Any, call: Any) -> Any:
        answer = await passed(self, call)
        if call.method.endswith("/NodeUnprepareResources"):
            # Both ask the same way: a list of claims.
            await passed(self, replace(call, method=call.method.replace("NodeUnprepare", "NodePrepare")))
        return answer

    passed = _replace(Calls, "pass_on", pass_on)
    _replace(Calls, "begin", lambda self, call, done: None)  # every call by way of `pass_on`


def _tells_changes_alone() -> None:
    """A watcher is told what changes, and never the whole again: a kubelet that comes back learns nothing."""
    from podvitals.relay.herald import Herald

    def due(self: Any, changed: Any, now: float) -> Any:
        if self._told_all is None:
            self._told_all, self._again = now, False
        changed = list(changed)
        return [self._report(key) for key in sorted(changed)] if changed else None

    _replace(Herald, "due", due)
    _replace(Herald, "next_look", lambda self: 1e12)


def _gives_long_leases() -> None:
    """The kubelet is to believe what it was told for five minutes: also of a relay that hangs."""
    from podvitals.relay import herald

    _replace(herald, "LEASE", 300.0)
    _replace(herald, "OTHER_LEASE", 301.0)


RELAYS: Mapping[str, Callable[[], None]] = {
    "does-not-hold": _does_not_hold,
    "says-healthy-on-its-own": _says_healthy_on_its_own,
    "delivers-late": _delivers_late,
    "tells-changes-alone": _tells_changes_alone,
    "gives-long-leases": _gives_long_leases,
}
WITHOUT_KEEPER = "has-no-keeper"
"""The relay that ships, and nobody holds its sockets while it is away."""
KINDS: Mapping[str, str] = {
    "does-not-hold": "driver-kill",
    "says-healthy-on-its-own": "driver-stop",
    "delivers-late": "agent-kill",
    "tells-changes-alone": "kubelet-kill",
    "gives-long-leases": "relay-stop-long",
    WITHOUT_KEEPER: "relay-kill",
}
"""The fault that brings each to light: rounds against a twin have it, for as long as it ever lasts."""
ALL = tuple(KINDS)


def become(name: str) -> None:
    """Makes this process that twin; the empty name: the relay that ships."""
    if name in RELAYS:
        RELAYS[name]()
