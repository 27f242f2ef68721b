"""When which pod is written, and how much of it. Pure: marks, results and `now` go in, letters come out.

Rules kept: nothing is queued but "this pod is dirty", and a letter is composed when it is sent (4). The condition goes at once, the
annotation at most once a second a pod, except where a lease ended or came back: there the annotation goes with it, because it makes the
kubelet look (7). What the API shows already is not sent again, and what somebody else changed is sent again (9). A server in trouble
gets one request at a time with growing pauses, and everything anew once it answers.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from podvitals.device.key import DeviceKey
from podvitals.pod.status import Said

IN_FLIGHT = 8
ANNOTATION_PACE = 1.0
"""Seconds between two annotations of a pod: each makes the kubelet sync the pod."""
NUDGES = 3
"""How many annotations of a pod may go at once although the pace is not kept, because a lease ended or came back; one more each second:
a device that flaps must not keep the kubelet busy."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
SPREAD = 0.5
"""The part of a Retry-After by which agents that were told the same moment come later, each by another."""
REFUSED_PAUSE = 60.0
"""Until an annotation the API server would not take is tried again; meanwhile the condition goes alone."""


class Outcome(StrEnum):
    SENT = "sent"
    GONE = "gone"  # the pod is no more, or another has its name
    AGAIN = "again"  # this write failed; others may succeed: conflict, fault of the server
    TROUBLE = "trouble"  # the server has trouble, or there is none: unreachable, overloaded
    DENIED = "denied"  # 401, 403
    REFUSED = "refused"  # 422: the annotations of the pod are too large together, or an admission rule does not want them


@dataclass(frozen=True, slots=True)
class Shown:
    """What the API shows of ours on a pod; None: not there. Of the annotation a digest: the texts of a full node are megabytes."""

    condition: Said | None = None
    annotation: bytes | None = None

    @classmethod
    def of(cls, condition: Said | None, annotation: str | None) -> "Shown":
        return cls(condition, None if annotation is None else _digest(annotation))


_NOTHING = Shown()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be shown. `annotation` is built only when it may be sent. `unknown`: the devices that are Unknown; a lease ended
    or came back where these change."""

    condition: Said
    annotation: Callable[[], str]
    unknown: frozenset[DeviceKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing of ours is to be shown: the pod holds no device."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What to send now; None: this part not. `clear`: take away what is there of ours."""

    condition: Said | None
    annotation: str | None
    clear: bool = False


class _Parcel:
    """A pod's state here. `annotate_at`: when an annotation that had to wait may go. `since`: since when there is something that no letter
    says yet; `sending`: since when there is something that was or will be in a letter and has not arrived. `told`: when it said the truth
    last. `arrived`: whether something of ours may stand on the pod although no watch has shown it."""

    __slots__ = (
        "annotate_at", "annotated", "arrived", "dirty", "failures", "in_flight", "letter",
        "not_before", "nudged", "nudges", "refused_until", "sending", "shown", "since", "told", "unknown",
    )  # fmt: skip

    def __init__(self) -> None:
        self.shown = Shown()
        self.arrived = False
        self.dirty = False
        self.since: float | None = None
        self.sending: float | None = None
        self.told: float | None = None
        self.in_flight = False
        self.letter: Letter | None = None
        self.annotated: float | None = None
        self.annotate_at: float | None = None
        self.unknown: frozenset[DeviceKey] | None = None
        self.nudges, self.nudged = float(NUDGES), 0.0
        self.refused_until = 0.0
        self.failures = 0
        self.not_before = 0.0

    @property
    def waiting(self) -> float | None:
        return self.since if self.sending is None else self.sending

    def due(self, now: float) -> bool:
        waited = self.annotate_at is not None and self.annotate_at <= now
        return (self.dirty or waited) and not self.in_flight and self.not_before <= now


