"""What each source last said of each device, and what follows from that for readers. Pure; the ledger's own records.

The worst source wins. All messages stay: the worst first, then in the order of the sources' names, the driver's own before others.
"""

import math
from collections.abc import Iterable

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.node.lease import Batch
from podvitals.node.record import DeviceState, SourceKey, with_change
from podvitals.node.record import Fault as Episode
from podvitals.node.rows import DeviceRow, FactKey, FactRow
from podvitals.wire.messages import DeviceReport

GONE_AFTER = 30.0
"""Seconds without any connected endpoint after which a source's devices are Unknown, whatever is left of their leases."""
RETENTION = 24 * 3600.0
"""Seconds after its end during which a verdict is kept as "last known" although its place is wanted."""


class Fact:
    """The last verdict of one source about one device. `ended`: "" while its lease runs, then the message that says so; `excuse`: that this
    is not the source's fault yet."""

    __slots__ = ("action", "batch", "checked_at", "device", "ended", "excuse", "health", "last_heard", "message", "source")

    def __init__(self, source: "Source", device: "Device") -> None:
        self.source = source
        self.device = device
        self.health = Health.UNKNOWN
        self.message = self.action = self.ended = ""
        self.checked_at = 0.0
        self.batch: Batch | None = None
        self.excuse: Excuse | None = None
        self.last_heard = -math.inf

    def heard(self) -> float:
        """When (boottime) this was last said."""
        return self.last_heard if self.batch is None else self.batch.heard

    def checked(self, at: float, wall: float) -> None:
        """`at`: Unix seconds, as its driver says; 0.0 for unknown. Nobody has looked tomorrow."""
        self.checked_at = at if 0 <= at <= wall else 0.0 if not at > 0 else wall

    def again(self, entry: DeviceReport, at: float, wall: float) -> None:
        """Of what was said at `at` (boottime) and adds nothing: where it is this verdict once more, it was heard and checked then."""
        if at >= self.heard() and (entry.health, entry.message, entry.action) == (self.health, self.message, self.action):
            self.checked(entry.checked_at, wall)
            if self.batch is None:
                self.last_heard = at

    def differs(self, entry: DeviceReport) -> bool:
        return bool(self.health is not entry.health or self.message != entry.message or self.action != entry.action or self.ended)

    def told(self) -> tuple[Health, str, str]:
        return (Health.UNKNOWN, self.ended, "") if self.ended else (self.health, self.message, self.action)

    @property
    def key(self) -> FactKey:
        return FactKey(self.source.key, self.device.key.pool, self.device.key.device)

    def left(self) -> None:
        """It is none of those any more whose lease has ended."""
        self.source.ended.pop(self, None)
        if self.excuse is not None:
            self.excuse.drop(self)

    def row(self) -> FactRow:
        lease, serial = (0.0, 0) if self.excuse is None else (self.excuse.seconds, 0)
        if self.batch is not None:
            lease, serial = self.batch.lease, self.batch.serial
        return FactRow(self.health, self.message, self.action, self.checked_at, lease, serial, self.ended)


class Excuse:
    """Facts whose leases of so many `seconds` ended while nobody here listened. By `due` their sources had as long again to speak: then it
    is their silence that tells."""

    __slots__ = ("_due", "_facts", "seconds")
    rank = 2

    def __init__(self, seconds: float, now: float, facts: Iterable[Fact] = ()) -> None:
        self.seconds, self._due = seconds, now + seconds
        self._facts: set[Fact] = set()
        for fact in facts:
            self.add(fact)

    @property
    def due(self) -> float | None:
        return self._due if self._facts else None

    def add(self, fact: Fact) -> None:
        self._facts.add(fact)
        fact.excuse = self

    def drop(self, fact: Fact) -> None:
        self._facts.discard(fact)
        fact.excuse = None

    def over(self) -> list[Fact]:
        facts = in_order(self._facts)
        for fact in facts:
            self.drop(fact)
        return facts


