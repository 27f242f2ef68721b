"""How one driver stands with the kubelet: which stand-ins the relay has for it, and when they change. Pure (ARCHITECTURE, rule 12).

A stand-in is a registration socket and an endpoint of the relay's own under the driver's name. What the kubelet asked a registration it
never asks again, and one that goes costs the driver its health and, 30 s later, its slices (CONTRACT §1, §4). So nothing is ever taken
back before what replaces it is registered:

* A stand-in is offered when the driver first serves calls, and stays while the driver is away, however often it comes and goes.
* Other versions need another registration: a new stand-in beside the old one, which goes when the kubelet has taken the new one.
* What the kubelet answers is passed on to the driver, which has no other way to learn it; also to a driver that comes back.
* A driver away for longer than calls are held for it, and a little more, is withdrawn, so that its slices go as they would without us.
"""

from dataclasses import dataclass

from podvitals.wire.messages import HEALTH_VERSIONS

HOLD = 40.0
"""Seconds a call waits for a driver that is away. The kubelet's deadline is 45 s."""
WITHDRAW_AFTER = HOLD + 10.0
"""Seconds without a driver after which its stand-ins go."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """`number` is never used twice in a process. `versions`: as it answers GetInfo."""

    number: int
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """Make this stand-in's sockets."""

    stand_in: StandIn


@dataclass(frozen=True, slots=True)
class Close:
    """Take them away. `lingers`: not at once, for a kubelet that prepares a pod calls by the registrations it found when it began."""

    stand_in: StandIn
    lingers: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the driver what the kubelet said of its registration."""

    registered: bool
    error: str


Effect = Open | Close | Answer


def offered(versions: tuple[str, ...]) -> tuple[str, ...]:
    """The versions a stand-in lists for a driver that lists these: its other services in its order, and both health services always."""
    return (*(version for version in dict.fromkeys(versions) if version not in HEALTH_VERSIONS), *HEALTH_VERSIONS)


class Standing:
    """`registered`: the stand-in the kubelet has taken; `newest`: what it is offered beside it, or instead."""

    def __init__(self, first: int = 1) -> None:
        self._next = first
        self.registered: StandIn | None = None
        self.newest: StandIn | None = None
        self.answer: Answer | None = None
        """What the kubelet said last; None: nothing yet."""
        self._away_since: float | None = None
        self._inherited = False

    @property
    def stand_ins(self) -> tuple[StandIn, ...]:
        """Those that are open, oldest first."""
        return tuple(one for one in (self.registered, self.newest) if one is not None)

    def inherit(self, versions: tuple[str, ...], now: float) -> StandIn:
        """A relay that is gone has left this stand-in, and the kubelet knows it. It serves until one of ours is registered, since only that
        makes the kubelet ask for the driver's health at once."""
        self.registered, self._inherited = StandIn(self._next, versions), True
        self._next += 1
        self.away(now)
        return self.registered

    def serves(self, versions: tuple[str, ...]) -> tuple[Effect, ...]:
        """An endpoint of the driver is connected; of several the newest, which lists `versions`."""
        self._away_since = None
        wanted = offered(versions)
        if self.newest is not None and self.newest.versions == wanted:
            return ()
        if self.registered is not None and self.registered.versions == wanted and not self._inherited:
            # Back to what the kubelet knows: what it was offered meanwhile is of no use.
            return self._take_back()
        effects = self._take_back()
        self.newest = StandIn(self._next, wanted)
        self._next += 1
        return (*effects, Open(self.newest))

    def away(self, now: float) -> None:
        """None of the driver's endpoints is connected."""
        if self._away_since is None:
            self._away_since = now

    def notified(self, number: int, registered: bool, error: str) -> tuple[Effect, ...]:
        """The kubelet said what became of this stand-in's registration. It tries a refused one again by itself."""
        if self.newest is not None and self.newest.number == number:
            return self._judged(registered, error)
        if self.registered is not None and self.registered.number == number:
            # A kubelet that was restarted registers what it finds.
            return self._say(registered, error) if registered else ()
        return ()

    def expire(self, now: float) -> tuple[Effect, ...]:
        due = self.next_deadline()
        return () if due is None or now < due else self.withdraw()

    def withdraw(self) -> tuple[Effect, ...]:
        """Nobody stands in for the driver any more, until it `serves` again."""
        effects = tuple(Close(one) for one in self.stand_ins)
        self.registered = self.newest = self.answer = None
        self._inherited = False
        return effects

    def next_deadline(self) -> float | None:
        return None if self._away_since is None or not self.stand_ins else self._away_since + WITHDRAW_AFTER

    def _judged(self, registered: bool, error: str) -> tuple[Effect, ...]:
        effects: tuple[Effect, ...] = ()
        if registered:
            effects = () if self.registered is None else (Close(self.registered, lingers=True),)
            self.registered, self.newest, self._inherited = self.newest, None, False
        return (*effects, *self._say(registered, error))

    def _say(self, registered: bool, error: str) -> tuple[Effect, ...]:
        self.answer = Answer(registered, error)
        return (self.answer,)

    def _take_back(self) -> tuple[Effect, ...]:
        gone, self.newest = self.newest, None
        return () if gone is None else (Close(gone),)
