"""Whom a line of the kernel log is about: the names under which the kernel speaks of devices. Pure."""

import re
from collections.abc import Iterable, Mapping

SUBJECTS = ("pci", "block", "ifname", "nvme", "neuron", "driver")
"""What names a device in a line: a pattern's group of this name, or else the record's own DEVICE= key (then also `ifindex`, `number`)."""
HARDWARE_ERROR = "[Hardware Error]:"
"""Begins each line of what the firmware recorded: a record over many lines, of which only one names the device."""

Subject = tuple[str, str]
"""A kind of name and the name, as `normal` writes it."""

_LOOSE = re.compile(r"(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:\.([0-7]))?")
_WORD = re.compile(r"[\w!@-]+(?:\.[\w!@-]+)*")


def pci_address(text: str) -> str:
    """A PCI address as sysfs writes it: `0000:3b:00.0` from `00000000:3B:00.0` (NVML), `3b:00.0` and `0000:3b:00` (NVRM). '' where it is
    none."""
    return _address(found) if (found := _LOOSE.fullmatch(text.strip())) is not None else ""


def _address(found: re.Match[str]) -> str:
    domain, bus, device, function = found.groups()
    return f"{int(domain or '0', 16):04x}:{bus.lower()}:{device.lower()}.{function or '0'}"


def normal(kind: str, name: str) -> str:
    if kind == "pci":
        return pci_address(name)
    if kind == "block":
        return name.replace("!", "/")
    return name.strip().lower() if kind == "driver" else name.strip()


def of_groups(groups: Mapping[str, str]) -> Subject | None:
    """Whom the groups of a pattern name."""
    return next(((subject, groups[subject]) for subject in SUBJECTS if subject in groups), None)


def of_keys(keys: Mapping[str, str]) -> Subject | None:
    """Whom a record's own DEVICE= key names (Documentation/ABI/testing/dev-kmsg): `+pci:...`, `n8` an interface, `b259:3` a disk."""
    device = keys.get("DEVICE", "")
    if device.startswith("+pci:"):
        return "pci", device[5:]
    if device.startswith("+nvme:"):
        return "nvme", device[6:]
    if re.fullmatch(r"n[0-9]{1,9}", device):
        return "ifindex", device[1:]
    if re.fullmatch(r"b[0-9]{1,5}:[0-9]{1,9}", device):
        return "number", device[1:]
    return None


class Names:
    """Which devices answer to which names. Once known a name stays: a device that is gone may still be spoken of."""

    def __init__(self) -> None:
        self._devices: dict[Subject, set[str]] = {}

    def know(self, device: str, names: Iterable[Subject]) -> bool:
        """Whether one of them is new."""
        new = [subject for subject in names if device not in self._devices.get(subject, ())]
        for subject in new:
            self._devices.setdefault(subject, set()).add(device)
        return bool(new)

    def devices(self, about: str, who: str) -> list[str]:
        return sorted(self._devices.get((about, normal(about, who)), ()))

    def by_device(self) -> dict[str, tuple[Subject, ...]]:
        found: dict[str, list[Subject]] = {}
        for subject, devices in sorted(self._devices.items()):
            for device in sorted(devices):
                found.setdefault(device, []).append(subject)
        return {device: tuple(subjects) for device, subjects in sorted(found.items())}

    def mentioned(self, text: str, keys: Mapping[str, str]) -> bool:
        """Whether some pattern could find one of the devices in a line: what no device is named in, no pattern can tell of a device."""
        if HARDWARE_ERROR in text or ((named := of_keys(keys)) is not None and self.devices(*named)):
            return True
        if any(("pci", _address(found)) in self._devices for found in _LOOSE.finditer(text)):
            return True
        kinds = {kind for kind, _ in self._devices}
        if "neuron" in kinds and re.search(r"neuron|nd-id", text, re.IGNORECASE):
            return True  # named by a bare number
        words = {word for found in _WORD.findall(text) for word in (found, *found.split("."))}
        return any((kind, normal(kind, word)) in self._devices for kind in kinds & {"block", "ifname", "nvme", "driver"} for word in words)
