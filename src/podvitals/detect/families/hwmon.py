"""Family `hwmon`: temperatures, and the limits the sensors themselves name. `hwmon[:PATTERN,...]`, of chips' names (`coretemp`, `nvme`) or
devices' names; without one, all.

Kernel ABI: Documentation/ABI/testing/sysfs-class-hwmon and Documentation/hwmon/sysfs-interface.rst (temp*_{input,label,max,crit,emergency,
fault}, in thousandths of a degree Celsius).
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import disks, pcidev, sysfs
from podvitals.detect.families.listed import Listed
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import pci_device
from podvitals.detect.inventory import device_name
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Level, Signal, State, Unread

LIMITS = ("max", "crit", "emergency")
MOST_SENSORS = 256
LONGEST_LABEL = 32
LEAST, MOST = 1.0, 250.0
"""°C; a limit outside of these is a register that nobody filled in."""
_INPUT = re.compile(r"temp([0-9]{1,4})_input")


class Hwmon(Listed):
    family, about = "hwmon", "temperatures of whatever has a sensor"
    needs = "/sys/class/hwmon"
    interval, timeout = 10.0, 5.0
    place, presence = "class/hwmon", "hwmon.temp"
    subsystems = ("hwmon",)  # alarms, of drivers that tell of them (hwmon_notify_event)

    @classmethod
    def available(cls, roots: Roots) -> str:
        there = roots.sys / cls.place
        return super().available(roots) or ("" if any(there.iterdir()) else f"{there} is empty")

    def listed(self) -> Iterator[Device]:
        for at in self.entries():
            if _sensors(at) and self.chosen(_chip(at), name := self.name_at(at)):
                yield Device(name, self._attributes(at), handle=at.name)

    def name_at(self, at: Path) -> str:
        """That of the device it sits on, as the other families name it; else by the chip and its place."""
        owner = pcidev.owner(at)
        if owner.name == pcidev.behind(self.roots.sys, at):
            return pci_device(owner.name)
        if disk := next(iter(sysfs.entries_if_any(owner / "block")), ""):
            return disks.name_of(self.roots.sys, disk)
        chip, where = _chip(at), owner.name
        return device_name(where if where.startswith(chip) else chip if where == at.name else f"{chip}-{where}")

    def apart(self, device: Device) -> str:
        return str(device.attributes["chip"])

    def present(self, device: Device, at: Path) -> Iterator[Signal]:
        sensors = _sensors(at)
        return (signal for number, label in sensors for signal in _read(at, number, label)) if sensors else iter(self.absent(device))

    def absent(self, device: Device) -> Iterable[Signal]:
        return [Unread(self.presence, "the sensor is not there")]

    def _attributes(self, at: Path) -> dict[str, Attribute]:
        address = pcidev.behind(self.roots.sys, at)
        described = pcidev.attributes(self.roots.sys, address) if address else {}
        return {"chip": _chip(at), **(described if pcidev.owner(at).name == address else pcidev.place(described))}


def _chip(at: Path) -> str:
    return pcidev.fits(sysfs.optional(at / "name", 64)) or at.name


def _sensors(at: Path) -> list[tuple[str, str]]:
    """Number and label of each temperature; a label that two bear is told apart by the number."""
    try:
        numbers = [found[1] for name in sysfs.entries_if_any(at) if (found := _INPUT.fullmatch(name)) is not None][:MOST_SENSORS]
    except OSError:
        return []
    labels = {number: sysfs.optional(at / f"temp{number}_label", 128)[:LONGEST_LABEL] or f"temp{number}" for number in numbers}
    said = list(labels.values())
    return [(number, label if said.count(label) == 1 else f"{label} {number}") for number, label in labels.items()]


def _read(at: Path, number: str, label: str) -> Iterator[Signal]:
    if sysfs.optional(at / f"temp{number}_fault", 16) == "1":
        yield State("hwmon.fault", "yes", label)
        return
    yield from tried("hwmon.temp", lambda: [Level("hwmon.temp", _degrees(at / f"temp{number}_input"), label)])
    for limit in LIMITS:
        yield from tried(f"hwmon.temp_{limit}", lambda which=limit: _limit(at / f"temp{number}_{which}", which, label))  # type: ignore[misc]


def _limit(path: Path, limit: str, label: str) -> Iterator[Signal]:
    if LEAST <= (degrees := _degrees(path)) <= MOST:
        yield Level(f"hwmon.temp_{limit}", degrees, label)


def _degrees(path: Path) -> float:
    return sysfs.number(path) / 1000


FAMILY = Hwmon
