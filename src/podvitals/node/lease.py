"""Leases, counted together where they were given together. Pure.

A driver with 4,096 devices re-sends them all every few seconds. Were each device's lease a thing of its own, every heartbeat would cost
4,096 updates and 4,096 heap operations. Instead the devices that were last reported together, with the same lease, share a Batch: a
heartbeat renews one time. A device that is reported without the others, or no longer with them, moves to another batch; the smaller
side moves, so an update costs what changed.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import Protocol


class Due(Protocol):
    """`rank`: of what is due at the same instant, the lowest comes first."""

    rank: int

    @property
    def due(self) -> float | None:
        """When something has to happen; None: never."""


class Member(Protocol):
    batch: "Batch | None"


class Batch:
    """Devices last reported together. `version` changes with whatever would make a repetition of the same bytes mean something else."""

    __slots__ = ("heard", "lease", "members", "serial", "version")
    rank = 0

    def __init__(self, serial: int, lease: float, heard: float) -> None:
        self.serial = serial
        self.lease = lease
        self.heard = heard
        self.members: set[Member] = set()
        self.version = 0

    @property
    def due(self) -> float | None:
        return self.heard + self.lease if self.members else None


class Deadlines:
    """A heap with lazy deletion: an entry is only a hint, what it stands for says when it is really due (and may be so later than hinted,
    never earlier without a new entry)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Due]] = []
        self._count = 0
        self._bound = 64

    def push(self, what: Due) -> None:
        due = what.due
        if due is not None:
            self._count += 1
            heapq.heappush(self._heap, (due, what.rank, self._count, what))
            if len(self._heap) > self._bound:
                self._compact()

    def next(self) -> float | None:
        heap = self._heap
        while heap:
            hinted, rank, count, what = heap[0]
            due = what.due
            if due is None:
                heapq.heappop(heap)
            elif due > hinted:
                heapq.heapreplace(heap, (due, rank, count, what))
            else:
                return hinted
        return None

    def may_be_due(self, now: float) -> bool:
        """False: nothing is. As cheap as can be, for it is asked at each report."""
        return bool(self._heap) and self._heap[0][0] <= now

    def pop(self, now: float) -> Due | None:
        """Something that is due, or None."""
        due = self.next()
        if due is None or due > now:
            return None
        return heapq.heappop(self._heap)[3]

    def _compact(self) -> None:
        """Entries can die (or double) faster than the leases of 24 h end that they wait for."""
        seen = {id(what): (due, rank, count, what) for _, rank, count, what in self._heap if (due := what.due) is not None}
        self._heap = list(seen.values())
        heapq.heapify(self._heap)
        self._bound = 64 + 2 * len(self._heap)

    def __len__(self) -> int:
        return len(self._heap)


class Gathering:
    """What `gather` did: the batch all are in now, those newly made, those that lost members, and the members that moved."""

    __slots__ = ("batch", "lost", "made", "moved")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.made: list[Batch] = []
        self.lost: set[Batch] = set()
        self.moved: list[Member] = []

    def move(self, member: Member, to: Batch) -> None:
        if member.batch is not None:
            self.lost.add(member.batch)
        move(member, to)
        self.moved.append(member)


class Batches:
    """All batches of a ledger; numbers them."""

    def __init__(self) -> None:
        self._serial = 0

    def make(self, lease: float, heard: float, serial: int | None = None) -> Batch:
        self._serial = max(self._serial + 1, serial or 0)
        return Batch(self._serial if serial is None else serial, lease, heard)

    def gather(self, members: Sequence[Member], lease: float, heard: float) -> Gathering:
        """Puts `members`, reported together at `heard`, into one batch."""
        home = self._home(members, lease)
        if home is None:
            done = Gathering(self.make(lease, heard))
            done.made.append(done.batch)
        else:
            done = Gathering(home)
            if len(home.members) > len(together := set(members) & home.members):
                self._leave(done, home.members - together)
        for member in members:
            if member.batch is not done.batch:
                done.move(member, done.batch)
        done.batch.heard = heard
        done.batch.version += 1
        return done

    def _leave(self, done: Gathering, left: set[Member]) -> None:
        rest = self.make(done.batch.lease, done.batch.heard)
        done.made.append(rest)
        for member in left:
            done.move(member, rest)

    @staticmethod
    def _home(members: Iterable[Member], lease: float) -> Batch | None:
        """The batch that most of them are in, unless most of that batch is not among them."""
        counts: dict[Batch, int] = {}
        last: Batch | None = None
        run = 0
        for member in members:
            if member.batch is last:
                run += 1
                continue
            if last is not None:
                counts[last] = counts.get(last, 0) + run
            last, run = member.batch, 1
        if last is not None:
            counts[last] = counts.get(last, 0) + run
        best = max((batch for batch in counts if batch.lease == lease), key=counts.__getitem__, default=None)
        return best if best is not None and 2 * counts[best] >= len(best.members) else None


def move(member: Member, to: Batch | None) -> None:
    if member.batch is not None:
        member.batch.members.discard(member)
        member.batch.version += 1
    member.batch = to
    if to is not None:
        to.members.add(member)
        to.version += 1
