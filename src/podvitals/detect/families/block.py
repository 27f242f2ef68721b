"""Family `block`: disks that are not NVMe: are they there, did they become read-only, do their commands fail. `block[:PATTERN,...]`, of the
kernel's names (`sd*`), WWNs or serial numbers; without one, all that are hardware. That one went, or became read-only, is pushed (uevents).

Kernel ABI: Documentation/ABI/stable/sysfs-block (ro, size); SCSI's state and ioerr_cnt (drivers/scsi/scsi_sysfs.c; states: running,
offline, blocked, transport-offline, ...).
"""

from collections.abc import Iterator
from pathlib import Path

from podvitals.detect.detector import Device
from podvitals.detect.families import disks, sysfs
from podvitals.detect.families.listed import Listed
from podvitals.detect.families.sysfs import tried
from podvitals.detect.signal import Count, Signal, State


class Block(Listed):
    family, about = "block", "disks other than NVMe"
    needs = "/sys/class/block"
    interval, timeout = 10.0, 2.0
    place, presence = "class/block", "block.presence"
    subsystems = ("block",)

    def __init__(self, *patterns: str) -> None:
        super().__init__(*patterns)
        self._sizes: dict[str, int] = {}

    def listed(self) -> Iterator[Device]:
        for name in disks.names(self.roots.sys, virtual=bool(self.patterns)):
            if self.chosen(name, disks.identity(self.roots.sys, name)) and (self.patterns or not name.startswith("nvme")):
                yield disks.device(self.roots, name)

    def name_at(self, at: Path) -> str:
        return disks.identified(self.roots.sys, at.name)

    def present(self, device: Device, at: Path) -> Iterator[Signal]:
        yield from tried("block.presence", lambda: self._filled(device.name, at))
        yield from tried("block.read_only", lambda: [State("block.read_only", str(sysfs.number(at / "ro")))])
        yield from tried("block.scsi_state", lambda: [State("block.scsi_state", sysfs.word(at / "device/state"))])
        yield from tried("block.ioerr_cnt", lambda: [Count("block.ioerr_cnt", sysfs.number(at / "device/ioerr_cnt"))])

    def _filled(self, name: str, at: Path) -> Iterator[Signal]:
        """A disk that had a size and has none any more lost what it is made of."""
        size = sysfs.number(at / "size")
        had = self._sizes.get(name, 0)
        self._sizes[name] = max(size, had)
        yield State("block.presence", "gone", text="it has no size any more") if had and not size else State("block.presence", "present")


FAMILY = Block
