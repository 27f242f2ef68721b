"""Refuted twins: agents that are wrong in one way each. The simulation must find every one of them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from podvitals.claim.holdings import Holding
from podvitals.claim.pod import Pod
from podvitals.device.key import DeviceKey
from podvitals.node.hearing import Place
from podvitals.node.limits import Limits
from podvitals.node.record import SourceKey
from podvitals.node.rows import Rows
from podvitals.node.session import Event
from podvitals.node.standstill import Standstill
from podvitals.node.switchboard import Switchboard
from podvitals.node.told import NOTHING, Told
from podvitals.pod.book import Memo
from podvitals.pod.desk import Desk, Patch, Vouch
from podvitals.pod.outbox import Outcome, Wanted
from tests.chaos.kit import Kit


class _Board(Kit):
    kind: type[Switchboard] = Switchboard

    def board(self, standstill: Standstill) -> Switchboard:
        return self.kind(Limits(), standstill=standstill)


class _Desk(Kit):
    kind: type[Desk] = Desk

    def desk(self, node: str, board: Switchboard, jitter: Callable[[], float]) -> Desk:
        return self.kind(node, "chaos", board.state, jitter)


class KeyedByDriverAlone(_Board):
    """The sources of a driver are one: an auxiliary source and the driver overwrite each other (kubernetes#140818)."""

    class kind(Switchboard):
        def register(self, number: int, source: SourceKey, endpoint: str, born: int, **more: Any) -> Any:
            return super().register(number, SourceKey(source.driver), endpoint, born, **more)


class KeyedByNameAlone(_Desk):
    """Two drivers may both have a device d0."""

    class kind(Desk):
        def __init__(self, node: str, version: str, state_of: Callable[[DeviceKey], Any], jitter: Callable[[], float]) -> None:
            super().__init__(node, version, lambda key: state_of(key._replace(driver="gpu.example.com")), jitter)


class LazyLeases(_Board):
    """Leases are looked at when something else happens (kubernetes#140819)."""

    class kind(Switchboard):
        def next_deadline(self) -> float | None:
            return None

        def heard(self, number: int, raw: bytes, now: float, wall: float, arrived: float | None = None) -> Told:
            ended = self.expire(now, wall)
            told = super().heard(number, raw, now, wall, arrived)
            return Told(told.changed | ended.changed, told.refused, told.lines)


class ClearsOnStreamEnd(_Board):
    """The end of any stream makes what its driver said Unknown (CONTRACT §5)."""

    class kind(Switchboard):
        def event(self, number: int, event: Event, now: float, wall: float) -> Told:
            told = super().event(number, event, now, wall)
            place = self.place(number)
            if event in (Event.STREAM_END, Event.DISCONNECT) and place is not None:
                self.ledger.disconnected(place.source, "gone", now - 60.0)
                ended = self.ledger.expire(now, wall)
                return Told(told.changed | ended, told.refused, told.lines)
            return told


class DropsNotifications(_Desk):
    """Two changes fit into the queue; more that come before the next is taken are dropped."""

    class kind(Desk):
        queued = 0

        def change(self, keys: Iterable[DeviceKey], now: float, wall: float) -> None:
            for key in sorted(keys):
                self.queued += 1
                if self.queued <= 2:
                    super().change((key,), now, wall)

        def take(self, now: float, wall: float, most: int | None = None) -> Patch | None:
            self.queued = 0
            return super().take(now, wall, most)


class NoFence(_Board):
    """Whoever speaks last is believed."""

    class kind(Switchboard):
        def heard(self, number: int, raw: bytes, now: float, wall: float, arrived: float | None = None) -> Told:
            place = self.place(number)
            if place is None:
                return NOTHING
            generation = self.session.generation

            def anybody(endpoint: int) -> int | None:
                return generation(endpoint) or (1 << 40 if endpoint == number else None)

            self.session.generation = anybody  # type: ignore[method-assign]
            try:
                return super().heard(number, raw, now, wall, arrived)
            finally:
                self.session.generation = generation  # type: ignore[method-assign]


class OldestSpeaks(_Board):
    """In a rolling update the new process is not believed before the old one is gone."""

    class kind(Switchboard):
        def register(self, number: int, source: SourceKey, endpoint: str, born: int, **more: Any) -> Any:
            return super().register(number, source, endpoint, -born, **more)


class ForgetsWhatAnOlderOneSaid(_Board):
    """When the newer endpoint goes, what the older one said meanwhile is not taken up."""

    class kind(Switchboard):
        def _hand_over(self, place: Place, *more: Any) -> None:
            place.memory.clear()
            super()._hand_over(place, *more)


class RestoreRenewsLeases(_Board):
    """After a restart each lease begins anew."""

    class kind(Switchboard):
        def restore(self, rows: Rows, now: float, wall: float) -> Told:
            return super().restore(Rows(rows.facts, rows.devices, dict.fromkeys(rows.heard, now)), now, wall)


class SavesNoHeard(_Board):
    """A checkpoint written on change only: its times are those of the first report, not of the last."""

    class kind(Switchboard):
        def drain(self, most: int | None = None) -> Rows:
            rows = super().drain(most)
            return rows if rows.facts else Rows(rows.facts, rows.devices)


class PatchWithoutUid(_Desk):
    """A patch that goes to whoever has the name."""

    class kind(Desk):
        def take(self, now: float, wall: float, most: int | None = None) -> Patch | None:
            patch = super().take(now, wall, most)
            if patch is None:
                return None
            metadata = {key: value for key, value in _dict(patch.body["metadata"]).items() if key != "uid"}
            return Patch(patch.uid, patch.namespace, patch.name, {**patch.body, "metadata": metadata})


class CachedByPodName(_Desk):
    """What is to be said is kept under the pod's name: its successor is told of its predecessor's devices first."""

    class kind(Desk):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.cache: dict[str, tuple[str, Wanted]] = {}

        def _wanted(self, uid: str, now: float, wall: float) -> Any:
            wanted, record = super()._wanted(uid, now, wall), self.book.get(uid)
            if not isinstance(wanted, Wanted) or record is None:
                return wanted
            known, cached = self.cache.get(record.pod.metadata.name, (uid, wanted))
            self.cache[record.pod.metadata.name] = (uid, wanted)
            return wanted if known == uid else cached


class BelievesItsPatches(_Desk):
    """What was sent is taken for written, whatever the watch shows later."""

    class kind(Desk):
        def see(self, pod: Pod, now: float, wall: float) -> str:
            observe, self.outbox.observe = self.outbox.observe, lambda *args: None  # type: ignore[method-assign]
            try:
                return super().see(pod, now, wall)
            finally:
                self.outbox.observe = observe  # type: ignore[method-assign]


class GivesUpOnFailure(_Desk):
    """A patch that failed is not tried again before something else changes."""

    class kind(Desk):
        def done(self, uid: str, outcome: Outcome, now: float, *, pod: Pod | None = None, retry_after: float = 0.0) -> None:
            super().done(uid, outcome, now, pod=pod, retry_after=retry_after)
            parcel = self.outbox._parcels.get(uid)
            if outcome not in (Outcome.SENT, Outcome.GONE) and parcel is not None:
                parcel.annotate_at = None
                self.outbox._turns.forget(uid)


class VouchesAlways(_Desk):
    """The Lease is renewed whatever could be told."""

    class kind(Desk):
        def vouch(self, now: float, *, standing: bool) -> Vouch:
            return Vouch({})


class ForgetsEndedPods(_Desk):
    """A pod's memory ends with its claims."""

    class kind(Desk):
        def drain(self) -> Mapping[str, Memo | None]:
            memos = super().drain()
            return {uid: None if memo is None or memo.final is not None else memo for uid, memo in memos.items()}


class TellsEndedPodsEverything(_Desk):
    """Faults of a device that serves another pod by now go to the one that ended too."""

    class kind(Desk):
        def hold(self, uid: str, holdings: tuple[Holding, ...], now: float, wall: float) -> bool:
            news = super().hold(uid, holdings, now, wall)
            for record in self.book:
                record.closed = frozenset()
            return news


class NoPastFaults(_Board):
    """A fault is forgotten when it is over."""

    class kind(Switchboard):
        def state(self, key: DeviceKey) -> Any:
            state = super().state(key)
            open_ones = tuple(fault for fault in state.faults if fault.end is None)
            return type(state)(
                state.key, state.health, state.message, state.action, state.since, state.checked_at, state.deadline, open_ones
            )


def _dict(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


TWINS: dict[type[Kit], int] = {
    KeyedByDriverAlone: 0,
    LazyLeases: 0,
    ClearsOnStreamEnd: 1,
    DropsNotifications: 0,
    KeyedByNameAlone: 0,
    NoFence: 4,
    OldestSpeaks: 4,
    ForgetsWhatAnOlderOneSaid: 32,
    RestoreRenewsLeases: 30,
    SavesNoHeard: 36,
    PatchWithoutUid: 81,
    CachedByPodName: 0,
    BelievesItsPatches: 7,
    GivesUpOnFailure: 3,
    VouchesAlways: 3,
    ForgetsEndedPods: 29,
    TellsEndedPodsEverything: 50,
    NoPastFaults: 2,
}
"""Each with a seed that found it when this was written, to be tried first. The first four are those that issue 4 names."""
