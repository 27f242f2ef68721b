"""The devices of which the kernel log may speak, as sysfs lists them, and the names under which it does."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from podvitals.detect.detector import Device
from podvitals.detect.families import disks, pcidev, sysfs
from podvitals.detect.family import pci_device
from podvitals.detect.inventory import device_name
from podvitals.detect.roots import Roots
from podvitals.detect.subject import Subject


def everything(roots: Roots, chosen: pcidev.Chosen) -> Iterator[tuple[Device, list[Subject]]]:
    """Every device the kernel log may speak of, with its names. What cannot be listed is left out: the family of the device tells that."""
    yield from _pci(roots, chosen)
    yield from (*_disks(roots), *_interfaces(roots), *_neurons(roots))


def _pci(roots: Roots, chosen: pcidev.Chosen) -> Iterator[tuple[Device, list[Subject]]]:
    with suppress(OSError):
        for address, _, published in chosen.devices(roots.sys):
            names: list[Subject] = [("pci", address), ("driver", str(published.get("driver", "")))]
            at = pcidev.directory(roots.sys, address)
            with suppress(OSError):
                for controller in sysfs.entries_if_any(at / "nvme"):
                    names.append(("nvme", controller))
                    names += [s for name in _namespaces(at / "nvme" / controller) for s in _block_names(roots.sys, name)]
                for interface in sysfs.entries_if_any(at / "net"):
                    names += _interface_names(roots.sys, interface)
            yield Device(pci_device(address), published, handle=address), names


def _namespaces(controller: Path) -> list[str]:
    return [name for name in sysfs.entries_if_any(controller) if re.fullmatch(r"nvme\d+(c\d+)?n\d+", name)]


def _disks(roots: Roots) -> list[tuple[Device, list[Subject]]]:
    with suppress(OSError):
        return [(disks.device(roots, name), _block_names(roots.sys, name)) for name in disks.names(roots.sys, virtual=True)]
    return []


def _block_names(sys: Path, name: str) -> list[Subject]:
    """A disk, and its partitions, by name and by number."""
    found: list[Subject] = []
    at = sys / "class/block" / name
    with suppress(OSError):
        for part in (at, *(at / part for part in sysfs.entries_if_any(at) if part.startswith(name))):
            found.append(("block", part.name.replace("!", "/")))
            if number := sysfs.optional(part / "dev", 64):
                found.append(("number", number))
    return found


def _interfaces(roots: Roots) -> list[tuple[Device, list[Subject]]]:
    found: list[tuple[Device, list[Subject]]] = []
    with suppress(OSError):
        for name in sysfs.entries_if_any(roots.sys / "class/net"):
            if name != "lo":
                found.append((Device(device_name(name), {"ifname": name}), _interface_names(roots.sys, name)))
    return found


def _interface_names(sys: Path, name: str) -> list[Subject]:
    index = sysfs.optional(sys / "class/net" / name / "ifindex", 64)
    return [("ifname", name), *([("ifindex", index)] if index else [])]


def _neurons(roots: Roots) -> list[tuple[Device, list[Subject]]]:
    """AWS Neuron's device nodes, /dev/neuron0, of which the driver speaks as nd-id=0."""
    found: list[tuple[Device, list[Subject]]] = []
    with suppress(OSError):
        for name in sysfs.entries_if_any(roots.dev):
            if (number := re.fullmatch(r"neuron(\d+)", name)) is not None:
                found.append((Device(name, nodes=[roots.dev / name]), [("neuron", number[1])]))
    return found
