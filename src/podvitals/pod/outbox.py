"""How much of a pod is written, and how often. Pure: marks, results and `now` go in, letters come out.

Rules kept: nothing is queued but "this pod is dirty", and a letter is composed when it is sent (4). The condition goes at once, the
annotation at most once a second a pod, except where a lease ended or came back: there the annotation goes with it, because it makes the
kubelet look (7). What the API shows already is not sent again, and what somebody else changed is sent again (9). Whose turn it is, and
how a server in trouble is treated, is decided by `turns`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from podvitals.device.key import DeviceKey
from podvitals.pod.status import Said
from podvitals.pod.turns import IN_FLIGHT, Ending, Turns

ANNOTATION_PACE = 1.0
"""Seconds between two annotations of a pod: each makes the kubelet sync the pod."""
NUDGES = 3
"""How many annotations of a pod may go at once although the pace is not kept, because a lease ended or came back; one more each second:
a device that flaps must not keep the kubelet busy."""
REFUSED_PAUSE = 60.0
"""Until an annotation the API server would not take is tried again; meanwhile the condition goes alone."""


class Outcome(StrEnum):
    SENT = "sent"
    GONE = "gone"  # the pod is no more, or another has its name
    AGAIN = "again"  # this write failed; others may succeed: conflict, fault of the server
    TROUBLE = "trouble"  # the server has trouble, or there is none: unreachable, overloaded
    DENIED = "denied"  # 401, 403
    REFUSED = "refused"  # 422: the annotations of the pod are too large together, or an admission rule does not want them


_ENDINGS = {
    Outcome.SENT: Ending.DONE,
    Outcome.GONE: Ending.DONE,
    Outcome.AGAIN: Ending.AGAIN,
    Outcome.TROUBLE: Ending.TROUBLE,
    Outcome.DENIED: Ending.AGAIN,
    Outcome.REFUSED: Ending.AGAIN,  # but for an annotation that was refused: the condition may go without it
}


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
        "annotate_at", "annotated", "arrived", "letter", "nudged", "nudges",
        "refused_until", "sending", "shown", "since", "told", "unknown",
    )  # fmt: skip

    def __init__(self) -> None:
        self.shown = Shown()
        self.arrived = False
        self.since: float | None = None
        self.sending: float | None = None
        self.told: float | None = None
        self.letter: Letter | None = None
        self.annotated: float | None = None
        self.annotate_at: float | None = None
        self.unknown: frozenset[DeviceKey] | None = None
        self.nudges, self.nudged = float(NUDGES), 0.0
        self.refused_until = 0.0

    @property
    def waiting(self) -> float | None:
        return self.since if self.sending is None else self.sending


class Outbox:
    """`jitter` gives a number from 0 to 1 for each pause, so that the agents of a cluster do not come back together."""

    def __init__(self, jitter: Callable[[], float], in_flight: int = IN_FLIGHT) -> None:
        self._turns = Turns(jitter, in_flight)
        self._parcels: dict[str, _Parcel] = {}

    # --- events ------------------------------------------------------------------------------------------------------------------

    def mark(self, uid: str, now: float) -> None:
        """Something else is to be said of this pod."""
        parcel = self._parcels.setdefault(uid, _Parcel())
        parcel.since = now if parcel.since is None else parcel.since
        self._turns.want(uid, now, now)

    def observe(self, uid: str, shown: Shown, now: float) -> None:
        """What a watch shows of the pod. Not while a letter is under way: its answer is newer."""
        parcel = self._parcels.setdefault(uid, _Parcel())
        if not self._turns.under_way(uid):
            parcel.shown, before = shown, parcel.shown
            if before != shown:
                self.mark(uid, now)

    def forget(self, uid: str) -> None:
        self._parcels.pop(uid, None)
        self._turns.forget(uid)

    def take(self, now: float) -> str | None:
        """A pod to write now, or None. Follow with `compose`."""
        return self._turns.take(now)

    def compose(self, uid: str, wanted: Wanted | Nothing | None, now: float) -> Letter | None:
        """The letter to a pod that was taken. None: nothing is to be sent now, and the pod is no longer taken."""
        parcel = self._parcels.get(uid)
        if parcel is None:
            return None
        parcel.sending = now if parcel.waiting is None else parcel.waiting
        parcel.since = parcel.annotate_at = None
        parcel.letter = None if wanted is None else self._letter(uid, parcel, wanted, now)
        if parcel.letter is None:
            self._turns.give_back(uid, now)
            if wanted is None:
                # Nobody knows what it should say: nothing waits to be told, and it was not told either.
                parcel.sending = None
            else:
                _told(parcel, now)  # what could not be told is not so any more
        return parcel.letter

    def done(self, uid: str, outcome: Outcome, now: float, *, shown: Shown | None = None, retry_after: float = 0.0) -> None:
        """What became of the letter. `shown`: the pod as the answer had it."""
        parcel, ending = self._parcels.get(uid), _ENDINGS[outcome]
        if parcel is not None and self._turns.under_way(uid):
            ending = self._answered(uid, parcel, outcome, shown, now)
        self._turns.done(uid, ending, now, retry_after)
        if outcome is Outcome.GONE:
            self.forget(uid)

    def _answered(self, uid: str, parcel: _Parcel, outcome: Outcome, shown: Shown | None, now: float) -> Ending:
        letter, parcel.letter = parcel.letter, None
        parcel.arrived |= outcome in (Outcome.SENT, Outcome.AGAIN, Outcome.TROUBLE)
        ending = _ENDINGS[outcome]
        if outcome is Outcome.SENT:
            before, parcel.shown = parcel.shown, shown or parcel.shown
            if letter is None or _kept(letter, parcel.shown):
                _told(parcel, now)
                if letter is not None and parcel.shown != _after(letter, before):
                    # Somebody wrote meanwhile, perhaps we ourselves: a patch that got no answer may arrive after the next one was composed.
                    self.mark(uid, now)
                return ending
            ending = Ending.AGAIN
        elif outcome is Outcome.REFUSED and letter is not None and letter.annotation is not None:
            parcel.refused_until, ending = now + REFUSED_PAUSE, Ending.OTHERWISE
        # The annotation did not arrive (or nobody knows): the next letter carries it, whatever the pace.
        parcel.annotated = parcel.annotate_at = None
        return ending

    # --- questions ---------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `take` may have something although no event came; None: not before one."""
        return self._turns.next_deadline()

    @property
    def dirty(self) -> int:
        """How many pods wait to be written."""
        return self._turns.waiting

    def untold(self, before: float) -> dict[str, float]:
        """The pods on which something of ours stands, or may stand, that has not been the truth since a moment `before` or earlier."""
        found = ((uid, parcel.waiting) for uid, parcel in self._parcels.items() if parcel.arrived or parcel.shown != _NOTHING)
        return {uid: since for uid, since in found if since is not None and since <= before}

    def told(self, uid: str) -> float:
        """When the pod said the truth last, boottime; minus infinity for never."""
        parcel = self._parcels.get(uid)
        return -math.inf if parcel is None or parcel.told is None else parcel.told

    # --- how ---------------------------------------------------------------------------------------------------------------------

    def _letter(self, uid: str, parcel: _Parcel, wanted: Wanted | Nothing, now: float) -> Letter | None:
        if isinstance(wanted, Nothing):
            return Letter(None, None, clear=True) if parcel.shown != _NOTHING else None
        condition = wanted.condition if wanted.condition != parcel.shown.condition else None
        annotation = None
        due = _annotation_due(parcel, wanted, now)
        if due <= now:
            text = wanted.annotation()
            if _digest(text) != parcel.shown.annotation:
                annotation, parcel.annotated = text, now
            parcel.unknown = wanted.unknown
        else:
            parcel.annotate_at = due
            self._turns.want(uid, due, now)
        return Letter(condition, annotation) if condition or annotation is not None else None


def _told(parcel: _Parcel, now: float) -> None:
    """The pod says the truth, as of the last letter; but not where a refused annotation left an older one on it."""
    if parcel.annotate_at is None or parcel.refused_until <= now or parcel.shown.annotation is None:
        parcel.sending, parcel.told = None, now


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
