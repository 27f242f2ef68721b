"""Refuted agents and readers: each breaks one promise, and `make crash` must find each (TWIN=name). They test the test."""

from collections.abc import Callable, Mapping
from typing import Any

VARIABLE = "PODVITALS_CRASH_TWIN"


def _replace(owner: Any, name: str, value: Any) -> Any:
    """What was there before. SystemExit where there is nothing of that name: the twin would be no twin."""
    if not hasattr(owner, name):
        raise SystemExit(f"tests/crash/twins.py replaces {name} of {owner}, which is not there any more: say where it went")
    before = getattr(owner, name)
    setattr(owner, name, value)
    return before


def _caches_health() -> None:
    """What a device was first heard to be, it stays."""
    from podvitals.node.watch import NodeWatch

    first = dict[Any, Any]()

    def state(self: Any, key: Any) -> Any:
        now = asked(self, key)
        return first.setdefault(key, now) if now.since else now

    asked = _replace(NodeWatch, "state", state)


def _lets_leases_run_on() -> None:
    """Nothing ends by time: a lease is looked at when the next report comes."""
    from podvitals.node.ledger import Ledger

    _replace(Ledger, "expire", lambda self, now, wall: frozenset())
    _replace(Ledger, "next_deadline", lambda self: None)


def _forgets() -> None:
    """Begins anew each time: no checkpoint, no memory of pods, and blind to what stands on them."""
    from podvitals.agent import memory
    from podvitals.node import checkpoint
    from podvitals.node.rows import Rows
    from podvitals.pod import desk
    from podvitals.pod.entry import PodDevices

    _replace(checkpoint.Checkpoint, "_load", lambda self, now, wall: Rows())
    _replace(memory.Memory, "_load", lambda self: [])
    _replace(desk, "decode", lambda text, pod="": PodDevices(""))


def _vouches_for_what_it_cannot_tell() -> None:
    """Renews its Lease, and names nobody, although pods refuse to be told."""
    from podvitals.pod import desk

    _replace(desk, "UNTOLD_LIMIT", 1e9)


def _gives_up() -> None:
    """A write that failed is taken for one that was done."""
    from podvitals.pod import outbox

    def give_up(self: Any, uid: str, outcome: Any, now: float, **more: Any) -> None:
        done(self, uid, outbox.Outcome.SENT if outcome is not outbox.Outcome.GONE else outcome, now)

    done = _replace(outbox.Outbox, "done", give_up)
    _replace(outbox, "_kept", lambda letter, shown: True)


AGENTS: Mapping[str, Callable[[], None]] = {
    "caches-health": _caches_health,
    "lets-leases-run-on": _lets_leases_run_on,
    "forgets": _forgets,
    "vouches": _vouches_for_what_it_cannot_tell,
    "gives-up": _gives_up,
}
READERS = ("believes-the-dead",)
"""A reader without the Lease rule."""
KINDS: Mapping[str, str] = {
    "caches-health": "driver-kill",
    "lets-leases-run-on": "driver-stop",
    "forgets": "agent-kill",
    "vouches": "api-refuses-pods",
    "gives-up": "api-refuses-pods",
    "believes-the-dead": "net-hold",
}
"""The fault that brings each to light: rounds against a twin have it, for as long as it ever lasts."""
ALL = (*AGENTS, *READERS)


def become(name: str) -> None:
    """Makes this process that twin; the empty name: the agent that ships."""
    if name in AGENTS:
        AGENTS[name]()
