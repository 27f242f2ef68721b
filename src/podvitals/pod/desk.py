"""The agent's desk: pods, what they hold, changed devices and the API's answers in; patches, notices and memos out. Pure.

It owns the book (who holds what), the outbox (when which pod is written), the notices (what is announced) and what the API has shown of
ours on each pod. All that an agent decides about pods is decided here; the shells (`publish`, `events`, `agent/compose`) own sockets,
tasks and time, so a simulation of this is a simulation of what ships. A pod is always known by its uid.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count

import msgspec

from podvitals.claim.holdings import Holding
from podvitals.claim.meta import Condition
from podvitals.claim.pod import Pod
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.errors import InvalidInput
from podvitals.node.record import DeviceState
from podvitals.pod.book import POST_MORTEM_WINDOW, Book, Memo
from podvitals.pod.entry import ANNOTATION, CONDITION, PodDevices, decode
from podvitals.pod.guest import Guests
from podvitals.pod.notice import Notices
from podvitals.pod.nudge import Nudges
from podvitals.pod.outbox import Letter, Nothing, Outbox, Outcome, Shown, Wanted
from podvitals.pod.status import Said, said

StateOf = Callable[[DeviceKey], DeviceState]

UNTOLD_LIMIT = 20.0
"""Seconds a truth may wait to be told to a pod before readers are warned of that pod."""
MOST_UNTOLD = 32
"""Pods that can be named so. Where more wait, nothing is vouched for: then it is not a few pods that have trouble, it is this agent."""

SET_BACK = 1.0
"""Seconds by which the wall clock must have been set back to be noticed: times on pods are no better than that."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One strategic-merge patch on `pods/status`. `body` holds the uid, so another pod of the same name refuses it (CONTRACT §4)."""

    uid: str
    namespace: str
    name: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Vouch:
    """What the agent's Lease may say: that what stands on the pods is kept up to date, but on those of `untold` (uid → since when, in
    boottime). `withheld`: why it may say nothing at all, "" where it may."""

    untold: Mapping[str, float]
    withheld: str = ""


