"""Faults that somebody else remembers of devices nobody reported yet. Pure; a part of the ledger.

Where the checkpoint is lost, what stands on the pods is the only memory of what their devices went through. It is history, never a
health: such a device is Unknown until it is reported, and then begins with these faults (`record.with_history`).
"""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.node.record import Fault, bounded, missing
from podvitals.node.rows import DeviceRow, Rows


class Seeds(NamedTuple):
    """`at`, Unix seconds: when we were told; what lasted then is not known to last."""

    faults: tuple[Fault, ...]
    at: float

    def row(self) -> DeviceRow:
        return DeviceRow(Health.UNKNOWN, "", "", self.at, self.faults)


class Past:
    """At most `most` devices; the oldest goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seeds: dict[DeviceKey, Seeds] = {}
        self._unsaved: dict[DeviceKey, None] = {}

    def add(self, key: DeviceKey, faults: tuple[Fault, ...], wall: float) -> bool:
        """Whether readers see a change."""
        before = self._seeds.get(key)
        known = () if before is None else before.faults
        new = missing(known, faults)
        if not new:
            return False
        if len(self._seeds) >= self._most and before is None:
            self.take(next(iter(self._seeds)))
        self._seeds[key] = Seeds(sound((*known, *new)), wall if before is None else before.at)
        self._unsaved[key] = None
        return True

    def get(self, key: DeviceKey) -> tuple[Fault, ...]:
        """As a reader may see them: none lasts."""
        seeds = self._seeds.get(key)
        return () if seeds is None else tuple(closed(fault, seeds.at) for fault in seeds.faults)

    def take(self, key: DeviceKey) -> tuple[Fault, ...]:
        """The device is known now (or forgotten): its faults, for the last time."""
        seeds = self._seeds.pop(key, None)
        if seeds is None:
            return ()
        self._unsaved[key] = None
        return seeds.faults

    @property
    def unsaved(self) -> bool:
        return bool(self._unsaved)

    def drain(self, rows: Rows) -> None:
        """Into `rows`, which know more of a device that was reported since."""
        for key in self._unsaved:
            seeds = self._seeds.get(key)
            if seeds is not None:
                rows.devices[key] = seeds.row()
            else:
                rows.devices.setdefault(key, None)
        self._unsaved = {}

    def everything(self) -> dict[DeviceKey, DeviceRow | None]:
        return {key: seeds.row() for key, seeds in self._seeds.items()}

    def restore(self, key: DeviceKey, row: DeviceRow) -> None:
        if len(self._seeds) < self._most:
            self._seeds[key] = Seeds(row.faults, row.since)


def closed(fault: Fault, at: float) -> Fault:
    return fault if fault.end is not None else Fault(fault.health, fault.message, fault.action, fault.start, max(fault.start, at))


def sound(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Those that can be faults, oldest first, none but the last still lasting: they come from where others may write."""
    possible = (f for f in faults if f.health is not Health.HEALTHY and math.isfinite(f.start) and math.isfinite(f.end or 0.0))
    good = [
        Fault(
            fault.health, clean(fault.message), clean(fault.action), fault.start, None if fault.end is None else max(fault.start, fault.end)
        )
        for fault in sorted(possible, key=lambda fault: fault.start)
    ]
    return bounded((*(closed(fault, later.start) for fault, later in pairwise(good)), *good[-1:]))
