"""What the ledger answers. Pure; a part of the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from podvitals.device.key import DeviceKey
from podvitals.node.fact import Fact
from podvitals.node.lease import Batch
from podvitals.node.record import SourceKey

NOBODY = frozenset[DeviceKey]()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A report that was taken, so that a repetition of the same bytes can be taken without reading it.

    `facts`: of its entries, in their order; none where not each of them was taken."""

    source: SourceKey
    generation: int
    parts: tuple[tuple[Batch, int], ...]
    facts: Sequence[Fact] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`delivery` is None where the report was fenced off, or came too late for some devices: a repetition may be in time. `refused`:
    devices past the driver's limit."""

    changed: frozenset[DeviceKey]
    delivery: Delivery | None = None
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one source. `heard`, Unix seconds: its last report, 0.0 if none since the start; `smallest_lease` of those that run."""

    devices: int
    heard: float
    smallest_lease: float | None
