"""Family `block`: disks that are not NVMe: are they there, did they become read-only, do their commands fail. `block[:PATTERN,...]`, of the
kernel's names (`sd*`), WWNs or serial numbers; without one, all that are hardware. That one went, or became read-only, is pushed (uevents).

Kernel ABI: Documentation/ABI/stable/sysfs-block (ro, size); SCSI's state and ioerr_cnt (drivers/scsi/scsi_sysfs.c; states: running,
offline, blocked, transport-offline, ...).
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from podvitals.detect.detector import Device
from podvitals.detect.families import disks, sysfs
from podvitals.detect.families.sysfs import tried
from podvitals.detect.nudged import Nudged
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Count, Signal, State, Unread
from podvitals.detect.spec import Spec


class Block(Nudged):
    family, about = "block", "disks other than NVMe"
    needs = "/sys/class/block"
    interval, timeout = 10.0, 2.0
    subsystems = ("block",)

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self._devices: dict[str, Device] = {}
        self._sizes: dict[str, int] = {}

    def __str__(self) -> str:
        return f"block:{','.join(self.patterns)}" if self.patterns else "block"

    @classmethod
    def available(cls, roots: Roots) -> str:
        return "" if (roots.sys / "class/block").is_dir() else f"{roots.sys}/class/block is not there"

    def find(self) -> Iterable[Device]:
        for name in disks.names(self.roots.sys, virtual=bool(self.patterns)):
            if not self._wanted(name):
                continue
            device = disks.device(self.roots, name)
            # Two paths to one disk bear one WWN: the second is told apart by its name.
            if (known := self._devices.get(device.name)) is not None and known.handle != name and self._there(known.handle):
                device = Device(f"{device.name[:50]}-{name}", device.attributes, device.capacity, device.nodes, handle=name)
            self._devices[device.name] = device
        # One that is gone stays listed: reading it says so.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        name = device.handle
        return self._present(name) if self._there(name) else self._absent(name)

    def _wanted(self, name: str) -> bool:
        if not self.patterns:
            return not name.startswith("nvme")
        words = (name, disks.identity(self.roots.sys, name))
        return any(fnmatchcase(word, pattern) for word in words for pattern in self.patterns)

    def _there(self, name: str) -> bool:
        return disks.directory(self.roots.sys, name).exists()

    def _absent(self, name: str) -> Iterator[Signal]:
        try:
            gone = name not in sysfs.entries(self.roots.sys / "class/block")
        except OSError as error:
            yield Unread("block.presence", sysfs.why(error))
            return
        yield State("block.presence", "gone" if gone else "present")

    def _present(self, name: str) -> Iterator[Signal]:
        at = disks.directory(self.roots.sys, name)
        yield from tried("block.presence", lambda: self._filled(name))
        yield from tried("block.read_only", lambda: [State("block.read_only", str(sysfs.number(at / "ro")))])
        yield from tried("block.scsi_state", lambda: [State("block.scsi_state", sysfs.word(at / "device/state"))])
        yield from tried("block.ioerr_cnt", lambda: [Count("block.ioerr_cnt", sysfs.number(at / "device/ioerr_cnt"))])

    def _filled(self, name: str) -> Iterator[Signal]:
        """A disk that had a size and has none any more lost what it is made of."""
        size = sysfs.number(disks.directory(self.roots.sys, name) / "size")
        had = self._sizes.get(name, 0)
        self._sizes[name] = max(size, had)
        yield State("block.presence", "gone", text="it has no size any more") if had and not size else State("block.presence", "present")


FAMILY = Block


def from_spec(spec: Spec) -> Block:
    spec.only()
    return Block(*spec.what)
