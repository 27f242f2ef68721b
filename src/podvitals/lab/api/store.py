"""The objects, their one sequence of resource versions, and the window of changes that watches replay. Pure.

A stored object is never changed: a write stores another one, so lists, watches and encoded bytes can be shared without copying.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from podvitals.lab.api.kinds import Kind
from podvitals.lab.api.refusal import expired
from podvitals.lab.api.schema import Body

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


class Key(NamedTuple):
    """Sorts as etcd's keys do: by namespace, then name. `namespace` is "" for cluster-wide objects."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Item:
    """A stored object; `json` is what goes to clients, encoded once."""

    data: Body
    version: int
    json: bytes

    def copy(self) -> Body:
        copied: Body = decode(self.json)
        return copied

    @property
    def meta(self) -> Body:
        meta: Body = self.data["metadata"]
        return meta

    @property
    def key(self) -> Key:
        return Key(self.meta.get("namespace", ""), self.meta["name"])


@dataclass(frozen=True, slots=True)
class Change:
    """`previous` decides whether a watch with a selector sees an object come or go."""

    type: ChangeType
    version: int
    item: Item
    previous: Item | None


@dataclass(slots=True)
class History:
    """The last changes of one kind. Watches hold a place in it, not a queue of their own, so a slow one costs nothing but its own 410."""

    floor: int
    window: int
    first: int = 0
    changes: list[Change] = field(default_factory=list)

    def append(self, change: Change) -> None:
        self.changes.append(change)
        if len(self.changes) >= 2 * self.window:
            self.floor = self.changes[self.window - 1].version
            del self.changes[: self.window]
            self.first += self.window

    def place(self, version: int) -> int:
        """Where the changes after `version` begin."""
        if version < self.floor:
            raise expired(f"too old resource version: {version} ({self.floor})")
        return self.first + bisect_right(self.changes, version, key=lambda change: change.version)

    @property
    def end(self) -> int:
        return self.first + len(self.changes)

    def read(self, place: int) -> list[Change]:
        """The changes from `place` on; Refusal 410 when they left the window."""
        if place < self.first:
            raise expired(f"too old resource version: this watch fell more than {self.window} changes behind")
        return self.changes[place - self.first :]


class Store:
    def __init__(self, *, first_version: int = 1, window: int = 4096) -> None:
        self.version = first_version
        self._origin = first_version
        self._window = window
        self._items: dict[Kind, dict[Key, Item]] = {}
        self._sorted: dict[Kind, list[Item]] = {}
        self._histories: dict[Kind, History] = {}
        self._uids: dict[str, tuple[Kind, Key]] = {}
        self._owned: dict[str, set[tuple[Kind, Key]]] = {}
        self._listeners: list[Callable[[Kind], None]] = []

    def listen(self, callback: Callable[[Kind], None]) -> None:
        """`callback(kind)` is called within each write, after it is visible."""
        self._listeners.append(callback)

    def get(self, kind: Kind, key: Key) -> Item | None:
        return self._items.get(kind, {}).get(key)

    def items(self, kind: Kind, namespace: str = "") -> list[Item]:
        """All objects of a kind in key order; of one namespace when given. The list is shared: do not change it."""
        ordered = self._sorted.get(kind)
        if ordered is None:
            table = self._items.get(kind, {})
            ordered = self._sorted[kind] = [table[key] for key in sorted(table)]
        return [item for item in ordered if item.meta.get("namespace") == namespace] if namespace else ordered

    def history(self, kind: Kind) -> History:
        if kind not in self._histories:
            self._histories[kind] = History(self._origin, self._window)
        return self._histories[kind]

    def uid(self, uid: str) -> tuple[Kind, Key] | None:
        return self._uids.get(uid)

    def owned(self, uid: str) -> list[tuple[Kind, Key]]:
        """Who names `uid` as an owner, in key order."""
        return sorted(self._owned.get(uid, ()), key=lambda found: (found[0].plural, found[1]))

    def put(self, kind: Kind, data: Body) -> Item:
        """Stores `data` (which is the store's from now on) under the next resource version."""
        key = Key(data["metadata"].get("namespace", ""), data["metadata"]["name"])
        previous = self.get(kind, key)
        item = self._item(data)
        self._items.setdefault(kind, {})[key] = item
        self._index(kind, key, previous, item)
        self._announce(kind, Change("MODIFIED" if previous else "ADDED", item.version, item, previous))
        return item

    def remove(self, kind: Kind, key: Key) -> Item:
        """Takes the object away; the deletion has a resource version of its own, which the last state carries."""
        previous = self._items[kind].pop(key)
        item = self._item(previous.copy())
        self._index(kind, key, previous, None)
        self._announce(kind, Change("DELETED", item.version, item, previous))
        return item

    def _item(self, data: Body) -> Item:
        self.version += 1
        data["metadata"]["resourceVersion"] = str(self.version)
        return Item(data, self.version, encode(data))

    def _index(self, kind: Kind, key: Key, previous: Item | None, item: Item | None) -> None:
        self._sorted.pop(kind, None)
        for old in _owners(previous):
            self._owned.get(old, set()).discard((kind, key))
        for new in _owners(item):
            self._owned.setdefault(new, set()).add((kind, key))
        if item:
            self._uids[item.meta["uid"]] = (kind, key)
        elif previous:
            self._uids.pop(previous.meta["uid"], None)
            if not self._owned.get(previous.meta["uid"], True):
                del self._owned[previous.meta["uid"]]

    def _announce(self, kind: Kind, change: Change) -> None:
        self.history(kind).append(change)
        for listener in self._listeners:
            listener(kind)


def _owners(item: Item | None) -> list[str]:
    return [owner["uid"] for owner in item.meta.get("ownerReferences", ())] if item else []
