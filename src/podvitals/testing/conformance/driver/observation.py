"""What watchers of a driver's health heard, and when; and what follows from it. Pure: nothing here asks the driver."""

from dataclasses import dataclass, field
from typing import NamedTuple

from podvitals.device.verdict import lease_seconds
from podvitals.testing.conformance.rawreport import Garbled, RawDevice, read_report

LONGEST_WAIT = 10.0
"""Seconds a first report may take."""

Key = tuple[bytes | None, bytes | None]


class Heard(NamedTuple):
    """One message of a health stream. `at`: seconds, monotonic."""

    at: float
    raw: bytes


@dataclass(eq=False)
class Watcher:
    """One stream: what it brought, in order; `ended` says how it ended, "" while it lasts."""

    version: str
    opened: float
    heard: list[Heard] = field(default_factory=list)
    ended: str = ""

    @property
    def nothing(self) -> bool:
        return not self.heard

    @property
    def unimplemented(self) -> bool:
        """The driver answered that it does not serve this."""
        return self.nothing and self.ended.startswith("UNIMPLEMENTED")

    @property
    def reports(self) -> list[tuple[float, tuple[RawDevice, ...]]]:
        """Every report that can be read, with its time."""
        found = []
        for at, raw in self.heard:
            try:
                found.append((at, read_report(raw)))
            except Garbled:
                continue
        return found

    @property
    def garbled(self) -> list[str]:
        """Why the others cannot be read."""
        found = []
        for number, (_, raw) in enumerate(self.heard, 1):
            try:
                read_report(raw)
            except Garbled as garbled:
                found.append(f"report {number}, {len(raw)} bytes: {garbled}")
        return found

    def devices(self) -> dict[Key, RawDevice]:
        """What was last said of each device."""
        return {(device.pool, device.device): device for _, report in self.reports for device in report}

    def state(self) -> dict[Key, tuple[int, bytes]]:
        """Health and message of each device, as last said."""
        return {key: (device.health, device.message) for key, device in self.devices().items()}

    def smallest_lease(self) -> float:
        """Seconds; 30 where nothing was said."""
        return min((lease_of(device) for device in self.devices().values()), default=30.0)


@dataclass(frozen=True, slots=True)
class Observation:
    """`first` and `second` watch the newest version from the start, `other` the other one where it is listed, `late` came in the middle.
    `lasted`: seconds from the first report."""

    first: Watcher
    second: Watcher
    other: Watcher | None
    late: Watcher
    lasted: float

    @property
    def watchers(self) -> list[Watcher]:
        return [watcher for watcher in (self.first, self.second, self.other, self.late) if watcher is not None]

    def all_devices(self) -> list[RawDevice]:
        """Every entry any watcher was told, in order."""
        return [device for watcher in self.watchers for _, report in watcher.reports for device in report]


class Gap(NamedTuple):
    """The longest a device went unheard: `silent` seconds of a `lease`."""

    device: RawDevice
    silent: float
    lease: float

    @property
    def late(self) -> bool:
        return self.silent > self.lease


def gaps(watcher: Watcher, until: float) -> list[Gap]:
    """For each device the worst silence between two reports, or between its last report and `until`, against the lease it had then."""
    last: dict[Key, tuple[float, RawDevice]] = {}
    worst: dict[Key, Gap] = {}

    def note(key: Key, now: float) -> None:
        at, device = last[key]
        gap = Gap(device, now - at, lease_of(device))
        if key not in worst or gap.silent / gap.lease > worst[key].silent / worst[key].lease:
            worst[key] = gap

    for at, report in watcher.reports:
        for device in report:
            key = (device.pool, device.device)
            if key in last:
                note(key, at)
            last[key] = (at, device)
    for key in last:
        note(key, until)
    return sorted(worst.values(), key=lambda gap: gap.lease - gap.silent)


def lease_of(device: RawDevice) -> float:
    """Seconds the entry stays good."""
    return lease_seconds(device.lease)
