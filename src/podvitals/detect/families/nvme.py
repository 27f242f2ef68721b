"""Family `nvme`: NVMe controllers: their state, and what they say of their own health (SMART). `nvme[:PATTERN,...]`, of PCI addresses,
serial numbers or controllers' names; without one, all. That one went, or a namespace became read-only, is pushed (uevents).

Kernel: /sys/class/nvme/*/{state,model,serial,firmware_rev,transport,address} (drivers/nvme/host/sysfs.c; states: drivers/nvme/host/core.c,
nvme_ctrl_state_name), SMART by ioctl on /dev/nvmeN (smart.py).
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import disks, pcidev, smart, sysfs
from podvitals.detect.families.listed import Listed
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import pci_device
from podvitals.detect.inventory import device_name
from podvitals.detect.signal import Count, Level, Signal, State
from podvitals.detect.uevents import Uevent

_CONTROLLER = re.compile(r"nvme\d+")


class Nvme(Listed):
    family, about = "nvme", "NVMe controllers"
    needs = "/sys/class/nvme; for SMART the right to open /dev/nvmeN (root)"
    interval, timeout = 10.0, 5.0
    place, presence = "class/nvme", "block.presence"
    subsystems = ("nvme", "block")

    def listed(self) -> Iterator[Device]:
        for at in self.entries():
            device = self._device(at)
            if self.chosen(at.name, str(device.attributes.get("serial", "")), pcidev.behind(self.roots.sys, at), device.name):
                yield device

    def name_at(self, at: Path) -> str:
        """By its slot where it has one, as the other families name it; over a network, by what is written in it."""
        if address := pcidev.behind(self.roots.sys, at):
            return pci_device(address)
        serial = sysfs.optional(at / "serial", 256)
        return device_name(f"nvme-{serial}") if serial else ""

    def present(self, device: Device, at: Path) -> Iterator[Signal]:
        state = sysfs.optional(at / "state", 64)
        yield from self.glimpse(device, at)
        if state in ("", "live"):  # a controller that is being reset would let the question wait
            yield from tried("nvme.smart", lambda: _told(smart.ask(self.roots.dev / device.handle)))

    def glimpse(self, device: Device, at: Path) -> Iterator[Signal]:
        """All but SMART, which asks the controller itself and may wait for it."""
        yield State("block.presence", "present")
        yield from tried("nvme.state", lambda: [State("nvme.state", sysfs.word(at / "state"))])
        for namespace in self._namespaces(at):
            read_only = disks.directory(self.roots.sys, namespace) / "ro"
            yield from tried("block.read_only", lambda n=namespace, f=read_only: [State("block.read_only", str(sysfs.number(f)), n)])  # type: ignore[misc]

    def meant(self, event: Uevent) -> str:
        return found[0] if (found := _CONTROLLER.match(event.name)) is not None else ""

    def _device(self, at: Path) -> Device:
        found: dict[str, Attribute] = {"controller": at.name, "type": "nvme"}
        for attribute, file in (("product", "model"), ("serial", "serial"), ("firmware", "firmware_rev"), ("transport", "transport")):
            if value := pcidev.fits(sysfs.optional(at / file, 256)):
                found[attribute] = value
        if address := pcidev.behind(self.roots.sys, at):
            found |= pcidev.attributes(self.roots.sys, address)
        nodes = [self.roots.dev / namespace for namespace in self._namespaces(at)]
        return Device(self.name_at(at) or device_name(f"nvme-{at.name}"), found, nodes=nodes, handle=at.name)

    def _namespaces(self, at: Path) -> list[str]:
        with suppress(OSError):
            return [name for name in sysfs.entries_if_any(at) if name.startswith("nvme") and disks.directory(self.roots.sys, name).exists()]
        return []


def _told(health: smart.Health) -> Iterator[Signal]:
    for warning in smart.WARNINGS:
        yield State(f"nvme.warning_{warning}", "yes" if warning in health.warnings else "no")
    if health.celsius is not None:
        yield Level("nvme.temperature", health.celsius)
    yield Level("nvme.spare", health.spare)
    yield Level("nvme.least_spare", health.least_spare)
    yield Level("nvme.used", health.used)
    yield Count("nvme.media_errors", health.media_errors)


FAMILY = Nvme
