"""Family `intel`: Intel's GPUs (drivers xe and i915): whether heat slows them down, whether the driver gave one up, what the GPU says of
itself. `intel[:PATTERN,...]`, of PCI addresses or devices' names; without one, all.

What can be read is little. Neither driver counts memory errors in sysfs. That a GPU was given up (wedged) is pushed by the kernel
(drm.py), and stands in the kernel log, which is family `kmsg`'s; no file says so later, but for an xe that waits for its firmware to be
flashed (survivability_mode is there: drivers/gpu/drm/xe/xe_survivability_mode.c). From Linux 7.3 on newer ones say how they are
(gpu_health: Documentation/ABI/testing/sysfs-driver-intel-xe-ras).

Throttling: i915 drm/card*/gt/gt*/throttle_reason_* (drivers/gpu/drm/i915/gt/intel_gt_sysfs_pm.c), xe
tile*/gt*/freq0/throttle/{status,reason_*} (drivers/gpu/drm/xe/xe_gt_throttle.c).
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from podvitals.detect.detector import Device
from podvitals.detect.families import drm, pcidev, sysfs
from podvitals.detect.families.anew import Anew
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import pci_device
from podvitals.detect.nudged import Nudged
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Signal, State, Unread
from podvitals.detect.spec import Spec
from podvitals.detect.uevents import Uevent

VENDOR = "0x8086"
DRIVERS = ("xe", "i915")
REASONS = ("thermal", "prochot", "vr_thermalert", "soc_thermal", "mem_thermal", "vr_thermal")
"""Heat; limits of power and current are the operator's choice or the board's."""
MOST_GTS = 16


class Intel(Nudged):
    family, about = "intel", "Intel's GPUs"
    needs = "the xe or i915 driver; memory errors cannot be read in sysfs (see kmsg); that a GPU is given up needs Linux 6.15"
    interval, timeout = 10.0, 2.0
    subsystems = (drm.SUBSYSTEM,)

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self._devices: dict[str, Device] = {}
        self._anew = Anew()

    def __str__(self) -> str:
        return f"intel:{','.join(self.patterns)}" if self.patterns else "intel"

    @classmethod
    def available(cls, roots: Roots) -> str:
        loaded = [driver for driver in DRIVERS if (roots.sys / "bus/pci/drivers" / driver).is_dir()]
        return "" if loaded else "neither xe nor i915 is loaded"

    def find(self) -> Iterable[Device]:
        for address in pcidev.addresses(self.roots.sys):
            at = pcidev.directory(self.roots.sys, address)
            ours = sysfs.optional(at / "vendor", 64) == VENDOR and sysfs.link_name(at / "driver") in DRIVERS
            words = (address, pci_device(address))
            if ours and (not self.patterns or any(fnmatchcase(word, pattern) for word in words for pattern in self.patterns)):
                found = pcidev.attributes(self.roots.sys, address) | {"type": "gpu"}
                self._devices[address] = Device(pci_device(address), found, handle=address)
        # One that is gone stays listed: reading it says so.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        at = pcidev.directory(self.roots.sys, device.handle)
        if not at.exists():
            return [Unread("intel.throttled", "the device is not on the bus")]  # its presence is family pcie's
        return self._present(at, device.handle)

    def meant(self, event: Uevent) -> str:
        return drm.address(event)

    def said(self, event: Uevent) -> Iterable[Signal]:
        return drm.wedged(event)

    def remember(self) -> Mapping[str, str]:
        return self._anew.remember()

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        self._anew.recall(memory, same_boot=same_boot)

    def _present(self, at: Path, address: str) -> Iterator[Signal]:
        yield from drm.life(self._anew, at, address)
        yield State("intel.driver", driver := sysfs.link_name(at / "driver"))
        if driver == "xe":
            yield State("intel.survivability", "yes" if (at / "survivability_mode").exists() else "no")
            yield from tried("intel.health", lambda: [State("intel.health", sysfs.word(at / "gpu_health"))])
        yield from self._throttled(at)

    def _throttled(self, at: Path) -> Iterator[Signal]:
        places = [(path, "reason_") for path in sorted(at.glob("tile*/gt*/freq0/throttle"))[:MOST_GTS]]
        places += [(path, "throttle_reason_") for path in sorted(at.glob("drm/card*/gt/gt*"))[:MOST_GTS]]
        for reason in REASONS:
            said = []
            for path, prefix in places:
                try:
                    said.append(sysfs.number(path / f"{prefix}{reason}"))
                except FileNotFoundError:
                    continue
                except (OSError, ValueError) as error:
                    yield Unread("intel.throttled", sysfs.why(error), reason)
                    break
            else:
                if said:
                    yield State("intel.throttled", "yes" if any(said) else "no", reason)


FAMILY = Intel


def from_spec(spec: Spec) -> Intel:
    spec.only()
    return Intel(*spec.what)
