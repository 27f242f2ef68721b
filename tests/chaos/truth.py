"""What is true of each device at each moment, from what drivers said: naive, and independent of the code under test.

A verdict counts from the moment its bytes arrived at the node side (not from when they were read), for its lease: asked seconds, 30 where
none or a negative one was asked, at least 1 s, at most a day. At its end the device is Unknown. A source none of whose endpoints is
connected for 30 s is Unknown too. Of several endpoints of a source the newest that has named a device on its present stream speaks; when
it is gone, what the next newest said last counts for devices of which nothing was heard since. Sources are merged, the worst wins. Of what
is read after its lease nothing counts but that it ends, when it is read, another verdict that was said before.

**What "reported" means when an agent dies.** A fault is reported when an agent has read the speaking endpoint's message AND what followed
from it was written to that agent's checkpoint, or landed on a pod. A verdict that an agent read, and died with in the milliseconds before
its checkpoint was written, was not reported: the driver says it again when it meets the next agent, since a stream begins with everything
that is so. Only an episode that began, was read, and ended within those milliseconds is ever lost; no node side could tell of it.
A checkpoint that is lost or damaged costs what it held, except for faults that stand on living pods when the next agent first reads them.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import SourceKey
from podvitals.node.session import Event
from tests.chaos.cast import POOL
from tests.chaos.driver import Entry, Report

GONE_AFTER = 30.0
MOST_KEPT = 8
BADNESS = {Health.HEALTHY: 0, Health.UNKNOWN: 1, Health.UNHEALTHY: 2}


def lease_of(asked: float) -> float:
    return min(max(asked, 1.0), 86400.0) if asked > 0 else 30.0


class Merged(NamedTuple):
    """`parts`: texts the message has, in this order; `action` what a person should do."""

    health: Health
    parts: tuple[str, ...] = ()
    action: str = ""


class Moment(NamedTuple):
    """From `at` on the device was this."""

    at: float
    merged: Merged


NOTHING_KNOWN = Merged(Health.UNKNOWN)


class Fact(NamedTuple):
    health: Health
    message: str
    action: str
    lease: float
    heard: float
    ended: bool = False

    def told(self) -> Merged:
        if self.ended:
            last = f"last known: {self.health}: {self.message}" if self.message else f"last known: {self.health}"
            return Merged(Health.UNKNOWN, (last,))
        return Merged(self.health, (self.message,) if self.message else (), self.action)


@dataclass
class End:
    """One endpoint as the agent knows it. `kept`: what it said while another spoke."""

    number: int
    source: SourceKey
    born: int
    connected: bool = False
    reporting: bool = False
    kept: dict[bytes, tuple[float, tuple[Entry, ...]]] = field(default_factory=dict)


Place = tuple[SourceKey, str]
Snapshot = dict[Place, Fact]


class Truth:
    def __init__(self) -> None:
        self.facts: dict[Place, Fact] = {}
        self.ends: dict[int, End] = {}
        self.gone: dict[SourceKey, float] = {}
        self.history: dict[DeviceKey, list[Moment]] = {}
        self.late: dict[DeviceKey, list[float]] = {}
        """When faults were read whose lease was over: they are on the record, beside those that were seen."""
        self.overtaken: set[tuple[DeviceKey, float]] = set()
        """Faults of an endpoint that was not asked, and when it was: what it said later may be all that is left of what it said."""
        self.changed: set[DeviceKey] = set()
        self._due = math.inf

    # --- events ----------------------------------------------------------------------------------------------------------------

    def register(self, number: int, source: SourceKey, born: int, now: float) -> None:
        self.ends[number] = End(number, source, born)
        self._link(source, now)

    def event(self, number: int, event: Event, now: float) -> None:
        end = self.ends.get(number)
        if end is None:
            return
        before = self.speaker(end.source)
        if event is Event.CONNECT:
            end.connected = True
        else:
            end.reporting = False
            end.kept.clear()
            end.connected = event is Event.STREAM_END and end.connected
            if event is Event.REMOVE:
                del self.ends[number]
        self._link(end.source, now)
        self._hand_over(before, end.source, now)

    def heard(self, number: int, report: Report, now: float, arrived: float) -> None:
        end = self.ends.get(number)
        if end is None or not end.connected or report.entries is None or (not report.entries and not end.reporting):
            return
        before = self.speaker(end.source)
        end.reporting = True
        if self.speaker(end.source) is not end:
            end.kept.pop(report.raw, None)
            end.kept[report.raw] = (arrived, report.entries)
            while len(end.kept) > MOST_KEPT:
                del end.kept[next(iter(end.kept))]
            return
        self._hand_over(before, end.source, now)
        self._take(end.source, report.entries, now, arrived)

    def restarted(self, snapshot: Snapshot | None, now: float) -> None:
        """A new agent begins with what the last one had saved."""
        self.advance(now)
        self.ends, self.gone = {}, {}
        self.facts = dict(snapshot or {})
        self._due = -math.inf
        self.advance(now)
        self.gone = {source: now for source, _ in self.facts}
        self._due = -math.inf
        for key in {*self.history, *(self._key(place) for place in self.facts)}:
            self._note(key, now)

    def advance(self, now: float) -> None:
        """Ends what is due."""
        while self._due <= now or self._due == -math.inf:
            due = min((self._due_of(place, fact) for place, fact in self.facts.items() if not fact.ended), default=math.inf)
            if due <= now:
                ended = [place for place, fact in self.facts.items() if not fact.ended and self._due_of(place, fact) <= due]
                for place in ended:
                    self.facts[place] = self.facts[place]._replace(ended=True)
                for place in ended:
                    self._note(self._key(place), max(due, self._last(self._key(place))))
            self._due = due
            if due > now:
                return

    # --- questions -------------------------------------------------------------------------------------------------------------

    def speaker(self, source: SourceKey) -> End | None:
        able = [end for end in self.ends.values() if end.source == source and end.reporting]
        return max(able, key=lambda end: (end.born, end.number), default=None)

    def snapshot(self) -> Snapshot:
        return dict(self.facts)

    def now(self, key: DeviceKey) -> Merged:
        moments = self.history.get(key)
        return moments[-1].merged if moments else NOTHING_KNOWN

    def during(self, key: DeviceKey, begin: float, end: float) -> list[Moment]:
        """What it was at some time between, oldest first."""
        moments = self.history.get(key, [])
        found: list[Moment] = []
        for moment in reversed(moments):
            if moment.at <= end:
                found.append(moment)
                if moment.at <= begin:
                    return found[::-1]
        return [Moment(-math.inf, NOTHING_KNOWN), *found[::-1]]

    def next_due(self) -> float:
        return self._due

    # --- how -------------------------------------------------------------------------------------------------------------------

    def _link(self, source: SourceKey, now: float) -> None:
        if any(end.connected for end in self.ends.values() if end.source == source):
            self.gone.pop(source, None)
        else:
            self.gone.setdefault(source, now)
        self._due = -math.inf
        self.advance(now)

    def _hand_over(self, before: End | None, source: SourceKey, now: float) -> None:
        speaker = self.speaker(source)
        if speaker is None or speaker is before:
            return
        kept, speaker.kept = speaker.kept, {}
        for arrived, entries in kept.values():
            self._take(source, entries, now, arrived, late=True)
            broken = (entry.device for entry in entries if entry.health is Health.UNHEALTHY)
            self.overtaken.update((self._key((source, device)), now) for device in broken)

    def _take(self, source: SourceKey, entries: tuple[Entry, ...], now: float, arrived: float, *, late: bool = False) -> None:
        worst: dict[str, Entry] = {}
        for entry in entries:
            other = worst.get(entry.device)
            if other is None or BADNESS[entry.health] > BADNESS[other.health]:
                worst[entry.device] = entry
        changed: set[DeviceKey] = set()
        for entry in worst.values():
            place = (source, entry.device)
            lease = lease_of(entry.lease)
            fact = self.facts.get(place)
            if late and fact is not None and fact.heard >= arrived:
                continue
            if arrived + lease <= now:
                if self._take_late(place, fact, now, Fact(entry.health, entry.message, entry.action, lease, arrived)):
                    changed.add(self._key(place))
                continue
            same = fact is not None and not fact.ended and (fact.health, fact.message, fact.action) == entry[1:4]
            if fact is None or not same:
                self.facts[place] = Fact(entry.health, entry.message, entry.action, lease, arrived)
                changed.add(self._key(place))
                self._due = -math.inf
            else:
                if lease < fact.lease:
                    self._due = -math.inf
                self.facts[place] = Fact(fact.health, fact.message, fact.action, lease, arrived)
        for key in changed:
            self._note(key, now)
        self.advance(now)

    def _take_late(self, place: Place, before: Fact | None, now: float, fact: Fact) -> bool:
        """A verdict that was read after its lease; whether anything follows from it."""
        running = before is not None and not before.ended and before.heard <= fact.heard
        if running and before is not None and before[:3] == fact[:3]:
            return False
        key = self._key(place)
        if fact.health is Health.UNHEALTHY:
            self.late.setdefault(key, []).append(now)
            if self.now(key).health is Health.UNHEALTHY:
                # The episode that stands has the latest words when it ends.
                self.facts[place] = fact
                self._note(key, now)
        elif not running:
            return False
        self.facts[place] = fact._replace(ended=True)
        return True

    def _due_of(self, place: Place, fact: Fact) -> float:
        gone = self.gone.get(place[0])
        return min(fact.heard + fact.lease, math.inf if gone is None else gone + GONE_AFTER)

    def _last(self, key: DeviceKey) -> float:
        moments = self.history.get(key)
        return moments[-1].at if moments else -math.inf

    def _note(self, key: DeviceKey, at: float) -> None:
        told = [fact.told() for place, fact in sorted(self.facts.items()) if self._key(place) == key]
        told.sort(key=lambda one: -BADNESS[one.health])
        merged = NOTHING_KNOWN
        if told:
            parts = tuple(dict.fromkeys(part for one in told for part in one.parts))
            merged = Merged(told[0].health, parts, next((one.action for one in told if one.health is told[0].health and one.action), ""))
        moments = self.history.setdefault(key, [])
        if not moments or moments[-1].merged != merged:
            moments.append(Moment(at, merged))
            self.changed.add(key)

    @staticmethod
    def _key(place: Place) -> DeviceKey:
        return DeviceKey(place[0].driver, POOL, place[1])
