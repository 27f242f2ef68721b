"""What the checkpoint does not hold yet. Pure; a part of the ledger.

Rows are made when they are taken, so what changes twice in between is one row. They may be taken in parts, a few milliseconds each. When
something was last heard is of the last part alone: a lease that was renewed says nothing good of a verdict whose change still waits.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from typing import TypeVar

from podvitals.node.fact import Device, Fact
from podvitals.node.lease import Batch
from podvitals.node.rows import Rows

T = TypeVar("T")


class Unsaved:
    """`dropped`: what was forgotten, as rows that say so."""

    __slots__ = ("devices", "dropped", "facts", "heard")

    def __init__(self) -> None:
        self.facts: dict[Fact, None] = {}
        self.devices: dict[Device, None] = {}
        self.heard: dict[Batch, None] = {}
        self.dropped = Rows()

    def __bool__(self) -> bool:
        """Whether a verdict changed; what only says "heard again" does not count."""
        return bool(self.facts or self.devices or self.dropped)

    def begin_anew(self, facts: Collection[Fact], devices: Iterable[Device]) -> None:
        """Nothing was saved of all that there is."""
        self.facts, self.devices, self.dropped = dict.fromkeys(facts), dict.fromkeys(devices), Rows()
        self.heard = {fact.batch: None for fact in facts if fact.batch is not None}

    def drain(self, most: int | None = None) -> Rows:
        """What changed since the last call: all of it, or a part of at most `most` facts and `most` devices. Parts belong together until
        there is nothing unsaved any more, and only then may they be written."""
        rows, self.dropped = self.dropped, Rows()
        rows.facts.update((fact.key, fact.row()) for fact in _take(self.facts, most))
        rows.devices.update((device.key, device.row()) for device in _take(self.devices, most))
        if not self:
            rows.heard.update((batch.serial, batch.heard if batch.members else None) for batch in self.heard)
            self.heard = {}
        return rows


def whole(facts: Collection[Fact], devices: Iterable[Device]) -> Rows:
    """The rows of all that there is."""
    heard = {batch.serial: batch.heard for batch in {fact.batch for fact in facts} if batch is not None}
    return Rows({fact.key: fact.row() for fact in facts}, {device.key: device.row() for device in devices}, dict[int, float | None](heard))


def _take(waiting: dict[T, None], most: int | None) -> list[T]:
    taken = list(islice(waiting, most))
    if len(taken) == len(waiting):
        waiting.clear()
    for one in taken if waiting else ():
        del waiting[one]
    return taken
