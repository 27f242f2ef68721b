"""A watch: a place in the history of a kind, followed until the client goes, the time asked for is over, or the server stops.

Nothing is queued per watch: each change wakes it, and it sends what lies between its place and the end, so an event leaves at once
and a client that reads slowly falls out of the window (410) instead of filling memory.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from podvitals.lab.api import views
from podvitals.lab.api.kinds import Kind
from podvitals.lab.api.query import ListQuery
from podvitals.lab.api.refusal import Refusal
from podvitals.lab.api.registry import Target
from podvitals.lab.api.schema import Body
from podvitals.lab.api.store import Change, History, Item, Store, encode
from podvitals.lab.api.views import View

BOOKMARK_SECONDS = 30.0
DEFAULT_TIMEOUT = 3600.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(slots=True)
class Bell:
    """Wakes every watch of a kind. `ring` may be called from any write; a watch waits on the event that was current when it last looked."""

    _event: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        return self._event


class Bells:
    """One per kind; `stop` wakes all, and every watch then ends."""

    def __init__(self, store: Store) -> None:
        self.stopping = False
        self._bells: dict[Kind, Bell] = {}
        store.listen(lambda kind: self.of(kind).ring())

    def of(self, kind: Kind) -> Bell:
        return self._bells.setdefault(kind, Bell())

    def stop(self) -> None:
        self.stopping = True
        for bell in self._bells.values():
            bell.ring()


class Watch:
    """One watch request. `lines()` yields what to send, never empty."""

    def __init__(self, store: Store, bells: Bells, target: Target, query: ListQuery, view: View, wall: Callable[[], float]) -> None:
        self._store = store
        self._bells = bells
        self._target = target
        self._query = query
        self._view = view
        self._wall = wall
        self._first = True

    async def lines(self) -> AsyncIterator[bytes]:
        history = self._store.history(self._target.kind)
        try:
            place, initial = self._begin(history)
        except Refusal as refusal:
            yield _line("ERROR", encode(refusal.status()))
            return
        if initial:
            yield initial
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._query.timeout or DEFAULT_TIMEOUT)
        while not self._bells.stopping:
            bell = self._bells.of(self._target.kind).next()
            try:
                changes = history.read(place)
            except Refusal as refusal:
                yield _line("ERROR", encode(refusal.status()))
                return
            place += len(changes)
            if sent := b"".join(self._events(changes)):
                yield sent
                continue
            left = end - loop.time()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                    await bell.wait()
            except TimeoutError:
                if self._query.bookmarks:
                    yield self._bookmark()

    def _begin(self, history: History) -> tuple[int, bytes]:
        """Where to follow from, and what to send first: the state where the client has none, else nothing."""
        query = self._query
        version = query.version
        state = query.initial_events if query.initial_events is not None else version in (None, 0)
        if version and not state:
            return history.place(version), b""
        parts: list[bytes] = []
        if state:
            namespace, kind = self._target.namespace, self._target.kind
            parts = [self._event("ADDED", item) for item in self._store.items(kind, namespace) if query.matches(item.data)]
            if query.initial_events:
                parts.append(self._bookmark(initial=True))
        return history.end, b"".join(parts)

    def _events(self, changes: Sequence[Change]) -> list[bytes]:
        return [line for change in changes if (line := self._seen(change))]

    def _seen(self, change: Change) -> bytes:
        """The change as this watch's selector sees it: an object that begins to match comes, one that ceases to goes."""
        namespace = self._target.namespace
        if namespace and change.item.key.namespace != namespace:
            return b""
        matches = self._query.matches
        now = change.type != "DELETED" and matches(change.item.data)
        before = change.previous is not None and matches(change.previous.data)
        if now:
            return self._event("MODIFIED" if before else "ADDED", change.item)
        if before:
            return self._event("DELETED", change.item if change.type == "DELETED" else _last_seen(change))
        return b""

    def _event(self, kind: str, item: Item) -> bytes:
        body = views.one(self._view, self._target.kind, item, self._wall(), columns=self._first)
        self._first = False
        return _line(kind, body)

    def _bookmark(self, *, initial: bool = False) -> bytes:
        kind = self._target.kind
        meta: Body = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        annotations = {"annotations": {INITIAL_EVENTS_END: "true"}} if initial else {}
        data: Body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta | annotations}
        if self._view.form == "table":
            table: Body = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": None}
            data = table | {"rows": [{"cells": [], "object": data}] if initial else []}
        return _line("BOOKMARK", encode(data))


def _last_seen(change: Change) -> Item:
    """What a watch is told of an object that left its selection: the state it matched in, under the version of the change."""
    assert change.previous is not None
    data = change.previous.copy()
    data["metadata"]["resourceVersion"] = str(change.version)
    return Item(data, change.version, encode(data))


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"
