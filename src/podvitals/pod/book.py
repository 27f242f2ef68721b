"""Who holds what on this node, and what is to be said of it. Pure; the agent's one memory of pods.

Rules kept: a change costs the changed devices and the pods that hold them (11). A pod's devices do not change while it lives, so what it
held is remembered under its uid: when it ends, Kubernetes deletes its claims, and the health as of the end must stay (6). A fault found
within the post-mortem window is added to an ended pod, marked, unless the device has since served another pod.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from podvitals.claim.holdings import Holding, names_claims
from podvitals.claim.pod import Pod
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState
from podvitals.pod.earlier import Earlier, earlier_faults, holding_of
from podvitals.pod.end import as_of, in_order, last_words
from podvitals.pod.entry import ALL_LISTED, DeviceEntry, FaultEntry, Omitted, PodDevices, moment
from podvitals.pod.status import began, ended_at, entries, fault_entry

POST_MORTEM_WINDOW = 600.0
"""Seconds after a pod's end during which a fault of its devices is still added."""
_WRITTEN_ROUNDING = 0.001
# Times stand on a pod to the millisecond.
_MOST_LATE_FAULTS = 3
_NOBODY_KNOWS = 1e11
# Unix seconds, as good as never: memory is JSON, which has no infinity.

StateOf = Callable[[Pod, Holding], DeviceState]


class Memo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of a pod survives a restart. `final`: the entries as of its end at `ended` (Unix seconds). The last three are Record's."""

    uid: str
    namespace: str
    name: str
    holdings: tuple[Holding, ...] = ()
    ended: float | None = None
    final: tuple[DeviceEntry, ...] | None = None
    closed: frozenset[DeviceKey] = frozenset()
    set_back: float | None = None
    shown: float = 0.0
    omitted: Omitted = ALL_LISTED


class Record:
    """One pod. `known`: whether it is known what it holds, be it nothing. `closed`: devices that have served another pod since this one
    ended. `earlier`: the faults that stood on it when it was first seen. `set_back`: the earliest that the wall clock was during its life,
    where that was before its life began; 0.0 where it is not known. `shown`: the latest time it may have shown before it was set back in
    that life: any up to then may have come twice. `omitted`: what `final`, taken from the pod itself, leaves out."""

    __slots__ = ("closed", "earlier", "ended", "final", "holdings", "known", "omitted", "pod", "set_back", "shown")

    def __init__(self, pod: Pod, memo: Memo | None) -> None:
        self.pod = pod
        self.set_back: float | None = memo.set_back if memo else None
        self.shown = memo.shown if memo else 0.0
        self.omitted = memo.omitted if memo else ALL_LISTED
        self.earlier: dict[DeviceKey, Earlier] = {}
        self.holdings: tuple[Holding, ...] = memo.holdings if memo else ()
        self.known = bool(self.holdings) or not names_claims(pod)
        self.ended: float | None = memo.ended if memo else None
        self.final: tuple[DeviceEntry, ...] | None = memo.final if memo else None
        self.closed: frozenset[DeviceKey] = memo.closed if memo else frozenset()

    @property
    def began(self) -> float:
        """When its life began, Unix seconds, by the clock of the faults in it."""
        return began(self.pod) if self.set_back is None else min(began(self.pod), self.set_back)

    @property
    def keys(self) -> frozenset[DeviceKey]:
        return frozenset(holding.key for holding in self.holdings)

    def met(self, wall: float) -> None:
        """It is seen for the first time. Where its life begins later by the clock that started it, that was set back by nobody knows how
        much, and any fault on record may be of its life. (A pod that was not started yet goes by the API server's clock.)"""
        if wall < self.began and self.pod.status.start_time:
            self.set_back, self.shown = 0.0, _NOBODY_KNOWS
        self.lived(wall)

    def lived(self, wall: float, shown: float = _NOBODY_KNOWS) -> None:
        """It was there at `wall`. Where its life had not begun by then the clock was set back, from `shown` at the latest."""
        if wall < self.began:
            self.set_back, self.shown = wall, max(self.shown, shown)

    def stepped(self, to: float, shown: float) -> bool:
        """The clock was set back in its life; whether that is to be remembered."""
        before = self.set_back, self.shown
        self.shown = max(self.shown, shown)
        self.lived(to, shown)
        return before != (self.set_back, self.shown)

    def memo(self) -> Memo:
        meta = self.pod.metadata
        as_of_end = self.ended, self.final, self.closed
        return Memo(meta.uid, meta.namespace, meta.name, self.holdings, *as_of_end, self.set_back, self.shown, self.omitted)