class Outbox:
    """`jitter` gives a number from 0 to 1 for each pause, so that the agents of a cluster do not come back together."""

    def __init__(self, jitter: Callable[[], float], in_flight: int = IN_FLIGHT) -> None:
        self._jitter, self._most = jitter, in_flight
        self._parcels: dict[str, _Parcel] = {}
        self._ready: dict[str, None] = {}
        self._later: list[tuple[float, str]] = []
        self._in_flight = 0
        self._trouble = 0
        self._paused_until = 0.0

    # --- events ------------------------------------------------------------------------------------------------------------------

    def mark(self, uid: str, now: float) -> None:
        """Something else is to be said of this pod."""
        parcel = self._parcels.setdefault(uid, _Parcel())
        parcel.dirty = True
        parcel.since = now if parcel.since is None else parcel.since
        if not parcel.in_flight:
            self._enqueue(uid, parcel, now)

    def observe(self, uid: str, shown: Shown, now: float) -> None:
        """What a watch shows of the pod. Not while a letter is under way: its answer is newer."""
        parcel = self._parcels.setdefault(uid, _Parcel())
        if not parcel.in_flight:
            parcel.shown, before = shown, parcel.shown
            if before != shown:
                self.mark(uid, now)

    def forget(self, uid: str) -> None:
        parcel = self._parcels.pop(uid, None)
        self._ready.pop(uid, None)
        if parcel is not None and parcel.in_flight:
            self._in_flight -= 1

    def take(self, now: float) -> str | None:
        """A pod to write now, or None. Follow with `compose`."""
        while self._later and self._later[0][0] <= now:
            _, uid = heapq.heappop(self._later)
            parcel = self._parcels.get(uid)
            if parcel is not None and parcel.due(now):
                self._ready[uid] = None
        if now < self._paused_until or self._in_flight >= self._room or not self._ready:
            return None
        uid = next(iter(self._ready))
        del self._ready[uid]
        parcel = self._parcels[uid]
        parcel.in_flight = True
        self._in_flight += 1
        return uid

    def compose(self, uid: str, wanted: Wanted | Nothing | None, now: float) -> Letter | None:
        """The letter to a pod that was taken. None: nothing is to be sent now, and the pod is no longer taken."""
        parcel = self._parcels.get(uid)
        if parcel is None:
            return None
        parcel.sending = now if parcel.waiting is None else parcel.waiting
        parcel.dirty, parcel.since = False, None
        letter = None if wanted is None else self._letter(uid, parcel, wanted, now)
        if letter is None:
            self._release(parcel)
            if wanted is None:
                # Nobody knows what it should say: nothing waits to be told, and it was not told either.
                parcel.sending, parcel.failures = None, 0
            else:
                self._told(parcel, now)  # what could not be told is not so any more
        parcel.letter = letter
        return letter

    def done(self, uid: str, outcome: Outcome, now: float, *, shown: Shown | None = None, retry_after: float = 0.0) -> None:
        """What became of the letter. `shown`: the pod as the answer had it."""
        self._judge(outcome, now, retry_after)
        parcel = self._parcels.get(uid)
        if parcel is None or not parcel.in_flight:
            return
        self._release(parcel)
        letter, parcel.letter = parcel.letter, None
        if outcome is Outcome.GONE:
            self.forget(uid)
            return
        parcel.arrived |= outcome in (Outcome.SENT, Outcome.AGAIN, Outcome.TROUBLE)
        if outcome is Outcome.SENT:
            before, parcel.shown = parcel.shown, shown or parcel.shown
            if letter is None or _kept(letter, parcel.shown):
                self._told(parcel, now)
                if letter is not None and parcel.shown != _after(letter, before):
                    # Somebody wrote meanwhile, perhaps we ourselves: a patch that got no answer may arrive after the next one was composed.
                    self.mark(uid, now)
                if parcel.due(now):
                    # Changed meanwhile, or the time of its annotation came while the letter was under way.
                    self._ready[uid] = None
                return
        if outcome is Outcome.REFUSED and (letter is None or letter.annotation is None):
            outcome = Outcome.AGAIN  # it was not the annotation that was refused
        self._fail(uid, parcel, outcome, now, retry_after)

    # --- questions ---------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `take` may have something although no event came; None: not before one."""
        if self._in_flight >= self._room:
            return None
        if self._ready:
            return self._paused_until
        return max(self._later[0][0], self._paused_until) if self._later else None

    @property
    def dirty(self) -> int:
        """How many pods wait to be written."""
        return sum(parcel.dirty or parcel.in_flight or parcel.annotate_at is not None for parcel in self._parcels.values())

    def untold(self, before: float) -> dict[str, float]:
        """The pods on which something of ours stands, or may stand, that has not been the truth since a moment `before` or earlier."""
        found = ((uid, parcel.waiting) for uid, parcel in self._parcels.items() if parcel.arrived or parcel.shown != _NOTHING)
        return {uid: since for uid, since in found if since is not None and since <= before}

    def told(self, uid: str) -> float:
        """When the pod said the truth last, boottime; minus infinity for never."""
        parcel = self._parcels.get(uid)
        return -math.inf if parcel is None or parcel.told is None else parcel.told

    # --- how ---------------------------------------------------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        return 1 if self._trouble else self._most

    def _enqueue(self, uid: str, parcel: _Parcel, now: float) -> None:
        if parcel.not_before <= now:
            self._ready[uid] = None

    def _release(self, parcel: _Parcel) -> None:
        parcel.in_flight = False
        self._in_flight -= 1

    def _told(self, parcel: _Parcel, now: float) -> None:
        """The pod says the truth, as of the last letter; but not where a refused annotation left an older one on it."""
        parcel.failures = 0
        if parcel.annotate_at is None or parcel.refused_until <= now or parcel.shown.annotation is None:
            parcel.sending, parcel.told = None, now

    def _letter(self, uid: str, parcel: _Parcel, wanted: Wanted | Nothing, now: float) -> Letter | None:
        if isinstance(wanted, Nothing):
            parcel.annotate_at = None
            return Letter(None, None, clear=True) if parcel.shown != _NOTHING else None
        condition = wanted.condition if wanted.condition != parcel.shown.condition else None
        annotation = None
        due = _annotation_due(parcel, wanted, now)
        if due <= now:
            text = wanted.annotation()
            if _digest(text) != parcel.shown.annotation:
                annotation, parcel.annotated = text, now
            parcel.unknown, parcel.annotate_at = wanted.unknown, None
        elif parcel.annotate_at is None or due < parcel.annotate_at:
            parcel.annotate_at = due
            heapq.heappush(self._later, (due, uid))
        return Letter(condition, annotation) if condition or annotation is not None else None

    def _judge(self, outcome: Outcome, now: float, retry_after: float) -> None:
        """Whether the server is in trouble, for all pods."""
        if outcome is Outcome.TROUBLE:
            # Letters that were under way together and failed together are one sign of trouble, not eight.
            self._trouble += now >= self._paused_until
            self._paused_until = max(self._paused_until, now + self._asked(retry_after) + self._pause(self._trouble))
        else:
            self._trouble = 0
            self._paused_until = 0.0

    def _fail(self, uid: str, parcel: _Parcel, outcome: Outcome, now: float, retry_after: float) -> None:
        parcel.failures += 1
        # The annotation did not arrive (or nobody knows): the next letter carries it, whatever the pace.
        parcel.dirty, parcel.annotated, parcel.annotate_at = True, None, None
        if outcome is Outcome.REFUSED:
            parcel.refused_until = now + REFUSED_PAUSE
            self._ready[uid] = None
            return
        if outcome is Outcome.TROUBLE:
            # The pause is everybody's; whoever has waited longest is tried first.
            self._ready[uid] = None
        else:
            parcel.not_before = now + self._asked(retry_after) + self._pause(parcel.failures)
            heapq.heappush(self._later, (parcel.not_before, uid))

    def _asked(self, retry_after: float) -> float:
        """Never sooner than the server asked, and not all agents at the moment it named."""
        return retry_after * (1.0 + SPREAD * self._jitter())

    def _pause(self, failures: int) -> float:
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16)) * (0.5 + 0.5 * self._jitter())


