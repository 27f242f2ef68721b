"""PCI devices as sysfs lists them: their addresses and kinds, and the attributes published for each by whatever family meets it.

Kernel ABI: Documentation/ABI/testing/sysfs-bus-pci (numa_node, driver, max_link_width), Documentation/PCI/sysfs-pci.rst (class, vendor).
Standard attributes: https://kubernetes.io/docs/reference/node/dra-standard-device-attributes/.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from podvitals.detect.detector import Attribute
from podvitals.detect.families import sysfs
from podvitals.detect.family import PCI, pci_device
from podvitals.detect.inventory import LONGEST_VALUE

ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_ROOT = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}")
_KINDS = (("0108", "nvme"), ("0207", "ib"), ("01", "disk"), ("02", "nic"), ("03", "gpu"), ("06", "bridge"), ("12", "accel"))
"""Class codes (PCI Code and ID Assignment Specification) by their beginning, the longer one first."""


def directory(sys: Path, address: str) -> Path:
    return sys / "bus/pci/devices" / address


def class_of(sys: Path, address: str) -> str:
    """Six hexadecimal digits, such as 030200, or '' where they cannot be read."""
    return sysfs.optional(directory(sys, address) / "class", 64).removeprefix("0x").rjust(6, "0")[-6:]


def kind_of(class_code: str) -> str:
    """gpu, nvme, nic, ib, disk, accel, bridge, or pci for all others."""
    return next((kind for begin, kind in _KINDS if class_code.startswith(begin)), "pci")


def addresses(sys: Path) -> list[str]:
    """Every PCI device there is. Raises OSError where sysfs cannot be read."""
    return [name for name in sysfs.entries(sys / "bus/pci/devices") if ADDRESS.fullmatch(name)]


class Chosen:
    """The PCI devices that patterns choose, by address, name, kind or `vendor:device`; no pattern: all. Bridges only by their address: no
    pod is given one. What is published of each is read once, for as long as it is the same device with the same driver."""

    def __init__(self, *patterns: str) -> None:
        self._patterns = patterns
        self._seen: dict[str, tuple[tuple[int, str], str, dict[str, Attribute]]] = {}

    def devices(self, sys: Path) -> Iterator[tuple[str, str, dict[str, Attribute]]]:
        """(address, kind, attributes) of each that is there. Raises OSError where sysfs cannot be read."""
        for address in addresses(sys):
            with suppress(FileNotFoundError):  # it left in this moment
                at = directory(sys, address)
                same = (at.stat().st_ino, sysfs.link_name(at / "driver"))
                if address not in self._seen or self._seen[address][0] != same:
                    kind = kind_of(class_of(sys, address))
                    wanted = self._wanted(sys, address, kind)
                    self._seen[address] = (same, kind, attributes(sys, address)) if wanted else (same, "", {})
                _, kind, published = self._seen[address]
                if kind:
                    yield address, kind, published

    def _wanted(self, sys: Path, address: str, kind: str) -> bool:
        if kind == "bridge":
            return address in self._patterns
        words = (address, pci_device(address), kind, ids(sys, address))
        return not self._patterns or any(fnmatchcase(word, pattern) for word in words for pattern in self._patterns)


def ids(sys: Path, address: str) -> str:
    """`10de:2330`, vendor and device."""
    at = directory(sys, address)
    return ":".join(sysfs.optional(at / part, 64).removeprefix("0x").lower() for part in ("vendor", "device"))


def behind(sys: Path, path: Path) -> str:
    """The PCI address of the device that `path` (of a class directory, or its `device` link) leads to, or ''."""
    with suppress(OSError, RuntimeError):
        for part in reversed(path.resolve(strict=True).parts):
            if ADDRESS.fullmatch(part) and directory(sys, part).exists():
                return part
    return ""


def attributes(sys: Path, address: str) -> dict[str, Attribute]:
    """What is published for a PCI device; what cannot be read is left out. A device without a place in NUMA must not say one."""
    at = directory(sys, address)
    found: dict[str, Attribute] = {PCI: address, "type": kind_of(class_of(sys, address))}
    vendor, _, device = ids(sys, address).partition(":")
    found |= {name: value for name, value in (("vendor", vendor), ("device", device)) if value}
    if root := root_of(at):
        found["resource.kubernetes.io/pcieRoot"] = root
    with suppress(OSError, ValueError):
        if (node := sysfs.number(at / "numa_node")) >= 0:
            found["resource.kubernetes.io/numaNode"] = node
    with suppress(OSError):
        if driver := sysfs.link_name(at / "driver"):
            found["driver"] = driver[:LONGEST_VALUE]
    with suppress(OSError, ValueError):
        if 0 < (width := sysfs.number(at / "max_link_width")) < 255:
            found["linkWidth"] = width
    if speed := sysfs.optional(at / "max_link_speed", 64):
        found["linkSpeed"] = speed.removesuffix(" PCIe")[:LONGEST_VALUE]
    return found


def place(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Those of a PCI device's attributes that are true of what sits behind it, too: where it is, not what."""
    return {name: value for name, value in attributes.items() if "/" in name}


def owner(entry: Path) -> Path:
    """The directory of the device that an entry of a class belongs to: the first one upwards that is on a bus, and not of a class itself
    (an NVMe controller's sensor belongs to the PCI device, a memory module's to the module and not to the controller of its bus)."""
    at = entry.resolve()
    while (at / "device").exists():
        at = (at / "device").resolve()
        if (at / "subsystem").resolve().parent.name != "class":
            break
    return at


def root_of(at: Path) -> str:
    """`pci0000:3a`: the root complex, the first directory below /sys/devices on the way to the device."""
    with suppress(OSError, RuntimeError):
        return next((part for part in at.resolve(strict=True).parts if _ROOT.fullmatch(part)), "")
    return ""


def fits(value: str) -> str:
    """A text made fit for an attribute: at most 64 bytes."""
    return value.encode()[:LONGEST_VALUE].decode(errors="ignore").strip()
