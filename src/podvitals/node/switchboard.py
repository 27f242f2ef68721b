"""Switchboard: events of endpoints and raw reports in; changed devices, refusals and lines for the log out. Pure: the whole node side
between a socket and those who ask, without the sockets, so that a simulation tries what ships.

It owns the session (who speaks), the ledger (what is known, until when) and what each endpoint said last. `now` is CLOCK_BOOTTIME,
`wall` Unix time. `next_deadline()` says when to call `expire`.
"""

from collections.abc import Mapping

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.hearing import Hearing, Place, Taken
from podvitals.node.ledger import DeviceState, Ledger
from podvitals.node.limits import Limits
from podvitals.node.memory import Heard, Memory
from podvitals.node.record import SourceKey
from podvitals.node.rows import Rows
from podvitals.node.session import Connected, Disconnected, Effect, Event, Session, Speaks, Stage
from podvitals.node.standstill import Standstill
from podvitals.node.told import NOTHING, Reason, Telling, Told
from podvitals.wire.messages import Report
from podvitals.wire.report import Decoder


class Switchboard:
    """`leave`: drivers whose health stream is not opened (ARCHITECTURE rule 13). `standstill`: of whoever looks often enough."""

    def __init__(self, limits: Limits | None = None, leave: frozenset[str] = frozenset(), standstill: Standstill | None = None) -> None:
        self.limits = limits or Limits()
        self.ledger = Ledger(self.limits.devices_per_driver, standstill)
        self.session = Session()
        self._leave, self._standstill = leave, standstill
        self._places: dict[int, Place] = {}
        self._asked_for: dict[str, dict[DeviceKey, str]] = {}
        self._ended = frozenset[DeviceKey]()

    # --- events ------------------------------------------------------------------------------------------------------------------

    def register(
        self, number: int, source: SourceKey, endpoint: str, born: int, *, serves_health: bool, now: float, wall: float
    ) -> Told | int | str:
        """A registration that is in order; `born` orders those of one source. An int: the number of the one that has its place, who may be
        dead. A str: why there is no room for it."""
        if number in self._places:
            return NOTHING
        rival, why = self._rival(source, endpoint), self._no_room(source, now)
        if rival is not None or why:
            return why or rival or 0
        telling = self._telling(now, wall)
        self._places[number] = Place(number, source, endpoint, serves_health, Memory(self.limits))
        self._apply(self.session.register(number, source, born), telling, now, wall)
        self._tell_standing(source.driver, telling)
        return telling.told()

    def without_health(self, number: int) -> Told:
        """It turned out to serve no health."""
        place, telling = self._places.get(number), Telling()
        if place is not None:
            place.health = False
            self._tell_standing(place.source.driver, telling)
        return telling.told()

    def event(self, number: int, event: Event, now: float, wall: float) -> Told:
        place = self._places.get(number)
        if place is None:
            return NOTHING
        telling = self._telling(now, wall)
        self._apply(self.session.on(number, event), telling, now, wall)
        if event in (Event.STREAM_END, Event.DISCONNECT):
            place.end_stream()
        if event is Event.REMOVE:
            del self._places[number]
        self._tell_standing(place.source.driver, telling)
        return telling.told()

    def heard(self, number: int, raw: bytes, now: float, wall: float, arrived: float | None = None) -> Told:
        """A report of this endpoint. `arrived` (default `now`): when it came, at the earliest; leases count from then."""
        hearing = self.begin(number, raw, now, wall, arrived)
        while hearing is not None and hearing.step():
            pass
        return NOTHING if hearing is None else self.finish(hearing, now, wall)

    def begin(self, number: int, raw: bytes, now: float, wall: float, arrived: float | None = None) -> Hearing | None:
        """The same in steps: `step()` of the answer while it is true, then `finish` until it is done. Others may be heard in between.
        None: nothing is left to do, and nothing changed."""
        place = self._places.get(number)
        if place is None or self.session.stage(number) is Stage.REGISTERED:
            return None  # late: its connection is gone
        self._end_leases(now, wall)
        place.reports += 1
        place.heard = wall
        # What comes later on one stream is newer.
        place.arrived = max(place.arrived, now if arrived is None else arrived)
        if self._renewed(place, raw, wall):
            return None
        hearing = Hearing(place, raw)
        if self.session.stage(number) is Stage.REPORTING:
            self._recognise(hearing, now)
        if hearing.said is None:
            hearing.decoder = Decoder(raw, self.limits.entries_per_report)
        return hearing

    def finish(self, hearing: Hearing, now: float, wall: float, most: int | None = None) -> Told:
        """`most`: entries that are taken at once; None: all."""
        place, telling = hearing.place, self._telling(now, wall)
        gone = self._places.get(place.number) is not place or place.stream != hearing.stream
        if gone:
            hearing.done = True  # it went, or its stream ended, while its words were read
        elif hearing.said is not None:
            hearing.done = True
            self._repeated(hearing, telling, wall)
        elif hearing.taken is not None or self._open(hearing, telling, now, wall):
            generation = self.session.generation(place.number)
            if generation is None:
                hearing.done = True
                place.memory.keep(Heard(hearing.raw, hearing.arrived, None, hearing.taken.layout if hearing.taken is not None else None))
            else:
                self._report(hearing, generation, telling, now, wall, most)
        return telling.told()

    def expire(self, now: float, wall: float) -> Told:
        return self._telling(now, wall).told()

    def next_deadline(self) -> float | None:
        return self.ledger.next_deadline()

    # --- what survives a restart -------------------------------------------------------------------------------------------------

    def restore(self, rows: Rows, now: float, wall: float) -> Told:
        return Told(self.ledger.restore(rows, now, wall))

    @property
    def unsaved(self) -> bool:
        """Whether a verdict changed since the last `drain`."""
        return self.ledger.unsaved

    def drain(self, most: int | None = None) -> Rows:
        """What changed since the last call, or a part of it: the next call continues, until nothing is `unsaved`."""
        return self.ledger.drain(most)

    def unsave(self) -> None:
        """Nothing is saved any more: `drain` begins anew."""
        self.ledger.unsave()

    def everything(self) -> Rows:
        return self.ledger.everything()

    # --- questions ---------------------------------------------------------------------------------------------------------------

    def state(self, key: DeviceKey) -> DeviceState:
        """A device nobody reported is Unknown and the message says why; when that reason changes, `changed` names it."""
        state = self.ledger.state(key)
        if state is not None:
            return state
        why = self._standing(key.driver)
        asked = self._asked_for.setdefault(key.driver, {})
        if len(asked) < self.limits.devices_per_driver:
            asked[key] = why
        return DeviceState(key, Health.UNKNOWN, why, "", 0.0, 0.0, None, ())

    def states(self) -> Mapping[DeviceKey, DeviceState]:
        """Every device that was ever reported (and not forgotten since)."""
        return self.ledger.states()

    def place(self, number: int) -> Place | None:
        return self._places.get(number)

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _rival(self, source: SourceKey, endpoint: str) -> int | None:
        """Whoever is registered with the same endpoint; where there are as many as may be, the oldest, of those that are not connected
        if there are any."""
        peers = [self._places[number] for number in self.session.endpoints(source)]
        same = [place.number for place in peers if place.endpoint == endpoint]
        if same or len(peers) < self.limits.endpoints_per_source:
            return same[0] if same else None
        away = [place.number for place in peers if self.session.stage(place.number) is Stage.REGISTERED]
        return (away or [peers[0].number])[0]

    def _no_room(self, source: SourceKey, now: float) -> str:
        known = self.ledger.sources()
        if source in known:
            return ""
        if source.source and sum(bool(one.source) for one in known if one.driver == source.driver) >= self.limits.sources_per_driver:
            return f"driver {source.driver} has {self.limits.sources_per_driver} other health sources: no more are heard"
        drivers = dict.fromkeys(one.driver for one in known)
        if source.driver in drivers or len(drivers) < self.limits.drivers:
            return ""
        if any(self.ledger.forget_gone(driver, now) for driver in drivers):
            return ""
        return f"{self.limits.drivers} drivers are known on this node: no more are heard"

    def _end_leases(self, now: float, wall: float) -> None:
        """Before anything else: who slept must not say of one device what is new, and of another what ended long ago."""
        if self._standstill is not None:
            self._standstill.look(now)
        if ended := self.ledger.expire(now, wall):
            self._ended |= ended

    def _telling(self, now: float, wall: float) -> Telling:
        self._end_leases(now, wall)
        telling = Telling()
        telling.changed, self._ended = self._ended, frozenset()
        return telling

    def _renewed(self, place: Place, raw: bytes, wall: float) -> bool:
        """The same bytes once more, from who speaks, and nothing else to tell of: most of what is ever heard, so nothing more is done."""
        if self._ended or self.session.generation(place.number) is None:
            return False
        known = place.memory.find(raw)
        if known is None or known.delivery is None or not self.ledger.renew(known.delivery, place.arrived, wall):
            return False
        known.arrived = place.arrived
        return True

    def _recognise(self, hearing: Hearing, now: float) -> None:
        """What says again what was said before, and still means it, need not be read."""
        memory, raw = hearing.place.memory, hearing.raw
        speaks = self.session.generation(hearing.place.number) is not None
        known = memory.find(raw)
        if known is not None:
            if not speaks or (known.delivery is not None and self.ledger.holds(known.delivery)):
                hearing.said = known
        elif (found := memory.match(raw)) is not None:
            said, match = found
            delivery = said.delivery
            if not speaks or (delivery is not None and self.ledger.amendable(delivery, match.changed, hearing.arrived, now)):
                hearing.said, hearing.match = said, match

    def _repeated(self, hearing: Hearing, telling: Telling, wall: float) -> None:
        said, match, memory = hearing.said, hearing.match, hearing.place.memory
        assert said is not None
        if self.session.generation(hearing.place.number) is None:
            memory.keep(Heard(hearing.raw, hearing.arrived, None, said.layout if match is None else match.layout), said)
            return
        assert said.delivery is not None
        if match is None:
            self.ledger.renew(said.delivery, hearing.arrived, wall)
            said.arrived = hearing.arrived
            return
        outcome = self.ledger.amend(said.delivery, match.changed, match.times, hearing.arrived, wall)
        memory.keep(Heard(hearing.raw, hearing.arrived, outcome.delivery, match.layout), said)
        telling.changed |= outcome.changed

    def _open(self, hearing: Hearing, telling: Telling, now: float, wall: float) -> bool:
        """Of a report that was read: whether there is anything to take."""
        report, number = hearing.report, hearing.place.number
        self._refuse(hearing, report, telling)
        if report is not None and self.session.stage(number) is Stage.CONNECTED and report.devices:
            # The floor is taken by saying something of a device: neither rubbish nor an empty first report silences an older endpoint.
            self._apply(self.session.on(number, Event.REPORT), telling, now, wall)
        if report is None or self.session.stage(number) is not Stage.REPORTING:
            hearing.done = True
            return False
        assert hearing.decoder is not None
        hearing.taken = Taken(report.devices, hearing.decoder.layout)
        return True

    def _report(self, hearing: Hearing, generation: int, telling: Telling, now: float, wall: float, most: int | None = None) -> None:
        place, taken, late = hearing.place, hearing.taken, hearing.arrived if hearing.arrived < now else None
        assert taken is not None
        entries = taken.entries if most is None else taken.entries[taken.at : taken.at + most]
        outcome = self.ledger.report(place.source, generation, entries, now, wall, late)
        telling.changed |= outcome.changed
        taken.add(outcome, len(entries))
        if taken.at < len(taken.entries):
            return
        hearing.done = True
        if taken.refused:
            text = f"{place.source} reports more than the {self.limits.devices_per_driver} devices that are kept"
            telling.refuse(place.number, Reason.DEVICES, text, taken.refused)
        delivery = taken.delivery(place.source, generation)
        layout = taken.layout if delivery is not None and delivery.facts else None
        place.memory.keep(Heard(hearing.raw, hearing.arrived, delivery, layout))

    @staticmethod
    def _refuse(hearing: Hearing, report: Report | None, telling: Telling) -> None:
        if report is None:
            telling.refuse(hearing.place.number, Reason.REPORT, hearing.error)
        elif report.refused:
            telling.refuse(hearing.place.number, Reason.ENTRY, report.refusals[0], report.refused)

    def _apply(self, effects: tuple[Effect, ...], telling: Telling, now: float, wall: float) -> None:
        for effect in effects:
            match effect:
                case Connected(source):
                    self.ledger.connected(source)
                case Disconnected(source, why):
                    self.ledger.disconnected(source, why, now)
                case Speaks(_, number, generation):
                    self._hand_over(self._places[number], generation, telling, now, wall)

    def _hand_over(self, place: Place, generation: int, telling: Telling, now: float, wall: float) -> None:
        self.ledger.authority(place.source, generation)
        place.speaks_since = wall
        telling.say("speaks", driver=place.source.driver, source=place.source.source, endpoint=place.endpoint)
        # What it said while another spoke counts where nothing was heard of a device since.
        for heard in place.memory.not_taken():
            hearing = Hearing(place, heard.raw)
            hearing.arrived = heard.arrived
            hearing.decoder = Decoder(heard.raw, self.limits.entries_per_report)
            while hearing.step():
                pass
            if (report := hearing.report) is not None:
                hearing.taken = Taken(report.devices, hearing.decoder.layout)
                self._report(hearing, generation, telling, now, wall)

    def _standing(self, driver: str) -> str:
        """Why nothing is known of a device of this driver."""
        if driver in self._leave:
            return f"driver {driver} is left to the kubelet"
        places = [self._places[number] for number in self.session.endpoints(SourceKey(driver))]
        if not places:
            return f"no driver {driver} is registered on this node"
        if not any(place.health for place in places):
            return f"driver {driver} does not report health"
        return f"driver {driver} has not reported this device"

    def _tell_standing(self, driver: str, telling: Telling) -> None:
        asked = self._asked_for.get(driver)
        if not asked:
            return
        why = self._standing(driver)
        for key in [key for key in asked if self.ledger.state(key) is not None]:
            del asked[key]
        stale = frozenset(key for key, said in asked.items() if said != why)
        asked.update(dict.fromkeys(stale, why))
        telling.changed |= stale
