"""Family `fpga`: the state of FPGA managers. `fpga[:PATTERN,...]`, of devices' names; without one, all.

Kernel ABI: Documentation/ABI/testing/sysfs-class-fpga-manager (name, state, status).
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import pcidev, sysfs
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import Family, pci_device
from podvitals.detect.inventory import device_name
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Signal, State, Unread
from podvitals.detect.spec import Spec


class Fpga(Family):
    family, about = "fpga", "FPGAs with a manager in the kernel"
    needs = "/sys/class/fpga_manager"
    interval, timeout = 5.0, 2.0

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self._devices: dict[str, Device] = {}

    def __str__(self) -> str:
        return f"fpga:{','.join(self.patterns)}" if self.patterns else "fpga"

    @classmethod
    def available(cls, roots: Roots) -> str:
        return "" if (roots.sys / "class/fpga_manager").is_dir() else f"no FPGA manager: {roots.sys}/class/fpga_manager is not there"

    def find(self) -> Iterable[Device]:
        for manager in sysfs.entries_if_any(self.roots.sys / "class/fpga_manager"):
            device = self._device(self.roots.sys / "class/fpga_manager" / manager)
            if not self.patterns or any(fnmatchcase(device.name, pattern) for pattern in self.patterns):
                self._devices[device.name] = device
        # One that is gone stays listed: reading it says so.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        at = self.roots.sys / "class/fpga_manager" / device.handle
        if not at.exists():
            return [Unread("fpga.state", "its manager is not there")]
        return tried("fpga.state", lambda: _state(at))

    def _device(self, at: Path) -> Device:
        found: dict[str, Attribute] = {"type": "fpga"}
        if product := pcidev.fits(sysfs.optional(at / "name", 128)):
            found["product"] = product
        address = pcidev.behind(self.roots.sys, at)
        if address:
            found = pcidev.attributes(self.roots.sys, address) | found
            return Device(pci_device(address), found, handle=at.name)
        # On a board it is a platform device with a fixed address (ffd03000.fpga-mgr); the manager's number is the order of finding.
        parent = (at / "device").resolve().name if (at / "device").exists() else at.name
        return Device(device_name(parent), found, handle=at.name)


def _state(at: Path) -> Iterator[Signal]:
    yield State("fpga.state", sysfs.word(at / "state"), text=sysfs.optional(at / "status", 1024).replace("\n", ", "))


FAMILY = Fpga


def from_spec(spec: Spec) -> Fpga:
    spec.only()
    return Fpga(*spec.what)
