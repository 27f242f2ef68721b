"""GPUs of the kernel's DRM subsystem, of whatever vendor: that a driver gave one up (wedged), that it was bound anew, or is not.

Kernel: Documentation/gpu/drm-uapi.rst, "Device Wedging" (Linux 6.15): a `change` of drm/cardN with WEDGED=METHOD[,METHOD...] (none, rebind,
bus-reset, cold-reset, vendor-specific, unknown), the mildest first; PID and TASK name the program, if there is one. It is said once, and
stands in no file.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from podvitals.detect.detector import Device, Unreadable
from podvitals.detect.families import pcidev, sysfs
from podvitals.detect.families.anew import Anew
from podvitals.detect.families.listed import Listed
from podvitals.detect.family import pci_device
from podvitals.detect.roots import Roots
from podvitals.detect.signal import LIFE, Code, Signal, Unread
from podvitals.detect.uevents import Uevent
from podvitals.device.text import clean

LONGEST_WORD = 64


class Gpus(Listed):
    """Of one vendor. `drivers`: those of which one has to be bound to a GPU for it to be one of the family."""

    place = "bus/pci/devices"
    subsystems = ("drm",)
    vendor: ClassVar[str]
    drivers: ClassVar[tuple[str, ...]]

    def __init__(self, *patterns: str) -> None:
        super().__init__(*patterns)
        self._anew = Anew()

    @classmethod
    def available(cls, roots: Roots) -> str:
        loaded = any((roots.sys / "bus/pci/drivers" / driver).is_dir() for driver in cls.drivers)
        return "" if loaded else f"its driver is not loaded ({' or '.join(cls.drivers)})"

    def described(self, at: Path, address: str) -> Device:
        return Device(pci_device(address), pcidev.attributes(self.roots.sys, address) | {"type": "gpu"}, handle=address)

    def told(self, at: Path) -> Iterable[Signal]:
        """What the driver's files say."""
        raise NotImplementedError

    def listed(self) -> Iterator[Device]:
        for address in pcidev.addresses(self.roots.sys):
            at = pcidev.directory(self.roots.sys, address)
            ours = sysfs.optional(at / "vendor", 64) == self.vendor and sysfs.link_name(at / "driver") in self.drivers
            if ours and self.chosen(address, pci_device(address)):
                yield self.described(at, address)

    def present(self, device: Device, at: Path) -> Iterator[Signal]:
        if (driver := sysfs.link_name(at / "driver")) not in self.drivers:
            # It has no files then, so there is nothing in them that could be wrong.
            raise Unreadable(f"the GPU is bound to {driver or 'no driver'}, not to {' or '.join(self.drivers)}")
        with suppress(FileNotFoundError):
            if self._anew.is_so(device.handle, at / "drm"):
                yield Code(LIFE, "reset", f"the driver of {device.handle} was bound anew")
        yield from self.told(at)

    def absent(self, device: Device) -> Iterable[Signal]:
        return [Unread(self.presence, "the device is not on the bus")]  # family pcie tells that

    def meant(self, event: Uevent) -> str:
        return address(event)

    def said(self, event: Uevent) -> Iterable[Signal]:
        return wedged(event)

    def remember(self) -> Mapping[str, str]:
        return self._anew.remember()

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        self._anew.recall(memory, same_boot=same_boot)


def address(event: Uevent) -> str:
    """Of the GPU whose card a uevent is about, where it is one that says more than that a screen was plugged in."""
    if event.action == "change" and "WEDGED" not in event.keys:
        return ""
    return next((part for part in reversed(event.path.split("/")) if pcidev.ADDRESS.fullmatch(part)), "")


def wedged(event: Uevent) -> Iterable[Code]:
    """`name` is the program's, as in a line of the kernel log (and is left out with it, where a recording is made anonymous)."""
    if methods := clean(event.keys.get("WEDGED", ""), LONGEST_WORD):
        params = {"method": methods.partition(",")[0], "methods": methods, "name": clean(event.keys.get("TASK", ""), LONGEST_WORD)}
        yield Code("drm", "wedged", f"WEDGED={methods}", tuple((name, value) for name, value in params.items() if value))