def _annotation_due(parcel: _Parcel, wanted: Wanted, now: float) -> float:
    if parcel.annotated is None:
        return parcel.refused_until
    due = max(parcel.refused_until, parcel.annotated + ANNOTATION_PACE)
    if due > now and parcel.unknown is not None and parcel.unknown != wanted.unknown:
        parcel.nudges = min(NUDGES, parcel.nudges + now - parcel.nudged)
        parcel.nudged = now
        if parcel.nudges >= 1:
            parcel.nudges -= 1
            return parcel.refused_until
    return due


def _kept(letter: Letter, shown: Shown) -> bool:
    """Whether the answer shows what was sent: an admission rule may have taken it away."""
    if letter.clear:
        return shown == _NOTHING
    return letter.condition in (None, shown.condition) and (letter.annotation is None or _digest(letter.annotation) == shown.annotation)


def _after(letter: Letter, before: Shown) -> Shown:
    """What stands there if nobody else wrote."""
    if letter.clear:
        return _NOTHING
    sent = Shown.of(letter.condition, letter.annotation)
    return Shown(sent.condition or before.condition, before.annotation if sent.annotation is None else sent.annotation)


def _digest(annotation: str) -> bytes:
    return blake2b(annotation.encode(errors="surrogatepass"), digest_size=16).digest()
