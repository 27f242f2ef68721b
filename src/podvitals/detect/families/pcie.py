"""Family `pcie`: any PCI device, by sysfs: is it there, does it answer, what errors did it report, is its link as wide and fast as can be.

`pcie:PATTERN[,PATTERN...]`, of addresses (`0000:3b:*`), kinds (`gpu`, `nvme`, `nic`, `ib`, `disk`, `accel`) or `vendor:device` (`10de:*`).
Without any: all but bridges.

What comes, goes, is bound, unbound or recovers from an error is looked at when the kernel says so (uevents), all else each interval.

Kernel ABI: Documentation/ABI/testing/sysfs-bus-pci (enable, driver, config, power_state, current_link_width, max_link_width,
current_link_speed, max_link_speed) and sysfs-bus-pci-devices-aer_stats (aer_dev_fatal, aer_dev_nonfatal, aer_dev_correctable).

Traps kept in mind:
* "Gone" is only what is missing while its neighbours' directory can be listed: an unmounted /sys is no fault of a device.
* The configuration space of a function that is asleep (D3) or virtual (SR-IOV: its vendor id reads 0xffff by the standard) says nothing.
* A link is measured against what both of its ends can do: a x16 card in a x8 slot is not broken.
* Display controllers slow their link down to save power: their speed is no sign (their width is).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from podvitals.detect.detector import Device
from podvitals.detect.families import pcidev, sysfs
from podvitals.detect.families.anew import Anew
from podvitals.detect.families.listed import Listed
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import pci_device
from podvitals.detect.signal import LIFE, Code, Count, Level, Signal, State
from podvitals.detect.uevents import Uevent

AER = (
    ("pcie.aer_fatal", "aer_dev_fatal", "TOTAL_ERR_FATAL"),
    ("pcie.aer_nonfatal", "aer_dev_nonfatal", "TOTAL_ERR_NONFATAL"),
    ("pcie.aer_correctable", "aer_dev_correctable", "TOTAL_ERR_COR"),
)
NEED_A_DRIVER = ("gpu", "nvme", "nic", "ib", "accel")
"""Kinds that are of no use without a driver; of others an unbound one may be meant to be so, unless it was bound before."""
_SPEED = re.compile(r"([0-9]+(?:\.[0-9]+)?) GT/s")
_ANSWERS_NOTHING = b"\xff\xff"


def total(said: str, key: str) -> int:
    """The number in the line `KEY n` of an AER file. Raises ValueError where there is none."""
    for line in said.splitlines():
        name, _, value = line.rpartition(" ")
        if name == key:
            return sysfs.to_number(value)
    raise ValueError(f"it has no line {key}")


class Pcie(Listed):
    family, about = "pcie", "PCI devices of any kind"
    needs = "/sys/bus/pci; for error counters Linux 4.19 or newer with PCIe AER"
    interval, timeout = 10.0, 2.0
    place, presence = "bus/pci/devices", "pcie.presence"
    subsystems = ("pci",)

    def __init__(self, *patterns: str) -> None:
        super().__init__(*patterns)
        self._chosen = pcidev.Chosen(*patterns)
        # What each device was found with: kept, so that what is lost later is noticed.
        self._kinds: dict[str, str] = {}
        self._drivers: dict[str, str] = {}
        self._anew = Anew()

    def listed(self) -> Iterator[Device]:
        for address, kind, published in self._chosen.devices(self.roots.sys):
            self._kinds.setdefault(address, kind)
            yield Device(pci_device(address), published, handle=address)

    def present(self, device: Device, at: Path) -> Iterator[Signal]:
        address = device.handle
        yield from self._life(at, address)
        yield State("pcie.presence", "present")
        yield from tried("pcie.answers", lambda: _answers(at))
        for name, file, key in AER:
            yield from tried(name, lambda name=name, file=file, key=key: [Count(name, total(sysfs.text(at / file), key))])  # type: ignore[misc]
        yield from tried("pcie.link_width", lambda: _width(at))
        if self._kinds.get(address) != "gpu":
            yield from tried("pcie.link_speed", lambda: _speed(at))
        yield from tried("pcie.driver", lambda: self._driver(at, address))
        yield from tried("pcie.enabled", lambda: self._enabled(at, address))

    def said(self, event: Uevent) -> Iterable[Signal]:
        """The kernel's recovery from a PCIe error (drivers/pci/pci-driver.c, pci_uevent_ers): that it failed is the device's end."""
        if event.keys.get("ERROR_EVENT") == "FAILED_RECOVERY":
            yield Code("pcie", "recovery-failed", f"{event.name}: ERROR_EVENT=FAILED_RECOVERY")

    def remember(self) -> Mapping[str, str]:
        return self._anew.remember()

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        self._anew.recall(memory, same_boot=same_boot)

    def _life(self, at: Path, address: str) -> Iterator[Signal]:
        """A device whose directory is another than before was taken off the bus and found again: whatever asked for a reset had one."""
        if self._anew.is_so(address, at):
            yield Code(LIFE, "reset", f"{address} was taken off the bus and found again")

    def _driver(self, at: Path, address: str) -> Iterator[Signal]:
        driver = sysfs.link_name(at / "driver")
        before = self._drivers.get(address, "")
        if driver:
            self._drivers[address] = driver
            yield State("pcie.driver", driver)
        elif before or self._kinds.get(address) in NEED_A_DRIVER:
            yield State("pcie.driver", "", text=f"it was {before}" if before else "")

    def _enabled(self, at: Path, address: str) -> Iterator[Signal]:
        enabled = sysfs.number(at / "enable") > 0
        if enabled:
            yield State("pcie.enabled", "1")
        elif self._drivers.get(address) not in (None, "vfio-pci"):  # vfio enables a device when it is opened, not before
            yield State("pcie.enabled", "0")


def _answers(at: Path) -> Iterator[Signal]:
    if (at / "physfn").exists() or sysfs.optional(at / "power_state", 64) in ("D3hot", "D3cold"):
        return
    yield State("pcie.answers", "no" if sysfs.raw(at / "config", 2) == _ANSWERS_NOTHING else "yes")


def _limit(at: Path, file: str) -> str:
    """What the other end of the link can do, or '' where it is no PCIe port (a root complex, a virtual machine)."""
    parent = at.resolve().parent
    return sysfs.optional(parent / file, 64) if pcidev.ADDRESS.fullmatch(parent.name) else ""


def _width(at: Path) -> Iterator[Signal]:
    now, most = sysfs.number(at / "current_link_width"), sysfs.number(at / "max_link_width")
    if not 0 < now < 255 or not 0 < most < 255:  # 0 and 255 are what a link that is asleep, or a virtual one, reads
        return
    other = _limit(at, "max_link_width")
    if other.isdecimal() and 0 < int(other) < most:
        most = int(other)
    yield Level("pcie.link_width", now)
    yield Level("pcie.max_link_width", most)


def _speed(at: Path) -> Iterator[Signal]:
    now, most = (_gigatransfers(sysfs.text(at / f"{which}_link_speed", 64)) for which in ("current", "max"))
    if now is None or most is None:  # "Unknown", as virtual functions say
        return
    other = _gigatransfers(_limit(at, "max_link_speed"))
    most = min(most, other) if other is not None else most
    yield Level("pcie.link_speed", now)
    yield Level("pcie.max_link_speed", most)


def _gigatransfers(said: str) -> float | None:
    found = _SPEED.match(said)
    return float(found[1]) if found is not None else None


FAMILY = Pcie
