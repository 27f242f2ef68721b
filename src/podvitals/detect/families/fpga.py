"""Family `fpga`: the state of FPGA managers. `fpga[:PATTERN,...]`, of devices' names; without one, all.

Kernel ABI: Documentation/ABI/testing/sysfs-class-fpga-manager (name, state, status).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import pcidev, sysfs
from podvitals.detect.families.listed import Listed
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import pci_device
from podvitals.detect.inventory import device_name
from podvitals.detect.signal import Signal, State, Unread


class Fpga(Listed):
    family, about = "fpga", "FPGAs with a manager in the kernel"
    needs = "/sys/class/fpga_manager"
    interval, timeout = 5.0, 2.0
    place, presence = "class/fpga_manager", "fpga.state"
    subsystems = ("fpga_manager",)

    def listed(self) -> Iterator[Device]:
        for at in self.entries():
            if self.chosen(name := self.name_at(at)):
                yield Device(name, self._attributes(at), handle=at.name)

    def name_at(self, at: Path) -> str:
        """By its slot; on a board it is a platform device with a fixed address (ffd03000.fpga-mgr). Its number is the order of finding."""
        address = pcidev.behind(self.roots.sys, at)
        return pci_device(address) if address else device_name(pcidev.owner(at).name)

    def present(self, device: Device, at: Path) -> Iterator[Signal]:
        return tried("fpga.state", lambda: _state(at))

    def absent(self, device: Device) -> Iterable[Signal]:
        return [Unread(self.presence, "its manager is not there")]

    def _attributes(self, at: Path) -> dict[str, Attribute]:
        found: dict[str, Attribute] = {"type": "fpga"}
        if product := pcidev.fits(sysfs.optional(at / "name", 128)):
            found["product"] = product
        address = pcidev.behind(self.roots.sys, at)
        return pcidev.attributes(self.roots.sys, address) | found if address else found


def _state(at: Path) -> Iterator[Signal]:
    yield State("fpga.state", sysfs.word(at / "state"), text=sysfs.optional(at / "status", 1024).replace("\n", ", "))


FAMILY = Fpga
