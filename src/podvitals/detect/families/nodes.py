"""Family `nodes`: device nodes whose presence is the device's: TPUs (`/dev/accel*`), VFIO groups (`/dev/vfio/*`), AWS Neuron
(`/dev/neuron*`), DRM accelerators (`/dev/accel/accel*`). `nodes[:PATTERN,...]`, of paths below /dev; without one, all of these.

Named by the PCI device behind the node where sysfs tells it (/sys/class/*/NAME/device, /sys/kernel/iommu_groups/N/devices: Documentation/
ABI/testing/sysfs-kernel-iommu_groups), for the numbers of nodes follow the order in which devices were found. Presence is pushed by inotify
on the directory. Only "does not exist" means missing: any other error means that we cannot tell.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import pcidev, sysfs
from podvitals.detect.family import Family, pci_device
from podvitals.detect.inotify import PRESENCE, directories
from podvitals.detect.inventory import LONGEST_VALUE, device_name
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Signal, State, Unread
from podvitals.detect.spec import Spec
from podvitals.detect.worker import Worker

USUAL = ("accel[0-9]*", "accel/accel[0-9]*", "vfio/[0-9]*", "neuron[0-9]*")
CLASSES = ("accel", "neuron_device", "vfio-dev")
MOST_GROUP = 64
_KINDS = {
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
}
_DEVICES = ("character device", "block device")


class Nodes(Family):
    family, about = "nodes", "device nodes of TPUs, VFIO groups and Neuron devices"
    needs = "/dev"
    interval, timeout = 5.0, 2.0

    def __init__(self, *patterns: str) -> None:
        self.patterns = tuple(pattern.removeprefix("/dev/") for pattern in patterns) or USUAL
        self._devices: dict[Path, Device] = {}

    def __str__(self) -> str:
        return "nodes" if self.patterns == USUAL else f"nodes:{','.join(self.patterns)}"

    @classmethod
    def available(cls, roots: Roots) -> str:
        return "" if roots.dev.is_dir() else f"{roots.dev} is not there"

    def find(self) -> Iterable[Device]:
        for path in self._matching():
            with suppress(FileNotFoundError):
                kind = _kind(path)
                # Its number may be another device's by now; what is no device any more stays listed as what it was.
                if kind in _DEVICES and (path not in self._devices or kind == self._was(path)):
                    self._devices[path] = self._device(path, kind)
        # A node that went stays listed: reading it says so.
        return sorted(self._unique(), key=lambda device: device.name)

    def read(self, device: Device) -> Iterable[Signal]:
        return list(self._look(Path(device.handle)))

    async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        changed: set[Path] | None = None
        with directories() as watch, Worker(f"{self} watch") as worker:
            while True:
                # A directory that does not exist yet cannot be watched: look again each interval; until then read() polls.
                for directory in {self.roots.dev, *(self.roots.dev / pattern for pattern in self._folders())}:
                    watch.add(directory, PRESENCE)
                # First, and whenever changes were lost: all. After the subscription, so that nothing falls between.
                for path, device in list(self._devices.items()):
                    if changed is None or path in changed:
                        for signal in await worker.call(partial(lambda at: list(self._look(at)), path)):
                            yield device.name, signal
                changed = set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.interval):
                        changed = await watch.changes()

    def _folders(self) -> set[str]:
        return {folder for pattern in self.patterns if (folder := os.path.dirname(pattern))}

    def _matching(self) -> list[Path]:
        found: list[Path] = []
        for folder in ("", *sorted(self._folders())):
            with suppress(NotADirectoryError):
                for name in sysfs.entries_if_any(self.roots.dev / folder):
                    word = f"{folder}/{name}" if folder else name
                    if any(fnmatchcase(word, pattern) for pattern in self.patterns):
                        found.append(self.roots.dev / word)
        return found

    def _device(self, path: Path, kind: str) -> Device:
        attributes: dict[str, Attribute] = {"kind": kind}
        if len(os.fsencode(path)) <= LONGEST_VALUE:
            attributes["path"] = str(path)
        address = self._behind(path)
        if address:
            attributes |= pcidev.attributes(self.roots.sys, address)
        return Device(pci_device(address) if address else self._label(path), attributes, nodes=[path], handle=str(path))

    def _label(self, path: Path) -> str:
        """`accel0`, `vfio-12`."""
        return device_name(str(path.relative_to(self.roots.dev)))

    def _behind(self, path: Path) -> str:
        """The PCI address of the device behind a node, where there is just one."""
        if path.parent.name == "vfio" and path.name.isdigit():
            with suppress(OSError):
                group = sysfs.entries_if_any(self.roots.sys / "kernel/iommu_groups" / path.name / "devices")[:MOST_GROUP]
                return group[0] if len(group) == 1 and pcidev.ADDRESS.fullmatch(group[0]) else ""
            return ""
        for kind in CLASSES:
            if address := pcidev.behind(self.roots.sys, self.roots.sys / "class" / kind / path.name / "device"):
                return address
        return ""

    def _unique(self) -> Iterator[Device]:
        """Two nodes of one PCI device are two devices."""
        names: dict[str, int] = {}
        for device in self._devices.values():
            names[device.name] = names.get(device.name, 0) + 1
        for path, device in self._devices.items():
            if names[device.name] > 1:
                device = self._devices[path] = replace(device, name=device_name(f"{device.name[:40]}-{self._label(path)}"))
            yield device

    def _look(self, path: Path) -> Iterator[Signal]:
        try:
            kind = _kind(path)
        except FileNotFoundError:
            if self.roots.dev.is_dir():
                yield State("node.presence", "missing")
            else:
                yield Unread("node.presence", f"{self.roots.dev} is not there")
            return
        except OSError as error:
            yield Unread("node.presence", sysfs.why(error))
            return
        yield State("node.kind", kind, text=f"it was a {self._was(path)}" if kind != self._was(path) else "")
        yield State("node.presence", "present")

    def _was(self, path: Path) -> str:
        device = self._devices.get(path)
        return str(device.attributes["kind"]) if device is not None else "character device"


def _kind(path: Path) -> str:
    return _KINDS.get(stat.S_IFMT(path.stat().st_mode), "other file")


FAMILY = Nodes


def from_spec(spec: Spec) -> Nodes:
    spec.only()
    for pattern in spec.what:
        if not pattern.startswith("/dev/"):
            raise spec.wrong(f"{pattern!r} is no path below /dev, such as /dev/accel*")
    return Nodes(*spec.what)