class Desk:
    """`state_of` tells a device's state as of now; it is asked when something is to be said. `leave`: drivers nobody here listens to, whose
    devices are what the kubelet's field says. `jitter` gives a number from 0 to 1 for each pause."""

    def __init__(
        self,
        node: str,
        version: str,
        state_of: StateOf,
        jitter: Callable[[], float],
        *,
        leave: frozenset[str] = frozenset(),
        window: float = POST_MORTEM_WINDOW,
    ) -> None:
        self._state_of, self._leave = state_of, leave
        self.book = Book(node, version, self._state, window)
        self.outbox = Outbox(jitter)
        self.notices = Notices()
        self._guests = Guests()
        self._nudges = Nudges()
        self._seen: dict[str, _Seen] = {}
        self._synced = False
        self._named: dict[str, float] = {}
        self._silent_until: float | None = None
        self._asked = 0.0
        self._news = False
        self._ahead, self._looked = -math.inf, 0.0

    # --- events ------------------------------------------------------------------------------------------------------------------

    def restore(self, memos: Iterable[Memo]) -> None:
        """What an earlier process remembered of pods."""
        self.book.restore(memos)

    def synced(self, now: float, wall: float) -> None:
        """Every pod of the node has been seen."""
        self._synced = True
        self.book.synced()
        self._mark(self.book.late(wall), now)

    def see(self, pod: Pod, now: float, wall: float) -> str:
        """A pod as the API shows it. What is wrong with the annotation found on a pod seen for the first time, "" for nothing."""
        self._look_at_the_clock(now, wall)
        uid, trouble, earlier = pod.metadata.uid, "", None
        first = self.book.get(uid) is None
        if first:
            earlier, trouble = _earlier(pod)
            if earlier is not None:
                # What an earlier agent told of the pod is not announced again.
                self.notices.begin(uid, earlier.entries)
                self._guests.begin(uid, earlier.entries)
                self._nudges.begin(uid, earlier.nudge)
        seen = self._seen.setdefault(uid, _Seen(now))
        if seen.take(pod):
            # Where somebody else changed what is ours, it is written again.
            self.outbox.observe(uid, seen.shown, now)
        pod = bare(pod)
        looked = self._look(pod, wall)  # before the book, which closes the record of a pod that has ended
        news = self.book.see(pod, wall, earlier)
        if looked or first or news:
            self.outbox.mark(uid, now)
        if first:
            self._look(pod, wall)
        self._compare(uid, now)
        return trouble

    def gone(self, uid: str, now: float, wall: float) -> None:
        """The pod was deleted."""
        self._seen.pop(uid, None)
        self._guests.forget(uid)
        self._nudges.forget(uid)
        self.outbox.forget(uid)
        self.notices.forget(uid)
        self.book.forget(uid)
        self._mark(self.book.late(wall), now)

    def hold(self, uid: str, holdings: tuple[Holding, ...], now: float, wall: float) -> bool:
        """What the pod holds has been read from its claims, be it nothing; whether that is news."""
        record = self.book.get(uid)
        if record is None or not self.book.hold(uid, holdings):
            return False
        self._look(record.pod, wall)
        self._mark((uid, *self.book.late(wall)), now)
        return True

    def change(self, keys: Iterable[DeviceKey], now: float, wall: float) -> None:
        """These devices' states changed."""
        self._look_at_the_clock(now, wall)
        self._mark(self.book.change(keys, wall), now)

    def take(self, now: float, wall: float, most: int | None = None) -> Patch | None:
        """A patch to send now, built of what is known at this moment; None: nothing until `next_deadline` or the next event. What it says
        is in the notices already. Each patch is followed by `done`, whatever becomes of it. Of `most` pods that have nothing to say no
        more are looked at; then `next_deadline` is now."""
        for late in self._nudges.take(now):
            self.outbox.mark(late, now)
        for _ in count() if most is None else range(most):
            if (uid := self.outbox.take(now)) is None:
                return None
            record = self.book.get(uid)
            letter = self.outbox.compose(uid, self._wanted(uid, now, wall), now)
            if letter is None:
                self._compare(uid, now)  # nothing to say; but the kubelet may say something else
            else:
                assert record is not None
                meta = record.pod.metadata
                return Patch(uid, meta.namespace, meta.name, self._body(uid, letter, wall))
        return None

    def done(self, uid: str, outcome: Outcome, now: float, *, pod: Pod | None = None, retry_after: float = 0.0) -> None:
        """What became of a patch. `pod`: the answer, where there was one. `retry_after`: seconds the server asked for."""
        seen = self._seen.get(uid)
        shown = None
        if pod is not None:
            answer = _Seen(now)
            answer.take(pod)
            shown = answer.shown
            if seen is not None:
                seen.take(pod)
        self.outbox.done(uid, outcome, now, shown=shown, retry_after=retry_after)
        if seen is not None and outcome is not Outcome.GONE:
            # What the watch showed while the patch was under way, if it is newer than the answer.
            self.outbox.observe(uid, seen.shown, now)
        if uid in self._named and uid not in self._waiting(now):
            del self._named[uid]
        if outcome is Outcome.SENT:
            self._compare(uid, now)

    # --- questions ---------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `take` may have something although no event came; None: not before one."""
        return min((due for due in (self.outbox.next_deadline(), self._nudges.next_deadline()) if due is not None), default=None)

    def announces(self) -> bool:
        """Whether there are notices that were not there at the last call."""
        news, self._news = self._news, False
        return news

    def vouch(self, now: float, *, standing: bool) -> Vouch:
        """Whether the Lease may be renewed. `standing`: readers still believe this agent, and so each pod has its time to be told; after a
        silence it has none before it was told once."""
        if not self._synced:
            return Vouch({}, "not every pod of this node has been seen")
        if standing:
            self._silent_until = None
        elif self._silent_until is None or now - self._asked > UNTOLD_LIMIT:
            # Nobody asks so seldom but who slept: that is another silence than the one before.
            self._silent_until = now
        self._asked = now
        waiting = self._waiting(now)
        self._named = {uid: self._named.get(uid, now) for uid, since in waiting.items() if self._overdue(uid, since, now)}
        untold = {uid: waiting[uid] for uid in self._named}
        return Vouch(untold, f"{len(untold)} pods could not be told the truth" if len(untold) > MOST_UNTOLD else "")

    def _overdue(self, uid: str, since: float, now: float) -> bool:
        """Not told within its time; or not told at all since a silence ended, or since it was named: nobody vouched for it meanwhile."""
        told = self.outbox.told(uid)
        named = self._named.get(uid)
        silence = self._silent_until
        return since <= now - UNTOLD_LIMIT or (silence is not None and told <= silence) or (named is not None and told <= named)

    def _waiting(self, now: float) -> dict[str, float]:
        """The pods on which something of ours stands that is not known to be so, and since when."""
        waiting = self.outbox.untold(now)
        for record in self.book:
            seen = self._seen[record.pod.metadata.uid]
            if not record.known and not record.pod.ended and seen.shown != Shown():
                # Somebody wrote something on it, and nobody here knows what it holds.
                waiting[record.pod.metadata.uid] = seen.since
        return waiting

    @property
    def unsaved(self) -> bool:
        return self.book.unsaved

    def drain(self) -> Mapping[str, Memo | None]:
        """What changed since the last call and should survive a restart; None: forget it."""
        return self.book.drain()

    def everything(self) -> Mapping[str, Memo | None]:
        """All that should survive a restart, for a memory that begins anew."""
        return {record.pod.metadata.uid: record.memo() for record in self.book if record.holdings or record.ended is not None}

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _look_at_the_clock(self, now: float, wall: float) -> None:
        """Boottime tells by how much the wall clock was set back, in a sleep too. It may have been right after the last look."""
        back = self._ahead - (wall - now)
        if back > SET_BACK:
            self.book.set_back(self._ahead + self._looked - back, self._ahead + now)
        self._ahead, self._looked = wall - now, now

    def _mark(self, uids: Iterable[str], now: float) -> None:
        for uid in uids:
            self.outbox.mark(uid, now)

    def _look(self, pod: Pod, wall: float) -> bool:
        """Whether the pod holds devices of drivers that are left alone, which it then has been asked for."""
        record = self.book.get(pod.metadata.uid)
        guests = [holding for holding in record.holdings if holding.key.driver in self._leave] if record is not None else []
        if guests:
            self._guests.look(pod, guests, wall)
        return bool(guests)

    def _state(self, pod: Pod, holding: Holding) -> DeviceState:
        return self._guests.state(pod, holding) if holding.key.driver in self._leave else self._state_of(holding.key)

    def _wanted(self, uid: str, now: float, wall: float) -> Wanted | Nothing | None:
        devices, record = self.book.devices(uid), self.book.get(uid)
        if devices is None or record is None:
            return Nothing() if record is not None and record.known else None
        self._news |= self.notices.tell(record.pod, devices.entries, now, wall)
        return _wanted(msgspec.structs.replace(devices, nudge=self._nudges.count(uid, devices)))

    def _compare(self, uid: str, now: float) -> None:
        """Whether the kubelet's own field lags behind what stands on the pod."""
        record = self.book.get(uid)
        if record is not None:
            self._nudges.look(record.pod, now)

    def _body(self, uid: str, letter: Letter, wall: float) -> Mapping[str, object]:
        metadata: dict[str, object] = {"uid": uid}
        body: dict[str, object] = {"metadata": metadata}
        if letter.clear:
            metadata["annotations"] = {ANNOTATION: None}
            body["status"] = {"conditions": [{"type": CONDITION, "$patch": "delete"}]}
        if letter.annotation is not None:
            metadata["annotations"] = {ANNOTATION: letter.annotation}
        if letter.condition is not None:
            seen = self._seen.get(uid)
            stamped = letter.condition.stamped(seen.condition if seen is not None else None, wall)
            body["status"] = {"conditions": [_written(stamped)]}
        return body


