"""Switchboard: events of endpoints and raw reports in; changed devices, refusals and lines for the log out. Pure: the whole node side
between a socket and those who ask, without the sockets, so that a simulation tries what ships.

It owns the session (who speaks), the ledger (what is known, until when) and what each endpoint said last. `now` is CLOCK_BOOTTIME,
`wall` Unix time. `next_deadline()` says when to call `expire`.
"""

from collections.abc import Mapping

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.errors import PluginProtocolError
from podvitals.node.ledger import DeviceState, Fault, Ledger
from podvitals.node.limits import Limits
from podvitals.node.memory import Memory
from podvitals.node.record import SourceKey
from podvitals.node.rows import Rows
from podvitals.node.session import Connected, Disconnected, Effect, Event, Session, Speaks, Stage
from podvitals.node.told import NOTHING, Reason, Telling, Told
from podvitals.wire.convert import decode_report
from podvitals.wire.messages import Report


class Place:
    """One registered endpoint. `health`: it serves a health service. `heard`: Unix seconds of its last report, 0.0 for never."""

    __slots__ = ("endpoint", "health", "heard", "memory", "number", "reports", "source")

    def __init__(self, number: int, source: SourceKey, endpoint: str, health: bool, limits: Limits) -> None:
        self.number, self.source, self.endpoint, self.health = number, source, endpoint, health
        self.memory = Memory(limits)
        self.reports = 0
        self.heard = 0.0


class Switchboard:
    """`leave`: drivers whose health stream is not opened (ARCHITECTURE rule 13)."""

    def __init__(self, limits: Limits | None = None, leave: frozenset[str] = frozenset()) -> None:
        self.limits = limits or Limits()
        self.ledger = Ledger(self.limits.devices_per_driver)
        self.session = Session()
        self._leave = leave
        self._places: dict[int, Place] = {}
        self._asked_for: dict[str, dict[DeviceKey, str]] = {}

    # --- events ------------------------------------------------------------------------------------------------------------------

    def register(
        self, number: int, source: SourceKey, endpoint: str, born: int, *, serves_health: bool, now: float, wall: float
    ) -> Told | int:
        """A registration that is in order; `born` orders those of one source. An int: the number of the one that has its place."""
        if number in self._places:
            return NOTHING
        for other in self._places.values():
            if other.source == source and other.endpoint == endpoint:
                return other.number
        telling = Telling()
        self._places[number] = Place(number, source, endpoint, serves_health, self.limits)
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
        place, telling = self._places.get(number), Telling()
        if place is None:
            return NOTHING
        self._apply(self.session.on(number, event), telling, now, wall)
        if event in (Event.STREAM_END, Event.DISCONNECT):
            place.memory.clear()
        if event is Event.REMOVE:
            del self._places[number]
        self._tell_standing(place.source.driver, telling)
        return telling.told()

    def heard(self, number: int, raw: bytes, now: float, wall: float) -> Told:
        """A report of this endpoint, as it came."""
        place = self._places.get(number)
        if place is None:
            return NOTHING
        place.reports += 1
        place.heard = wall
        telling, report = Telling(), None
        if self.session.stage(number) is Stage.CONNECTED:
            # The floor is taken by saying something of a device: neither rubbish nor an empty first report silences an older endpoint.
            report = self._decoded(number, raw, telling)
            if report is None or not report.devices:
                return telling.told()
            self._apply(self.session.on(number, Event.REPORT), telling, now, wall)
        generation = self.session.generation(number)
        if generation is None:
            place.memory.keep(raw, now, None)
            return telling.told()
        known = place.memory.find(raw)
        if known is not None and known.delivery is not None and self.ledger.renew(known.delivery, now, wall):
            known.arrived = now
            return telling.told()
        if report is not None or (report := self._decoded(number, raw, telling)) is not None:
            self._report(place, generation, raw, report, telling, now, wall)
        return telling.told()

    def expire(self, now: float, wall: float) -> Told:
        changed = self.ledger.expire(now, wall)
        return Told(changed) if changed else NOTHING

    def next_deadline(self) -> float | None:
        return self.ledger.next_deadline()

    # --- what survives a restart -------------------------------------------------------------------------------------------------

    def restore(self, rows: Rows, now: float, wall: float) -> Told:
        return Told(self.ledger.restore(rows, now, wall))

    def seed(self, key: DeviceKey, faults: tuple[Fault, ...], wall: float) -> Told:
        """What somebody else remembers of a device's past, where the ledger's own memory is gone: history alone, never a health. One that
        was never reported stays Unknown; a fault that lasted ends where knowledge begins again, or goes on if the first verdict is it."""
        return Told(self.ledger.seed(key, faults, wall))

    @property
    def unsaved(self) -> bool:
        """Whether a verdict changed since the last `drain`."""
        return self.ledger.unsaved

    def drain(self) -> Rows:
        """What changed since the last call."""
        return self.ledger.drain()

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
        return DeviceState(key, Health.UNKNOWN, why, "", 0.0, 0.0, None, self.ledger.remembered(key))

    def states(self) -> Mapping[DeviceKey, DeviceState]:
        """Every device that was ever reported (and not forgotten since)."""
        return self.ledger.states()

    def place(self, number: int) -> Place | None:
        return self._places.get(number)

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _report(
        self,
        place: Place,
        generation: int,
        raw: bytes,
        report: Report,
        telling: Telling,
        now: float,
        wall: float,
        heard: float | None = None,
    ) -> None:
        outcome = self.ledger.report(place.source, generation, report.devices, now, wall, heard)
        if outcome.refused:
            text = f"{place.source} reports more than the {self.limits.devices_per_driver} devices that are kept"
            telling.refuse(place.number, Reason.DEVICES, text, outcome.refused)
        if outcome.delivery is not None:
            place.memory.keep(raw, now if heard is None else heard, outcome.delivery)
        telling.changed |= outcome.changed

    def _decoded(self, number: int, raw: bytes, telling: Telling) -> Report | None:
        try:
            report = decode_report(raw, self.limits.entries_per_report)
        except PluginProtocolError as error:
            telling.refuse(number, Reason.REPORT, str(error))
            return None
        for refusal in report.refusals:
            telling.refuse(number, Reason.ENTRY, refusal)
        return report

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
        telling.say("speaks", driver=place.source.driver, source=place.source.source, endpoint=place.endpoint)
        # What it said while another spoke counts where nothing was heard of a device since.
        for heard in place.memory.not_taken():
            if (report := self._decoded(place.number, heard.raw, telling)) is not None:
                self._report(place, generation, heard.raw, report, telling, now, wall, heard.arrived)

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
