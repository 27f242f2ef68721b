"""Who speaks for a driver. Pure: events of endpoints go in, changes of authority come out.

Several endpoints may be registered under one name: two versions of a driver in a rolling update, a crashed one that left its socket, a
process that takes the name over. Per (driver, source) one of them has authority over health at each moment: the newest that is
connected and has reported on this connection; older ones only until then, and again when it is gone. Each change of authority has a
new generation, so that what an endpoint said before can be told from what it says now. Calls go to the newest connected endpoint.

`TRANSITIONS` is all an endpoint can do; an event that is not listed for a stage is late (its connection is gone) and means nothing.
"""

from dataclasses import dataclass
from enum import StrEnum

from podvitals.node.record import SourceKey


class Stage(StrEnum):
    REGISTERED = "registered"
    CONNECTED = "connected"
    REPORTING = "reporting"
    REMOVED = "removed"


class Event(StrEnum):
    CONNECT = "connect"
    REPORT = "report"
    STREAM_END = "stream end"
    DISCONNECT = "disconnect"
    REMOVE = "remove"


TRANSITIONS: dict[tuple[Stage, Event], Stage] = {
    (Stage.REGISTERED, Event.CONNECT): Stage.CONNECTED,
    (Stage.CONNECTED, Event.REPORT): Stage.REPORTING,
    (Stage.REPORTING, Event.REPORT): Stage.REPORTING,
    (Stage.REPORTING, Event.STREAM_END): Stage.CONNECTED,
    (Stage.CONNECTED, Event.DISCONNECT): Stage.REGISTERED,
    (Stage.REPORTING, Event.DISCONNECT): Stage.REGISTERED,
    (Stage.REGISTERED, Event.REMOVE): Stage.REMOVED,
    (Stage.CONNECTED, Event.REMOVE): Stage.REMOVED,
    (Stage.REPORTING, Event.REMOVE): Stage.REMOVED,
}

_CONNECTED = (Stage.CONNECTED, Stage.REPORTING)


@dataclass(frozen=True, slots=True)
class Speaks:
    """`endpoint` has authority over the health of `source` from now on, as of `generation`."""

    source: SourceKey
    endpoint: int
    generation: int


@dataclass(frozen=True, slots=True)
class Connected:
    """The first endpoint of `source` is connected."""

    source: SourceKey


@dataclass(frozen=True, slots=True)
class Disconnected:
    """None of its endpoints is: `why` is "unreachable" while one is registered, else "gone"."""

    source: SourceKey
    why: str


Effect = Speaks | Connected | Disconnected


class _Endpoint:
    __slots__ = ("born", "number", "source", "stage")

    def __init__(self, number: int, source: SourceKey, born: int) -> None:
        self.number = number
        self.source = source
        self.born = born
        self.stage = Stage.REGISTERED

    @property
    def age(self) -> tuple[int, int]:
        return self.born, self.number


class Session:
    def __init__(self) -> None:
        self._endpoints: dict[int, _Endpoint] = {}
        self._by_source: dict[SourceKey, list[_Endpoint]] = {}
        self._speaker: dict[SourceKey, tuple[int, int]] = {}
        self._generation = 0

    def register(self, endpoint: int, source: SourceKey, born: int) -> tuple[Effect, ...]:
        """`born` orders the endpoints of a source: the ctime (ns) of its registration socket."""
        new = self._endpoints[endpoint] = _Endpoint(endpoint, source, born)
        peers = self._by_source.setdefault(source, [])
        peers.append(new)
        peers.sort(key=lambda one: one.age)
        return () if any(one.stage in _CONNECTED for one in peers) else (Disconnected(source, "unreachable"),)

    def on(self, endpoint: int, event: Event) -> tuple[Effect, ...]:
        known = self._endpoints.get(endpoint)
        stage = None if known is None else TRANSITIONS.get((known.stage, event))
        if known is None or stage is None or stage is known.stage:
            return ()
        before = self.is_connected(known.source)
        known.stage = stage
        if stage is Stage.REMOVED:
            self._remove(known)
        return (*self._link(known.source, before, stage), *self._authority(known.source))

    def generation(self, endpoint: int) -> int | None:
        """The generation with which a report of this endpoint is good now; None where another has authority, or it is not connected."""
        known = self._endpoints.get(endpoint)
        speaker = None if known is None else self._speaker.get(known.source)
        return speaker[1] if speaker is not None and speaker[0] == endpoint else None

    def speaker(self, source: SourceKey) -> int | None:
        speaker = self._speaker.get(source)
        return None if speaker is None else speaker[0]

    def stage(self, endpoint: int) -> Stage:
        known = self._endpoints.get(endpoint)
        return Stage.REMOVED if known is None else known.stage

    def is_connected(self, source: SourceKey) -> bool:
        return any(one.stage in _CONNECTED for one in self._by_source.get(source, ()))

    def connected(self, driver: str) -> tuple[int, ...]:
        """The connected endpoints of the driver itself, newest first: calls go to the first of them that serves them."""
        peers = self._by_source.get(SourceKey(driver), ())
        return tuple(one.number for one in reversed(peers) if one.stage in _CONNECTED)

    def endpoints(self, source: SourceKey) -> tuple[int, ...]:
        """Oldest first."""
        return tuple(one.number for one in self._by_source.get(source, ()))

    def _remove(self, endpoint: _Endpoint) -> None:
        del self._endpoints[endpoint.number]
        peers = self._by_source[endpoint.source]
        peers.remove(endpoint)
        if not peers:
            del self._by_source[endpoint.source]

    def _link(self, source: SourceKey, before: bool, stage: Stage) -> tuple[Effect, ...]:
        after = self.is_connected(source)
        if after and not before:
            return (Connected(source),)
        if not after and (before or stage is Stage.REMOVED):
            return (Disconnected(source, "unreachable" if source in self._by_source else "gone"),)
        return ()

    def _authority(self, source: SourceKey) -> tuple[Effect, ...]:
        eligible = [one for one in self._by_source.get(source, ()) if one.stage is Stage.REPORTING]
        if not eligible:
            self._speaker.pop(source, None)
            return ()
        newest = eligible[-1].number
        if self.speaker(source) == newest:
            return ()
        self._generation += 1
        self._speaker[source] = (newest, self._generation)
        return (Speaks(source, newest, self._generation),)
