"""The naive twin of the ledger: no batches, no heap, no differences, everything looked at every time. What it says is what must be so."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.device.verdict import lease_seconds
from podvitals.node.ledger import GONE_AFTER, RETENTION, Fault, SourceKey
from podvitals.wire.messages import DeviceReport

Told = tuple[Health, str, str]


@dataclass
class Said:
    health: Health
    message: str
    action: str
    checked_at: float
    lease: float
    heard: float
    ended: str = ""
    ended_at: float = 0.0
    excuse: float = math.inf
    """Until when it is not the driver's fault."""


@dataclass
class Shown:
    told: Told
    since: float
    faults: list[Fault] = field(default_factory=list)


@dataclass
class Link:
    gone_at: float | None = None
    told: bool = False
    why: str = "silent"


class Model:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.said: dict[tuple[SourceKey, str, str], Said] = {}
        self.shown: dict[DeviceKey, Shown] = {}
        self.generation: dict[SourceKey, int] = {}
        self.links: dict[SourceKey, Link] = {}

    # --- events

    def report(
        self,
        source: SourceKey,
        generation: int,
        entries: list[DeviceReport],
        now: float,
        wall: float,
        heard: float | None,
        evicted: list[DeviceKey],
    ) -> int:
        if generation < self.generation.get(source, 0):
            return 0
        self.generation[source] = generation
        self.links.setdefault(source, Link())
        at = now if heard is None else heard
        refused = 0
        touched: set[DeviceKey] = set()
        past: set[DeviceKey] = set()
        for entry in entries:
            key = DeviceKey(source.driver, entry.pool, entry.device)
            place = (source, entry.pool, entry.device)
            lease = lease_seconds(entry.lease)
            known = self.said.get(place)
            over = heard is not None and at + lease <= now
            words, then = (entry.health, entry.message, entry.action), wall - (now - at)
            record = [fault for fault in self.shown[key].faults if fault.start <= then] if key in self.shown else []
            there = any((f.health, f.message, f.action) == words and (f.end is None or then <= f.end) for f in record)
            same = known is not None and words == (known.health, known.message, known.action)
            ends = known is not None and not known.ended and not same
            if over and not ends and (entry.health is not Health.UNHEALTHY or (known is not None and there)):
                if known is not None and same and at >= known.heard:
                    known.checked_at = min(max(entry.checked_at, 0.0), wall)
                    known.heard = at if known.ended else known.heard
                continue
            if heard is not None and known is not None and known.heard > at:
                continue
            if known is None and not self._room(source, key, now, evicted):
                refused += 1
                continue
            before = known and (known.ended, known.health, known.message, known.action)
            self.said[place] = Said(entry.health, entry.message, entry.action, min(max(entry.checked_at, 0.0), wall), lease, at)
            (past if over and before != ("", entry.health, entry.message, entry.action) else touched).add(key)
        for key in touched:
            self._refresh(key, wall)
        standing = {key for key in past if key in self.shown and self.shown[key].told[0] is Health.UNHEALTHY}
        for key in past:
            if key not in standing or self._told(key)[0] is Health.UNHEALTHY:
                self._refresh(key, wall - (now - at))
        if past:
            self.expire(now, wall, standing)
        for key in standing:
            self._refresh(key, wall)
        return refused

    def connected(self, source: SourceKey) -> None:
        self.links[source] = Link()

    def disconnected(self, source: SourceKey, why: str, now: float) -> None:
        link = self.links.setdefault(source, Link())
        link.why = why
        if why == "gone" and not any(place[0] == source for place in self.said):
            del self.links[source]
            self.generation.pop(source, None)
        elif link.gone_at is None:
            link.gone_at = now

    def expire(self, now: float, wall: float, later: Collection[DeviceKey] = ()) -> None:
        while (at := self.next_deadline()) <= now:
            touched = set()
            for place, said in self.said.items():
                if not said.ended and said.heard + said.lease <= at:
                    self._end(place, said.lease, self._why(place[0]), now)
                    touched.add(_key(place))
                if said.ended and said.excuse <= at:
                    self._end(place, said.lease, self._why(place[0]), said.ended_at)
                    touched.add(_key(place))
            for source, link in self.links.items():
                if link.gone_at is None:
                    continue
                if not link.told and link.gone_at + GONE_AFTER <= at:
                    link.told = True
                    for place, said in self.said.items():
                        if place[0] == source and not said.ended:
                            self._end(place, GONE_AFTER, self._why(source), now)
                            touched.add(_key(place))
                elif link.told and source.source:
                    for place, said in list(self.said.items()):
                        if place[0] == source and said.ended and said.ended_at + RETENTION <= now and self._forget_due(source) <= at:
                            touched.add(_key(place))
                            said.ended_at = -math.inf
                    for place in [p for p, s in self.said.items() if s.ended_at == -math.inf]:
                        del self.said[place]
            for key in touched.difference(later):
                self._refresh(key, wall - (now - at))

    def restart(self, now: float, wall: float) -> None:
        self.generation = {}
        self.links = {place[0]: Link(None, False, "missed") for place in self.said}
        for said in self.said.values():
            if said.ended:
                said.ended_at, said.heard = now, -math.inf
                said.excuse = now + said.lease if said.excuse < math.inf else math.inf
        self.expire(now, wall)
        self.links = {source: Link(now, False, "gone") for source in self.links}

    # --- questions

    def next_deadline(self) -> float:
        leases = [said.heard + said.lease for said in self.said.values() if not said.ended]
        links = [link.gone_at + GONE_AFTER for link in self.links.values() if link.gone_at is not None and not link.told]
        excuses = [said.excuse for said in self.said.values()]
        return min([*leases, *links, *excuses, *(self._forget_due(source) for source in self.links)], default=math.inf)

    def deadline(self, key: DeviceKey) -> float | None:
        dues = []
        for place, said in self.said.items():
            if _key(place) == key and not said.ended:
                gone = self.links[place[0]].gone_at
                dues.append(min(said.heard + said.lease, math.inf if gone is None else gone + GONE_AFTER))
        return min(dues, default=None)

    # --- how

    def _forget_due(self, source: SourceKey) -> float:
        link = self.links[source]
        if not source.source or link.gone_at is None or not link.told:
            return math.inf
        return min((said.ended_at + RETENTION for place, said in self.said.items() if place[0] == source and said.ended), default=math.inf)

    def _why(self, source: SourceKey) -> str:
        if self.links[source].why == "missed":
            return "podvitals was not running"
        return f"{'source' if source.source else 'driver'} {self.links[source].why}"

    def _end(self, place: tuple[SourceKey, str, str], seconds: float, why: str, now: float) -> None:
        said = self.said[place]
        last = f"{said.health}: {said.message}" if said.message else str(said.health)
        said.ended, said.ended_at = clean(f"nothing heard from {place[0]} for {seconds:g}s ({why}); last known: {last}"), now
        said.lease, said.excuse = seconds, now + seconds if self.links[place[0]].why == "missed" else math.inf

    def _room(self, source: SourceKey, key: DeviceKey, now: float, evicted: list[DeviceKey]) -> bool:
        known = {_key(place) for place in self.said if place[0].driver == source.driver}
        if key in known or len(known) < self.limit:
            return True
        old = [
            place
            for place, said in self.said.items()
            if place[0] == source
            and said.ended
            and now - said.ended_at >= RETENTION
            and sum(_key(place) == _key(p) for p in self.said) == 1
        ]
        oldest = [place for place in old if self.said[place].ended_at == min(self.said[p].ended_at for p in old)]
        # Of several that ended at one instant any may go: take the one that went.
        if not oldest:
            return False
        gone = next(place for place in oldest if _key(place) == evicted[0])
        del self.said[gone]
        self.shown.pop(evicted.pop(0), None)
        return True

    def _told(self, key: DeviceKey) -> Told:
        views = [
            (Health.UNKNOWN, s.ended, "") if s.ended else (s.health, s.message, s.action)
            for p, s in sorted(self.said.items())
            if _key(p) == key
        ]
        worst = Health.worst(view[0] for view in views)
        texts = [text for badness in (2, 1, 0) for health, text, _ in views if health.badness == badness and text]
        texts = [text for at, text in enumerate(texts) if text not in texts[:at]]
        return (worst, "; ".join(texts), next((action for health, _, action in views if health is worst and action), ""))

    def _refresh(self, key: DeviceKey, wall: float) -> None:
        if not any(_key(place) == key for place in self.said):
            self.shown.pop(key, None)
            return
        told = self._told(key)
        worst = told[0]
        shown = self.shown.get(key)
        if shown is None:
            shown = self.shown[key] = Shown(told, wall)
            changed = True
        else:
            changed = shown.told[0] is not worst
            shown.told = told
        if changed:
            shown.since = wall
            if shown.faults and shown.faults[-1].end is None:
                last = shown.faults.pop()
                shown.faults.append(Fault(last.health, last.message, last.action, last.start, max(wall, last.start)))
            if worst is not Health.HEALTHY:
                shown.faults.append(Fault(*told, wall))
        elif worst is not Health.HEALTHY:
            shown.faults[-1] = Fault(*told, shown.faults[-1].start)
        if len(shown.faults) > 3:
            unknown = [fault for fault in shown.faults[:-1] if fault.health is Health.UNKNOWN]
            shown.faults.remove(unknown[0] if unknown else shown.faults[0])


def _key(place: tuple[SourceKey, str, str]) -> DeviceKey:
    return DeviceKey(place[0].driver, place[1], place[2])