class Device:
    """What readers are told. `health` is None until the first verdict; `began` is when that was heard (Unix seconds), 0.0 where an earlier
    process did."""

    __slots__ = ("action", "began", "facts", "faults", "health", "key", "message", "since")

    def __init__(self, key: DeviceKey) -> None:
        self.key = key
        self.facts: list[Fact] = []
        self.health: Health | None = None
        self.message = self.action = ""
        self.since = self.began = 0.0
        self.faults: tuple[Episode, ...] = ()

    def add(self, fact: "Fact") -> None:
        self.facts.append(fact)
        self.facts.sort(key=lambda one: one.source.key)

    def told(self) -> tuple[Health, str, str]:
        if len(self.facts) == 1:
            return self.facts[0].told()
        told = sorted((fact.told() for fact in self.facts), key=lambda one: -one[0].badness)
        health = told[0][0]
        message = clean("; ".join(dict.fromkeys(text for _, text, _ in told if text)))
        return health, message, next((action for one, _, action in told if one is health and action), "")

    def settle(self, wall: float) -> bool:
        """Takes over what its sources say now; whether readers see a change."""
        before = (self.health, self.message, self.action)
        after = health, message, action = self.told()
        if after == before:
            return False
        self.faults = with_change(self.faults, self.health, health, message, action, wall)
        if self.health is None:
            self.began = wall
        if health is not self.health:
            self.since = wall
        self.health, self.message, self.action = after
        return True

    def state(self) -> DeviceState:
        deadline = min((due for fact in self.facts if (due := _due(fact)) is not None), default=None)
        checked = min((fact.checked_at for fact in self.facts), default=0.0)
        health = self.health or Health.UNKNOWN
        return DeviceState(self.key, health, self.message, self.action, self.since, checked, deadline, self.faults, self.began)

    def row(self) -> DeviceRow:
        return DeviceRow(self.health or Health.UNKNOWN, self.message, self.action, self.since, self.faults)


class Source:
    """`gone_at`: boottime since when none of its endpoints is connected, None while one is. `why` nothing newer comes: silent, unreachable,
    gone, or missed (nobody listened)."""

    __slots__ = ("ended", "facts", "generation", "gone_at", "gone_told", "heard", "heard_wall", "key", "why")
    rank = 1

    def __init__(self, key: SourceKey) -> None:
        self.key = key
        self.facts: dict[tuple[str, str], Fact] = {}
        self.ended: dict[Fact, float] = {}
        self.generation = 0
        self.gone_at: float | None = None
        self.gone_told = False
        self.why = "silent"
        self.heard: float | None = None
        self.heard_wall = 0.0

    @property
    def due(self) -> float | None:
        if self.gone_at is None:
            return None
        if not self.gone_told:
            return self.gone_at + GONE_AFTER
        # An auxiliary source that was taken away for good would hold its devices at Unknown for ever.
        return next(iter(self.ended.values())) + RETENTION if self.key.source and self.ended else None

    def reason(self, stood_still: bool) -> str:
        """Why nothing newer came. `stood_still`: this process could not have heard it."""
        if self.why == "missed":
            return "podvitals was not running"
        if stood_still:
            return "podvitals itself stood still"
        return f"{'source' if self.key.source else 'driver'} {self.why}"


def _due(fact: Fact) -> float | None:
    if fact.batch is None or fact.batch.due is None:
        return None
    gone = fact.source.gone_at
    return min(fact.batch.due, math.inf if gone is None else gone + GONE_AFTER)


def in_order(facts: Iterable[Fact]) -> list[Fact]:
    """By their names: what is done with them shall not depend on addresses in memory."""
    return sorted(facts, key=lambda fact: (fact.device.key, fact.source.key))


def end(facts: Iterable[Fact], seconds: float, *, stood_still: bool = False) -> list[Device]:
    """Says of them why nothing newer came. No time, no age: however often this is said of the same verdict, it reads the same."""
    texts: dict[tuple[SourceKey, Health, str], str] = {}
    devices = []
    for fact in facts:
        said = (fact.source.key, fact.health, fact.message)
        fact.ended = texts.get(said) or texts.setdefault(said, _ended_text(fact, seconds, stood_still))
        devices.append(fact.device)
    return devices


def _ended_text(fact: Fact, seconds: float, stood_still: bool) -> str:
    said = f"{fact.health}: {fact.message}" if fact.message else str(fact.health)
    return clean(f"nothing heard from {fact.source.key} for {seconds:g}s ({fact.source.reason(stood_still)}); last known: {said}")


def adds_nothing(fact: Fact | None, said: tuple[Health, str, str], wall: float) -> bool:
    """Of a verdict of the moment `wall` whose lease is over: only a fault goes on the record, and not where the record has it. But it ends
    another that was said before and has not ended."""
    if fact is not None and not fact.ended and said != fact.told():
        return False
    known = fact.device.faults if fact is not None else ()
    there = (one.start <= wall and (one.end is None or wall <= one.end) for one in known if (one.health, one.message, one.action) == said)
    return said[0] is not Health.UNHEALTHY or any(there)
