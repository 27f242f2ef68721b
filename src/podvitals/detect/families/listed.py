"""Families whose devices are the entries of one directory of sysfs (/sys/class/nvme), under the names that the kernel gives them (nvme0).

The kernel gives such a name anew: a disk that is plugged in may be called as one that was pulled. So a device is known by what stays the
same (its PCI address, WWN, serial number), and is there only as long as the entry it was found under is its own.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from podvitals.detect.detector import Device
from podvitals.detect.families import sysfs
from podvitals.detect.inventory import device_name
from podvitals.detect.nudged import Nudged
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Signal, State, Unread

LONGEST_NAME = 40
"""Characters of a name that something is put behind."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A device as it was found last: in which directory (sysfs uses no inode twice in a boot), and by which name that stays."""

    device: Device
    inode: int
    identity: str


class Listed(Nudged):
    """`place`: the directory, below /sys. `presence`: the signal that tells whether a device is there."""

    place: ClassVar[str]
    presence: ClassVar[str]

    def __init__(self, *patterns: str) -> None:
        super().__init__(*patterns)
        self._known: dict[str, _Known] = {}

    @classmethod
    def available(cls, roots: Roots) -> str:
        there = roots.sys / cls.place
        return "" if there.is_dir() else f"{there} is not there"

    def entries(self) -> Iterator[Path]:
        """Of the directory; none where it is not there. Raises OSError for other failures."""
        there = self.roots.sys / self.place
        return (there / name for name in sysfs.entries_if_any(there))

    def listed(self) -> Iterable[Device]:
        """The devices that are there now, of those asked for. Their handles are the entries."""
        raise NotImplementedError

    def present(self, device: Device, at: Path) -> Iterable[Signal]:
        """What is read of a device that is there."""
        raise NotImplementedError

    def glimpse(self, device: Device, at: Path) -> Iterable[Signal]:
        """The same for a look between checks."""
        return self.present(device, at)

    def absent(self, device: Device) -> Iterable[Signal]:
        """What is said of one that is not there: that it is gone, unless that cannot be told."""
        try:
            listed = device.handle in sysfs.entries(self.roots.sys / self.place)
        except OSError as error:
            return [Unread(self.presence, sysfs.why(error))]
        if listed and not self.at(device).exists():
            return [Unread(self.presence, f"{self.at(device)} leads nowhere")]  # only a part of sysfs is mounted
        return [State(self.presence, "gone")]

    def name_at(self, at: Path) -> str:
        """The name of the device behind an entry, by what stays the same; '' where that cannot be told (now)."""
        return ""

    def apart(self, device: Device) -> str:
        """What tells a second device of one name from the first: two paths to one disk, two parts of one card."""
        return device.handle

    # --- for the frame ---------------------------------------------------------------------------------------------------------------

    def find(self) -> Iterable[Device]:
        names = {(known.device.handle, known.inode): name for name, known in self._known.items()}
        for device in self.listed():
            with suppress(FileNotFoundError):  # it left in this moment
                inode = self.at(device).stat().st_ino
                name = names.get((device.handle, inode)) or self._free_name(device)
                self._known[name] = _Known(replace(device, name=name), inode, self.name_at(self.at(device)))
        # One that is gone stays listed: reading it says so.
        return [known.device for _, known in sorted(self._known.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        return self.present(device, self.at(device)) if self._is_there(device) else self.absent(device)

    def glance(self, device: Device) -> Iterable[Signal]:
        return self.glimpse(device, self.at(device)) if self._is_there(device) else self.absent(device)

    def at(self, device: Device) -> Path:
        return self.roots.sys / self.place / device.handle

    def _is_there(self, device: Device) -> bool:
        """Whether the entry is the device's own: the very directory in which it was found, or another one of the same name."""
        at, known = self.at(device), self._known.get(device.name)
        try:
            inode = at.stat().st_ino
        except OSError:
            return False
        return known is None or inode == known.inode or not known.identity or self.name_at(at) in ("", known.identity)

    def _free_name(self, device: Device) -> str:
        """The first name that is not that of another device which is there."""
        base = device.name[:LONGEST_NAME]
        names = (device.name, *(device_name(f"{base}-{word}") for word in (self.apart(device), device.handle)))
        others = {name for name, known in self._known.items() if known.device.handle != device.handle}
        return next((name for name in names if name not in others or not self._is_there(self._known[name].device)), names[-1])
