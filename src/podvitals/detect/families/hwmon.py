"""Family `hwmon`: temperatures, and the limits the sensors themselves name. `hwmon[:PATTERN,...]`, of chips' names (`coretemp`, `nvme`) or
devices' names; without one, all.

Kernel ABI: Documentation/ABI/testing/sysfs-class-hwmon and Documentation/hwmon/sysfs-interface.rst (temp*_{input,label,max,crit,emergency,
fault}, in thousandths of a degree Celsius).
"""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import pcidev, sysfs
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import pci_device
from podvitals.detect.inventory import device_name
from podvitals.detect.nudged import Nudged
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Level, Signal, State, Unread
from podvitals.detect.spec import Spec

LIMITS = ("max", "crit", "emergency")
MOST_SENSORS = 256
LONGEST_LABEL = 32
LEAST, MOST = 1.0, 250.0
"""°C; a limit outside of these is a register that nobody filled in."""
_INPUT = re.compile(r"temp([0-9]{1,4})_input")


class Hwmon(Nudged):
    family, about = "hwmon", "temperatures of whatever has a sensor"
    needs = "/sys/class/hwmon"
    interval, timeout = 10.0, 5.0
    subsystems = ("hwmon",)  # alarms, of drivers that tell of them (hwmon_notify_event)

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self._devices: dict[str, Device] = {}

    def __str__(self) -> str:
        return f"hwmon:{','.join(self.patterns)}" if self.patterns else "hwmon"

    @classmethod
    def available(cls, roots: Roots) -> str:
        there = roots.sys / "class/hwmon"
        return "" if there.is_dir() and any(there.iterdir()) else f"no sensors: {there} is {'empty' if there.is_dir() else 'not there'}"

    def find(self) -> Iterable[Device]:
        found: dict[str, Device] = {}
        for name in sysfs.entries_if_any(self.roots.sys / "class/hwmon"):
            at = self.roots.sys / "class/hwmon" / name
            device = self._device(at)
            if device.name in found:  # two chips of one device are told apart by the chip
                device = Device(device_name(f"{device.name[:40]}-{device.attributes['chip']}"), device.attributes, handle=device.handle)
            words = (str(device.attributes["chip"]), device.name)
            if _sensors(at) and (not self.patterns or any(fnmatchcase(word, pattern) for word in words for pattern in self.patterns)):
                found[device.name] = device
        # The number of a chip may change while the machine is up (a driver loaded anew): the newest counts, what went stays listed.
        self._devices |= found
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        at = self.roots.sys / "class/hwmon" / device.handle
        sensors = _sensors(at)
        if not sensors:
            return [Unread("hwmon.temp", "the sensor is not there")]
        return [signal for number, label in sensors for signal in _read(at, number, label)]

    def _device(self, at: Path) -> Device:
        chip = pcidev.fits(sysfs.optional(at / "name", 64)) or at.name
        address = pcidev.behind(self.roots.sys, at)
        found: dict[str, Attribute] = {"chip": chip}
        if address:
            found |= pcidev.attributes(self.roots.sys, address)
            return Device(pci_device(address), found, handle=at.name)
        parent = (at / "device").resolve().name if (at / "device").exists() else chip
        return Device(device_name(parent if parent.startswith(chip) else f"{chip}-{parent}"), found, handle=at.name)


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


def from_spec(spec: Spec) -> Hwmon:
    spec.only()
    return Hwmon(*spec.what)