class _Seen:
    """The newest of ours that the API has shown on a pod, in an answer to a patch or in the watch. `since`: when it was first seen,
    boottime."""

    __slots__ = ("condition", "shown", "since", "version")

    def __init__(self, now: float) -> None:
        self.since = now
        self.version = -1
        self.condition: Condition | None = None
        self.shown = Shown()

    def take(self, pod: Pod) -> bool:
        """False for what is older than what was seen already."""
        version = int(pod.metadata.resource_version) if pod.metadata.resource_version.isdecimal() else self.version
        if version < self.version:
            return False
        self.version = version
        self.condition = pod.condition(CONDITION)
        told = None
        if self.condition is not None:
            told = Said(self.condition.status, self.condition.reason or "", self.condition.message or "")
        self.shown = Shown.of(told, pod.metadata.annotations.get(ANNOTATION))
        return True


def bare(pod: Pod) -> Pod:
    """The pod without its annotations: ours alone may have 64 KiB."""
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, annotations={}))


def _earlier(pod: Pod) -> tuple[PodDevices | None, str]:
    """What the pod's annotation says, or what is wrong with it."""
    text = pod.metadata.annotations.get(ANNOTATION)
    try:
        return (None, "") if text is None else (decode(text, f"{pod.metadata.namespace}/{pod.metadata.name}"), "")
    except InvalidInput as error:
        return None, str(error)


def _wanted(devices: PodDevices) -> Wanted:
    unknown = frozenset(entry.key for entry in devices.entries if entry.health is Health.UNKNOWN)
    return Wanted(said(devices.entries), devices.encode, unknown)


def _written(condition: Condition) -> dict[str, object]:
    """Every field by name: the struct leaves out what is its default, and a merge would keep the status that was there before."""
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
    }
