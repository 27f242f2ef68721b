"""The ledger: what is known of each device of this node, and until when. Pure: events and `now` go in, changed devices come out.

* A report starts the lease of each device in it; at its end the device is Unknown, and the message says what was last known and why
  nothing newer came. `next_deadline()` says when to call `expire`.
* A source none of whose endpoints is connected for 30 s is Unknown too; before that a reconnecting driver changes nothing.
* Reports are fenced: one that carries an older generation than the source's is ignored, and so is a replayed one about a device that
  was heard of later.
* Sources of one driver are merged: the worst health wins, all messages stay, worst first, then in the order of the sources' names.
* Equal states have equal text: no message holds a time or an age.
* `now` is CLOCK_BOOTTIME and decides; `wall` is Unix time and is only written down.
"""

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.device.verdict import DEFAULT_LEASE, LONGEST_LEASE, SHORTEST_LEASE, lease_seconds
from podvitals.node.fact import GONE_AFTER, RETENTION, Device, Excuse, Fact, Source, adds_nothing, end, in_order
from podvitals.node.lease import Batch, Batches, Deadlines, move
from podvitals.node.outcome import NOBODY, Delivery, Outcome, Summary
from podvitals.node.record import DeviceState, Fault, SourceKey
from podvitals.node.rows import FactKey, FactRow, Rows
from podvitals.node.standstill import Standstill
from podvitals.node.unsaved import Unsaved, whole
from podvitals.wire.messages import DeviceReport

__all__ = ["GONE_AFTER", "RETENTION", "Delivery", "DeviceState", "Fault", "Ledger", "Outcome", "SourceKey", "Summary"]


