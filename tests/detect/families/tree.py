"""Trees of sysfs, /dev and /proc, built as the kernel documents them (Documentation/ABI): directories of devices, class links to them."""

import os
from pathlib import Path

from podvitals.detect.roots import Roots
from podvitals.detect.signal import Count, Level, Signal, State, Unread


class Tree:
    def __init__(self, root: Path) -> None:
        self.roots = Roots.under(root)
        self.sys, self.dev, self.proc = self.roots.sys, self.roots.dev, self.roots.proc
        for directory in (self.sys / "bus/pci/devices", self.sys / "class", self.dev, self.proc):
            directory.mkdir(parents=True)

    def write(self, path: Path, **files: object) -> Path:
        """Files of a device's directory: `aer_dev_fatal="…"`, `device__model="…"` for device/model; None removes one."""
        for name, value in files.items():
            file = path / name.replace("__", "/")
            if value is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(value) if isinstance(value, bytes) else file.write_text(f"{value}\n")
        return path

    def pci(self, address: str, code: str, *, driver: str = "", port: str = "", **files: object) -> Path:
        """A PCI device of class `code`, behind the port of that address, or in the root complex."""
        root = self.sys / f"devices/pci{address[:7]}"
        at = (self._real(port) if port else root) / address
        at.mkdir(parents=True, exist_ok=True)
        link = self.sys / "bus/pci/devices" / address
        if not link.is_symlink():
            link.symlink_to(at)
        self.write(at, **{"vendor": "0x8086", "device": "0x1234", "class": f"0x{code}", "enable": "1", **files})
        if driver:
            self.bind(at, driver)
        return at

    def bind(self, at: Path, driver: str) -> None:
        where = self.sys / "bus/pci/drivers" / driver
        where.mkdir(parents=True, exist_ok=True)
        (at / "driver").symlink_to(where)

    def classed(self, kind: str, name: str, at: Path, /, **files: object) -> Path:
        """A device of class `kind` below `at` (a PCI device's directory), linked from /sys/class; its `device` leads back."""
        where = at / kind / name
        where.mkdir(parents=True)
        if not (where / "device").exists():
            (where / "device").symlink_to(at)
        (self.sys / "class" / kind).mkdir(exist_ok=True)
        (self.sys / "class" / kind / name).symlink_to(where)
        return self.write(where, **files)

    def _real(self, address: str) -> Path:
        return (self.sys / "bus/pci/devices" / address).resolve()


def aer(key: str, total: int, **lines: int) -> str:
    """A file of AER statistics, as in Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats."""
    said = {"Undefined": 0, "Data Link Protocol": 0, "Surprise Down Error": 0, "Poisoned TLP": 0, **lines}
    return "\n".join([*(f"{name} {value}" for name, value in said.items()), f"{key} {total}"])


def values(signals: "list[Signal] | tuple[Signal, ...]") -> dict[str, object]:
    """Signals by name (`name[part]`), for comparing: a State's value and text, a Count's or Level's value, an Unread's reason."""
    found: dict[str, object] = {}
    for signal in signals:
        if isinstance(signal, State | Count | Level | Unread):
            name = f"{signal.name}[{signal.part}]" if signal.part else signal.name
            assert name not in found, f"{name} is told twice"
            if isinstance(signal, State):
                found[name] = f"{signal.value}: {signal.text}" if signal.text else signal.value
            else:
                found[name] = f"unread: {signal.why}" if isinstance(signal, Unread) else signal.value
    return found


def unreadable(path: Path) -> None:
    """Puts something in the place of a file that fails to be read as one, also for root: a link to itself (ELOOP)."""
    path.unlink(missing_ok=True)
    os.symlink(path.name, path)
