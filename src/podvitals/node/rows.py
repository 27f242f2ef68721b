"""The ledger as rows: what a checkpoint keeps and what a restart begins with. Pure.

`Rows` is a difference: a value to write under a key, or None to delete it. Later differences are laid over earlier ones, so what could
not be written yet stays bounded by the number of devices, not by the number of changes.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import Fault, SourceKey


class FactKey(NamedTuple):
    """Which source says something about which device."""

    source: SourceKey
    pool: str
    device: str


class FactRow(NamedTuple):
    """The last verdict of a source. `batch`: which row of `heard` counts its lease. `ended`: the message of a lease that ended, else "";
    then `lease` is 0.0 but where its source is excused."""

    health: Health
    message: str
    action: str
    checked_at: float
    lease: float
    batch: int
    ended: str


class DeviceRow(NamedTuple):
    """What readers were told, all sources together."""

    health: Health
    message: str
    action: str
    since: float
    faults: tuple[Fault, ...]


@dataclass(slots=True)
class Rows:
    """`heard`: batch -> boottime of its last report."""

    facts: dict[FactKey, FactRow | None] = field(default_factory=dict)
    devices: dict[DeviceKey, DeviceRow | None] = field(default_factory=dict)
    heard: dict[int, float | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.facts or self.devices or self.heard)

    def lay_over(self, later: "Rows") -> None:
        self.facts.update(later.facts)
        self.devices.update(later.devices)
        self.heard.update(later.heard)