class Ledger:
    def __init__(self, devices_per_driver: int = 8192, standstill: Standstill | None = None) -> None:
        self._limit, self._standstill = devices_per_driver, standstill
        self._sources: dict[SourceKey, Source] = {}
        self._devices: dict[DeviceKey, Device] = {}
        self._per_driver: dict[str, int] = {}
        self._batches = Batches()
        self._deadlines = Deadlines()
        self._unsaved = Unsaved()

    # --- events ------------------------------------------------------------------------------------------------------------------

    def report(
        self, source: SourceKey, generation: int, entries: Iterable[DeviceReport], now: float, wall: float, heard: float | None = None
    ) -> Outcome:
        """A report arrived at `heard` (default `now`) from whoever had authority over `source` as of `generation`."""
        known = self._source(source)
        if generation < known.generation:
            return Outcome(NOBODY)
        known.generation = generation
        at = now if heard is None else min(heard, now)
        known.heard, known.heard_wall = max(at, known.heard or at), wall
        together: dict[float, list[Fact]] = {}
        taken: list[Fact] = []
        revised, past = list[Device](), list[Device]()
        skipped = refused = 0
        for entry in entries:
            lease = entry.lease if SHORTEST_LEASE <= entry.lease <= LONGEST_LEASE else _lease(entry.lease)
            fact = known.facts.get(entry[:2])
            over = heard is not None and at + lease <= now
            if heard is not None and (
                (over and adds_nothing(fact, (entry.health, entry.message, entry.action), wall - (now - at)))
                or (fact is not None and fact.heard() > at)
            ):
                if fact is not None:
                    fact.again(entry, at, wall)
                skipped += 1
                continue
            if fact is None and (fact := self._admit(known, entry, now)) is None:
                refused += 1
                continue
            fact.checked(entry.checked_at, wall)
            if fact.batch is None or fact.differs(entry):
                self._revise(fact, entry, past if over else revised)
            together.setdefault(lease, []).append(fact)
            taken.append(fact)
        delivery = self._gather(known, together, at, () if refused else taken)
        changed = self._settle(revised, wall)
        changed |= self._past(past, wall - (now - at), now, wall)
        return Outcome(changed, None if skipped or past else delivery, refused)

    def holds(self, delivery: Delivery) -> bool:
        """Whether what it delivered is what is known: its repetition need not be read."""
        return self._good(delivery) is not None

    def amendable(self, delivery: Delivery, changed: Mapping[int, DeviceReport], heard: float, now: float) -> bool:
        """Whether a report is `delivery` once more, as far as the ledger can tell: nothing came in between, each lease stays (and runs)."""
        over = any(heard < batch.heard or heard + batch.lease <= now for batch, _ in delivery.parts)
        if over or self._good(delivery) is None or not delivery.facts:
            return False
        leases = ((delivery.facts[index].batch, _lease(entry.lease)) for index, entry in changed.items())
        return all(batch is not None and batch.lease == lease for batch, lease in leases)

    def amend(self, delivery: Delivery, changed: Mapping[int, DeviceReport], times: Sequence[float], heard: float, wall: float) -> Outcome:
        """The report of `delivery` came again with the entries `changed` (by their place) and these times. Only if `amendable`."""
        for fact, time in zip(delivery.facts, times, strict=True):
            fact.checked_at = time if time <= wall else wall
        revised: list[Device] = []
        for index, entry in changed.items():
            if delivery.facts[index].differs(entry):
                self._revise(delivery.facts[index], entry, revised)
        for batch, _ in delivery.parts:
            batch.version += bool(changed)
        parts = tuple((batch, batch.version) for batch, _ in delivery.parts)
        delivery = Delivery(delivery.source, delivery.generation, parts, delivery.facts)
        self.renew(delivery, heard, wall)
        return Outcome(self._settle(revised, wall), delivery)

    def renew(self, delivery: Delivery, heard: float, wall: float) -> bool:
        """The same bytes came again, at `heard`. False: they would mean something else now, so they have to be read."""
        source = self._good(delivery)
        if source is None:
            return False
        source.heard, source.heard_wall = max(heard, source.heard or heard), wall
        for batch, _ in delivery.parts:
            batch.heard = max(batch.heard, heard)
            self._unsaved.heard[batch] = None
        return True

    def vouch(self, source: SourceKey, now: float) -> None:
        """Somebody answers for it that what was said last, and has not ended, holds: as if it were said again."""
        known = self._sources.get(source)
        for batch in {fact.batch for fact in known.facts.values()} if known is not None else ():
            if batch is not None:
                batch.heard = max(batch.heard, now)
                self._unsaved.heard[batch] = None

    def authority(self, source: SourceKey, generation: int) -> None:
        """Authority over `source` changed hands: what was said with an older generation does not count any more."""
        known = self._source(source)
        known.generation = max(known.generation, generation)

    def connected(self, source: SourceKey) -> None:
        """One of its endpoints is connected."""
        known = self._source(source)
        known.gone_at, known.gone_told, known.why = None, False, "silent"

    def disconnected(self, source: SourceKey, why: str, now: float) -> None:
        """None of its endpoints is connected: `why` is "unreachable" where one is registered, else "gone"."""
        known = self._source(source)
        known.why = why
        if why == "gone" and not known.facts:
            del self._sources[source]
            known.gone_at = None
        elif known.gone_at is None:
            known.gone_at = now
            self._deadlines.push(known)

    def expire(self, now: float, wall: float, later: Collection[Device] = ()) -> frozenset[DeviceKey]:
        """Ends what is due. `since` of what ends is its deadline, also when the machine slept through it; `later` are left unsettled."""
        if not self._deadlines.may_be_due(now):
            return NOBODY
        changed: set[DeviceKey] = set()
        while (at := self._deadlines.next()) is not None and at <= now:
            # What ends at one instant ends together: no reader sees, and no fault records, a state in between.
            devices: dict[Device, None] = {}
            while (due := self._deadlines.pop(at)) is not None:
                if isinstance(due, Source):
                    devices |= dict.fromkeys(self._end_source(due, at, now))
                elif isinstance(due, Batch):
                    devices |= dict.fromkeys(self._end(in_order(_facts(due.members)), due.lease, at, now))
                elif isinstance(due, Excuse):
                    devices |= dict.fromkeys(self._word(due.over(), due.seconds))
            changed |= self._settle((device for device in devices if device not in later), wall - (now - at))
        return frozenset(changed)

    def next_deadline(self) -> float | None:
        return self._deadlines.next()

    # --- questions ---------------------------------------------------------------------------------------------------------------

    def state(self, key: DeviceKey) -> DeviceState | None:
        """None: no source ever reported it."""
        device = self._devices.get(key)
        return None if device is None else device.state()

    def states(self) -> Mapping[DeviceKey, DeviceState]:
        return {key: device.state() for key, device in self._devices.items()}

    def devices(self) -> Iterator[DeviceKey]:
        return iter(self._devices)

    def sources(self) -> tuple[SourceKey, ...]:
        return tuple(sorted(self._sources))

    def forget_gone(self, driver: str, now: float) -> bool:
        """Forgets a driver that has been gone for long: whether it was one."""
        sources = [source for key, source in self._sources.items() if key.driver == driver]
        gone = all(source.gone_told and len(source.ended) == len(source.facts) for source in sources)
        if not gone or any(now - ended < RETENTION for source in sources for ended in source.ended.values()):
            return False
        for source in sources:
            for fact in list(source.facts.values()):
                self._forget(fact)
            del self._sources[source.key]
        return True

    def summary(self, source: SourceKey) -> Summary:
        known = self._sources.get(source)
        if known is None:
            return Summary(0, 0.0, None)
        batches = {fact.batch for fact in known.facts.values()}
        return Summary(len(known.facts), known.heard_wall, min((batch.lease for batch in batches if batch is not None), default=None))

    # --- the checkpoint ----------------------------------------------------------------------------------------------------------

    @property
    def unsaved(self) -> bool:
        """Whether a verdict changed since the last `drain`; what only says "heard again" does not count."""
        return bool(self._unsaved)

    def drain(self, most: int | None = None) -> Rows:
        """What changed since the last call, or a part of it: the next call continues, until nothing is `unsaved`."""
        return self._unsaved.drain(most)

    def unsave(self) -> None:
        """Nothing of it is saved any more."""
        self._unsaved.begin_anew(self._every_fact(), self._devices.values())

    def everything(self) -> Rows:
        """All rows, for a checkpoint that begins anew."""
        return whole(self._every_fact(), self._devices.values())

    def restore(self, rows: Rows, now: float, wall: float) -> frozenset[DeviceKey]:
        """Begins where another process stopped. No state becomes better than its remaining lease; no endpoint is connected yet."""
        batches, excuses = dict[int, Batch](), dict[float, Excuse]()
        facts = [self._restore(key, row, rows, batches, excuses, now) for key, row in sorted(rows.facts.items()) if row is not None]
        for source in self._sources.values():
            source.why = "missed"
        for batch in batches.values():
            if not -math.inf < batch.heard <= now:
                batch.heard = now - batch.lease
            self._deadlines.push(batch)
        for excuse in excuses.values():
            self._deadlines.push(excuse)
        changed = self._settle((fact.device for fact in facts), wall) | self.expire(now, wall)
        for source in self._sources.values():
            self.disconnected(source.key, "gone", now)
        return changed

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _source(self, key: SourceKey) -> Source:
        known = self._sources.get(key)
        if known is None:
            known = self._sources[key] = Source(SourceKey(sys.intern(key.driver), sys.intern(key.source)))
        return known

    def _every_fact(self) -> list[Fact]:
        return [fact for source in self._sources.values() for fact in source.facts.values()]

    def _good(self, delivery: Delivery) -> Source | None:
        """Its source, while what it delivered is what is known."""
        source = self._sources.get(delivery.source)
        if source is None or source.generation != delivery.generation:
            return None
        for batch, version in delivery.parts:
            if batch.version != version:
                return None
        return source

    def _revise(self, fact: Fact, entry: DeviceReport, revised: list[Device]) -> None:
        fact.health = entry.health
        fact.message, fact.action = sys.intern(clean(entry.message)), sys.intern(clean(entry.action))
        fact.ended = ""
        fact.left()
        self._unsaved.facts[fact] = None
        revised.append(fact.device)

    def _past(self, devices: Sequence[Device], then: float, now: float, wall: float) -> frozenset[DeviceKey]:
        """Nobody is told a verdict whose lease is over, but no fault is missing from the record: one that is said began `then`, when it
        can have been said first; one that stands stood until `now`, for what ended it may have been said a moment ago."""
        standing = dict.fromkeys(device for device in devices if device.health is Health.UNHEALTHY)
        told = (device for device in devices if device not in standing or device.told()[0] is Health.UNHEALTHY)
        return self._settle(told, then) | (self.expire(now, wall, standing) if devices else NOBODY) | self._settle(standing, wall)

    def _admit(self, source: Source, entry: DeviceReport, now: float) -> Fact | None:
        """The first report of a device by this source; None where the driver has as many devices as it may."""
        driver = source.key.driver
        key = DeviceKey(driver, entry.pool, entry.device)
        if key not in self._devices and self._per_driver.get(driver, 0) >= self._limit and not self._make_room(source, now):
            return None
        return self._add(source, entry.pool, entry.device)

    def _add(self, source: Source, pool: str, name: str) -> Fact:
        key = DeviceKey(source.key.driver, sys.intern(pool), sys.intern(name))
        device = self._devices.get(key)
        if device is None:
            device = self._devices[key] = Device(key)
            self._per_driver[key.driver] = self._per_driver.get(key.driver, 0) + 1
            self._unsaved.dropped.devices.pop(key, None)
        fact = source.facts[key.pool, key.device] = Fact(source, device)
        self._unsaved.dropped.facts.pop(fact.key, None)
        device.add(fact)
        return fact

    def _make_room(self, source: Source, now: float) -> bool:
        """Forgets the device that has been Unknown for longest, if that is long enough."""
        for fact, ended in source.ended.items():
            if now - ended < RETENTION:
                return False
            if len(fact.device.facts) == 1:
                self._forget(fact)
                return True
        return False

    def _forget(self, fact: Fact) -> None:
        device, source = fact.device, fact.source
        move(fact, None)
        fact.left()
        del source.facts[device.key.pool, device.key.device]
        device.facts.remove(fact)
        self._unsaved.facts.pop(fact, None)
        self._unsaved.dropped.facts[fact.key] = None
        if not device.facts:
            del self._devices[device.key]
            self._per_driver[device.key.driver] -= 1
            self._unsaved.devices.pop(device, None)
            self._unsaved.dropped.devices[device.key] = None

    def _gather(self, source: Source, together: dict[float, list[Fact]], heard: float, taken: Sequence[Fact]) -> Delivery:
        batches: list[Batch] = []
        for lease, facts in together.items():
            done = self._batches.gather(facts, lease, heard)
            for batch in done.made:
                self._deadlines.push(batch)
            self._unsaved.facts.update(dict.fromkeys(_facts(done.moved)))
            self._unsaved.heard.update(dict.fromkeys((done.batch, *done.made, *done.lost)))
            batches.append(done.batch)
        return Delivery(source.key, source.generation, tuple((batch, batch.version) for batch in batches), taken)

    def _settle(self, devices: Iterable[Device], wall: float) -> frozenset[DeviceKey]:
        changed = set()
        for device in devices:
            if not device.facts:
                changed.add(device.key)
            elif device.settle(wall):
                self._unsaved.devices[device] = None
                changed.add(device.key)
        return frozenset(changed)

    def _end(self, facts: Sequence[Fact], seconds: float, at: float, now: float) -> list[Device]:
        still = self._standstill is not None and self._standstill.explains(at - seconds, at)
        for fact in facts:
            if fact.batch is not None:
                self._unsaved.heard[fact.batch] = None
            fact.last_heard = fact.heard()
            move(fact, None)
            fact.source.ended[fact] = now
        source = facts[-1].source if facts else None
        if source is not None and (still or source.why == "missed"):
            self._deadlines.push(Excuse(seconds, now, facts))
        if source is not None and source.gone_told:
            self._deadlines.push(source)
        return self._word(facts, seconds, still)

    def _word(self, facts: Sequence[Fact], seconds: float, still: bool = False) -> list[Device]:
        self._unsaved.facts.update(dict.fromkeys(facts))
        return end(facts, seconds, stood_still=still)

    def _end_source(self, source: Source, at: float, now: float) -> list[Device]:
        """Gone for long enough to be Unknown, or, an auxiliary one, to be forgotten."""
        if not source.gone_told:
            source.gone_told = True
            devices = self._end([fact for fact in source.facts.values() if fact.batch is not None], GONE_AFTER, at, now)
        else:
            late = [fact for fact, ended in source.ended.items() if ended + RETENTION <= now]
            devices = [fact.device for fact in late]
            for fact in late:
                self._forget(fact)
        self._deadlines.push(source)
        return devices

    def _restore(self, key: FactKey, row: FactRow, rows: Rows, batches: dict[int, Batch], excuses: dict[float, Excuse], now: float) -> Fact:
        fact = self._add(self._source(key.source), key.pool, key.device)
        device, told = fact.device, rows.devices.get(fact.device.key)
        if told is not None and device.health is None:
            device.health, device.message, device.action, device.since, device.faults = told
        fact.health, fact.message, fact.action, fact.checked_at, fact.ended = row.health, row.message, row.action, row.checked_at, row.ended
        if fact.ended:
            fact.source.ended[fact] = now
            if row.lease:
                excuses.setdefault(row.lease, Excuse(row.lease, now)).add(fact)
            return fact
        batch = batches.get(row.batch)
        if batch is None:
            heard = rows.heard.get(row.batch)
            batch = batches[row.batch] = self._batches.make(_lease(row.lease), -math.inf if heard is None else heard, row.batch)
        move(fact, batch)
        return fact


def _lease(asked: float) -> float:
    return DEFAULT_LEASE if math.isnan(asked) else lease_seconds(asked)


def _facts(members: Iterable[object]) -> Iterator[Fact]:
    return (member for member in members if isinstance(member, Fact))