class Book:
    """`state_of` tells a device's state as of now; it is asked when something is to be said, never before."""

    def __init__(self, node: str, version: str, state_of: StateOf, window: float = POST_MORTEM_WINDOW) -> None:
        self._node, self._version, self._state_of, self._window = node, version, state_of, window
        self._records: dict[str, Record] = {}
        self._by_key: dict[DeviceKey, dict[str, None]] = {}
        self._remembered: dict[str, Memo] = {}
        self._unsaved: dict[str, None] = {}
        self._unknown: dict[str, None] = {}
        """Living pods of which nobody knows yet what they hold: it may be any device."""
        self._synced = False
        self._doubt = -math.inf
        self._twice = (math.inf, -math.inf)
        """From when to when the clock may have shown each time twice."""

    # --- events ------------------------------------------------------------------------------------------------------------------

    def restore(self, memos: Iterable[Memo]) -> None:
        """What an earlier process remembered; taken up when the pod of that uid is seen."""
        self._remembered = {memo.uid: memo for memo in memos}

    def synced(self) -> None:
        """Every pod of the node has been seen: what is remembered of others is of no use any more."""
        self._unsaved.update(dict.fromkeys(self._remembered))
        self._remembered = {}
        self._synced = True
        self._close_all(self._doubt)

    def see(self, pod: Pod, wall: float, earlier: PodDevices | None = None) -> bool:
        """A pod as the API shows it now; whether it is news that it ended. `earlier`: what stood on it when it was first seen."""
        uid = pod.metadata.uid
        record = self._records.get(uid)
        if record is None:
            record = self._records[uid] = Record(pod, self._remembered.pop(uid, None))
            record.met(wall)
            if record.began <= self._twice[1]:
                record.stepped(*self._twice)
            self._take_over(record, earlier, wall)
            if record.shown:
                self._unsaved[uid] = None
            for key in record.keys:
                self._by_key.setdefault(key, {})[uid] = None
            if not pod.ended:
                self._close(record)
            elif not record.known:
                self._doubt = max(self._doubt, self._over(record, wall))
                if self._synced:
                    self._close_all(self._doubt)
            elif record.final is not None:
                # What was found while nobody watched, or before this process had seen the pod.
                late = [self._found_late(record, key, wall) for key in record.keys]
                return any(late)
        record.pod = pod
        record.known = record.known or not names_claims(pod)
        self._wonder(record)
        if pod.ended and record.final is None and record.holdings:
            self._end(record, wall)
            return True
        return False

    def hold(self, uid: str, holdings: tuple[Holding, ...]) -> bool:
        """What the pod holds has been read from its claims; whether that is news. An ended pod keeps what it held."""
        record = self._records.get(uid)
        if record is None or record.final is not None or (record.known and record.holdings == holdings):
            return False
        record.known = True
        self._wonder(record)
        for key in record.keys:
            self._unindex(key, uid)
        record.holdings = holdings
        for key in record.keys:
            self._by_key.setdefault(key, {})[uid] = None
            self._settle(record, key)
        self._close(record)
        self._unsaved[uid] = None
        return True

    def forget(self, uid: str) -> None:
        """The pod was deleted."""
        record = self._records.pop(uid, None)
        if record is not None:
            for key in record.keys:
                self._unindex(key, uid)
            self._unsaved[uid] = None
            if self._unknown.pop(uid, self) is None:
                self._close_all()

    def set_back(self, to: float, since: float) -> None:
        """The clock was, to a time not before `to`, from one not after `since` (Unix seconds). Every pod that lives was there then, known
        what it holds or not; and so may one have been that is seen later and began before."""
        back = [record for record in self._records.values() if record.final is None and record.stepped(to, since)]
        self._unsaved.update((record.pod.metadata.uid, None) for record in back)
        self._twice = (min(to, self._twice[0]), max(since, self._twice[1]))

    def late(self, wall: float) -> list[str]:
        """The ended pods of which a fault was found, now that more is known of who holds what."""
        ended = [record for record in self._records.values() if record.final is not None]
        found = [(record, [self._found_late(record, key, wall) for key in record.keys]) for record in ended]
        return [record.pod.metadata.uid for record, faults in found if any(faults)]

    def change(self, keys: Iterable[DeviceKey], wall: float) -> dict[str, None]:
        """These devices' states changed: the uids of the pods to be written, in a fixed order."""
        dirty: dict[str, None] = {}
        for key in keys:
            for uid in self._by_key.get(key, ()):
                record = self._records[uid]
                self._settle(record, key)
                if record.final is None or self._found_late(record, key, wall):
                    dirty[uid] = None
        return dirty

    # --- questions ---------------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def get(self, uid: str) -> Record | None:
        return self._records.get(uid)

    def holders(self, key: DeviceKey) -> list[Record]:
        return [self._records[uid] for uid in self._by_key.get(key, ())]

    def devices(self, uid: str) -> PodDevices | None:
        """What the annotation is to say; None where nothing is known of devices of this pod."""
        record = self._records.get(uid)
        if record is None or not record.holdings:
            return None
        if record.final is not None:
            ended = None if record.ended is None else moment(record.ended)
            return PodDevices(self._node, self._version, record.final, record.omitted, ended)
        return PodDevices(self._node, self._version, self._entries(record))

    @property
    def unsaved(self) -> bool:
        return bool(self._unsaved)

    def drain(self) -> Mapping[str, Memo | None]:
        """What changed since the last call and should survive a restart; None: forget it."""
        changed = {uid: record.memo() if (record := self._records.get(uid)) else None for uid in self._unsaved}
        self._unsaved = {}
        return changed

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _take_over(self, record: Record, earlier: PodDevices | None, wall: float) -> None:
        if earlier is None:
            return
        if record.final is None:
            record.earlier = earlier_faults(earlier.entries, wall)
            # What stands on it met its life: where it ended before that began, the clock was set back meanwhile (and perhaps on again).
            faults = (fault for one in record.earlier.values() for fault in one.faults)
            ends = (fault.start if fault.end is None else fault.end for fault in faults)
            record.lived(min(ends, default=wall + _WRITTEN_ROUNDING) - _WRITTEN_ROUNDING)
            for key in record.keys:
                self._settle(record, key)
        if record.pod.ended and not record.known:
            # Its claims are gone, and so is our memory of it.
            record.holdings = tuple(holding_of(entry) for entry in earlier.entries)
            record.final, record.ended = last_words(earlier, ended_at(record.pod))
            record.closed, record.omitted = record.keys, earlier.omitted
            self._unsaved[record.pod.metadata.uid] = None

    def _entries(self, record: Record) -> tuple[DeviceEntry, ...]:
        return entries(record.began, record.holdings, self._stating(record))

    def _stating(self, record: Record) -> Callable[[DeviceKey], DeviceState]:
        by_key = {holding.key: holding for holding in record.holdings}

        def state(key: DeviceKey) -> DeviceState:
            told, earlier = self._state_of(record.pod, by_key[key]), record.earlier.get(key)
            if earlier is None:
                return told
            record.earlier[key] = earlier.settle(told)
            return record.earlier[key].joined(told)

        return state

    def _settle(self, record: Record, key: DeviceKey) -> None:
        earlier = record.earlier.get(key)
        if earlier is not None and not earlier.settled:
            holding = next((holding for holding in record.holdings if holding.key == key), None)
            if holding is not None:
                record.earlier[key] = earlier.settle(self._state_of(record.pod, holding))

    def _unindex(self, key: DeviceKey, uid: str) -> None:
        holders = self._by_key.get(key, {})
        holders.pop(uid, None)
        if not holders:
            self._by_key.pop(key, None)

    def _close(self, record: Record) -> None:
        """A living pod holds these devices: what happens to them from now on is not news of pods that ended before."""
        for holding in record.holdings:
            if not holding.admin:
                for uid in self._by_key[holding.key]:
                    other = self._records[uid]
                    if other.final is not None and holding.key not in other.closed:
                        other.closed |= {holding.key}
                        self._unsaved[uid] = None

    def _wonder(self, record: Record) -> None:
        uid = record.pod.metadata.uid
        if not record.known and not record.pod.ended:
            self._unknown[uid] = None
        elif self._unknown.pop(uid, self) is None and not record.known:
            self._close_all()

    def _over(self, record: Record, wall: float) -> float:
        """When a pod of which nobody knows what it held was over at the latest: where it does not say, when that was first seen."""
        end = ended_at(record.pod) if record.ended is None else record.ended
        if end is None and record.final is None:
            record.ended = wall
            self._unsaved[record.pod.metadata.uid] = None
        return wall if end is None else end

    def _close_all(self, until: float = math.inf) -> None:
        """A pod is over, since `until` (Unix seconds), of which nobody ever knew what it held: it may have been any device."""
        for record in self._records.values():
            earlier = record.ended is None or record.ended < until
            if record.final is not None and earlier and not record.closed >= record.keys:
                record.closed |= record.keys
                self._unsaved[record.pod.metadata.uid] = None

    def _serves_another(self, record: Record, key: DeviceKey) -> bool:
        others = (other for other in self.holders(key) if other is not record and other.final is None)
        return any(holding.key == key and not holding.admin for other in others for holding in other.holdings)

    def _end(self, record: Record, wall: float) -> None:
        end = ended_at(record.pod)
        ended = record.ended = wall if end is None else end
        state, sure = self._stating(record), in_order(ended, wall, twice=ended <= record.shown)
        record.final = entries(record.began, record.holdings, lambda key: as_of(state(key), ended, wall, sure=sure))
        record.earlier = {}
        record.closed |= {key for key in record.keys if self._serves_another(record, key)}
        self._unsaved[record.pod.metadata.uid] = None
        for key in record.keys:
            self._found_late(record, key, wall)

    def _found_late(self, record: Record, key: DeviceKey, wall: float) -> bool:
        """Adds faults that were found after the pod's end; whether there were any. Not while a pod may hold the device unknown to us."""
        if not self._synced or self._unknown:
            return False
        if record.final is None or record.ended is None or key in record.closed or wall > record.ended + self._window:
            return False
        holding = next(holding for holding in record.holdings if holding.key == key)
        state = self._state_of(record.pod, holding)
        since = max(record.ended, record.began)
        after = (fault_entry(fault, after_end=True) for fault in state.faults if fault.health is Health.UNHEALTHY and fault.start > since)
        # What began in the second of the end is on record as of the end, unless it was not there yet when the end was seen.
        known = {fault.start for entry in record.final if entry.key == key for fault in entry.faults if not fault.after_end}
        found = [fault for fault in after if fault.start not in known]
        final = tuple(_with_late(entry, found) if entry.key == key else entry for entry in record.final)
        if final == record.final:
            return False
        record.final = final
        self._unsaved[record.pod.metadata.uid] = None
        return True


def _with_late(entry: DeviceEntry, found: list[FaultEntry]) -> DeviceEntry:
    late = {fault.start: fault for fault in entry.faults if fault.after_end}
    late.update((fault.start, fault) for fault in found)
    kept = [fault for fault in entry.faults if not fault.after_end]
    return msgspec.structs.replace(entry, faults=(*kept, *list(late.values())[:_MOST_LATE_FAULTS]))
