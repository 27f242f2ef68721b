"""Family `nvme`: NVMe controllers: their state, and what they say of their own health (SMART). `nvme[:PATTERN,...]`, of PCI addresses,
serial numbers or controllers' names; without one, all. That one went, or a namespace became read-only, is pushed (uevents).

Kernel: /sys/class/nvme/*/{state,model,serial,firmware_rev,transport,address} (drivers/nvme/host/sysfs.c; states: drivers/nvme/host/core.c,
nvme_ctrl_state_name), SMART by ioctl on /dev/nvmeN (smart.py).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import disks, pcidev, smart, sysfs
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import pci_device
from podvitals.detect.inventory import device_name
from podvitals.detect.nudged import Nudged
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Count, Level, Signal, State, Unread
from podvitals.detect.spec import Spec
from podvitals.detect.uevents import Uevent

_CONTROLLER = re.compile(r"nvme\d+")


class Nvme(Nudged):
    family, about = "nvme", "NVMe controllers"
    needs = "/sys/class/nvme; for SMART the right to open /dev/nvmeN (root)"
    interval, timeout = 10.0, 5.0
    subsystems = ("nvme", "block")

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self._devices: dict[str, Device] = {}

    def __str__(self) -> str:
        return f"nvme:{','.join(self.patterns)}" if self.patterns else "nvme"

    @classmethod
    def available(cls, roots: Roots) -> str:
        return "" if (roots.sys / "class/nvme").is_dir() else f"no NVMe: {roots.sys}/class/nvme is not there"

    def find(self) -> Iterable[Device]:
        for name in sysfs.entries_if_any(self.roots.sys / "class/nvme"):
            device = self._device(name)
            words = (name, str(device.attributes.get("serial", "")), pcidev.behind(self.roots.sys, self._at(name)), device.name)
            if not self.patterns or any(fnmatchcase(word, pattern) for word in words for pattern in self.patterns):
                self._devices[device.name] = device
        # One that is gone stays listed: reading it says so. Its number may be another's by now.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        controller = str(device.attributes["controller"])
        return self._present(controller) if self._at(controller).exists() else self._absent(controller)

    def meant(self, event: Uevent) -> str:
        return found[0] if (found := _CONTROLLER.match(event.name)) is not None else ""

    def glance(self, device: Device) -> Iterable[Signal]:
        """All but SMART, which asks the controller itself and may wait for it."""
        controller = str(device.attributes["controller"])
        return self._there(controller) if self._at(controller).exists() else self._absent(controller)

    def _at(self, controller: str) -> Path:
        return self.roots.sys / "class/nvme" / controller

    def _device(self, name: str) -> Device:
        at = self._at(name)
        found: dict[str, Attribute] = {"controller": name, "type": "nvme"}
        for attribute, file in (("product", "model"), ("serial", "serial"), ("firmware", "firmware_rev"), ("transport", "transport")):
            if value := pcidev.fits(sysfs.optional(at / file, 256)):
                found[attribute] = value
        address = pcidev.behind(self.roots.sys, at)
        if address:
            found |= pcidev.attributes(self.roots.sys, address)
        # By its slot where it has one, as the other families name it; over a network, by what is written in it.
        label = pci_device(address) if address else device_name(f"nvme-{found.get('serial', name)}")
        nodes = [self.roots.dev / namespace for namespace in self._namespaces(at)]
        return Device(label, found, nodes=nodes, handle=name)

    def _namespaces(self, at: Path) -> list[str]:
        with suppress(OSError):
            return [name for name in sysfs.entries_if_any(at) if name.startswith("nvme") and disks.directory(self.roots.sys, name).exists()]
        return []

    def _absent(self, controller: str) -> Iterator[Signal]:
        try:
            gone = controller not in sysfs.entries(self.roots.sys / "class/nvme")
        except OSError as error:
            yield Unread("block.presence", sysfs.why(error))
            return
        yield State("block.presence", "gone" if gone else "present")

    def _present(self, controller: str) -> Iterator[Signal]:
        state = sysfs.optional(self._at(controller) / "state", 64)
        yield from self._there(controller)
        if state in ("", "live"):  # a controller that is being reset would let the question wait
            yield from tried("nvme.smart", lambda: _told(smart.ask(self.roots.dev / controller)))

    def _there(self, controller: str) -> Iterator[Signal]:
        at = self._at(controller)
        yield State("block.presence", "present")
        yield from tried("nvme.state", lambda: [State("nvme.state", sysfs.word(at / "state"))])
        for namespace in self._namespaces(at):
            read_only = disks.directory(self.roots.sys, namespace) / "ro"
            yield from tried("block.read_only", lambda n=namespace, f=read_only: [State("block.read_only", str(sysfs.number(f)), n)])  # type: ignore[misc]


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


def from_spec(spec: Spec) -> Nvme:
    spec.only()
    return Nvme(*spec.what)
