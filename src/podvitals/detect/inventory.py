"""What several detectors list, made one inventory. Pure.

A device may be listed by several detectors; what they say of it is put together, and must not contradict. What Kubernetes would refuse in a
ResourceSlice is refused here, at its cause: otherwise one bad attribute would keep the whole slice, all its neighbours, from being
published.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podvitals.detect.detector import Device, Version
from podvitals.device.key import check_device_name
from podvitals.errors import InvalidInput

# resource.k8s.io/v1: ResourceSliceMaxAttributesAndCapacitiesPerDevice, DeviceAttributeMaxValueLength, DeviceMaxIDLength,
# DeviceMaxDomainLength
MOST_ATTRIBUTES = 32
LONGEST_VALUE = 64
LONGEST_ID = 32
LONGEST_DOMAIN = 63

_SINGULAR = {"attributes": "attribute"}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NUMBER = r"(0|[1-9][0-9]*)"
_SEMVER = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")
_QUANTITY = re.compile(r"[+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Listing:
    """What one detector listed: its usable devices by name, and what is wrong with others, by name."""

    devices: Mapping[str, Device]
    problems: Mapping[str, str] = field(default_factory=dict)


def listing(detector: str, devices: Iterable[object]) -> Listing:
    """Sorts what `detector` listed. A device named twice is kept once, with a problem; one that Kubernetes would refuse is left out."""
    good: dict[str, Device] = {}
    problems: dict[str, str] = {}
    for device in devices:
        if not isinstance(device, Device):
            problems[repr(device)[:80]] = f"{detector} listed {device!r:.80}, which is not a Device"
        elif device.name in good:
            problems[device.name] = f"{detector} lists device {device.name} twice: names must be unique"
        elif (wrong := refusal(device)) is not None:
            problems[str(device.name)] = f"{detector}: {wrong}"
        else:
            good[device.name] = device
    return Listing(good, problems)


def refusal(device: Device) -> str | None:
    """Why Kubernetes would refuse the device, or None."""
    try:
        check_device_name(device.name)
        if len(device.attributes) + len(device.capacity) > MOST_ATTRIBUTES:
            raise InvalidInput(
                f"{len(device.attributes) + len(device.capacity)} attributes and capacities; Kubernetes takes {MOST_ATTRIBUTES}"
            )
        for name, value in device.attributes.items():
            _check_name("attribute", name)
            _check_value(name, value)
        for name, quantity in device.capacity.items():
            _check_name("capacity", name)
            if isinstance(quantity, bool) or not _QUANTITY.fullmatch(str(quantity)):
                raise InvalidInput(f"capacity {name}={quantity!r} is not a quantity, such as 8, 80Gi or 500m")
    except InvalidInput as error:
        text = str(error)
        return text if text.startswith("device name") else f"device {device.name}: {text}"
    return None


def _check_name(kind: str, name: object) -> None:
    domain, slash, identifier = name.rpartition("/") if isinstance(name, str) else ("", "", "")
    if not _IDENTIFIER.fullmatch(identifier) or len(identifier) > LONGEST_ID:
        raise InvalidInput(
            f"{kind} name {name!r} is not a C identifier of at most {LONGEST_ID} characters, with a domain/ before it at most"
        )
    if slash and (len(domain) > LONGEST_DOMAIN or not _DOMAIN.fullmatch(domain)):
        raise InvalidInput(f"{kind} name {name!r}: {domain!r} is not a DNS subdomain of at most {LONGEST_DOMAIN} characters")


def _check_value(name: str, value: object) -> None:
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InvalidInput(f"attribute {name}={value} does not fit into 64 bits")
    elif not isinstance(value, str):
        raise InvalidInput(f"attribute {name}={value!r} is neither bool, int, str nor Version")
    elif len(value.encode(errors="replace")) > LONGEST_VALUE:
        raise InvalidInput(f"attribute {name}={value!r} is longer than {LONGEST_VALUE} bytes")
    elif isinstance(value, Version) and not _SEMVER.fullmatch(value):
        raise InvalidInput(f"attribute {name}={str(value)!r} is not a semantic version such as 1.2.3")


def joined(listings: Iterable[tuple[str, Device]]) -> tuple[Device, str]:
    """One device out of what several detectors (name, device) listed under one name, and what they contradict each other about, or ''.

    Where they contradict, the first one's word is kept."""
    (first_detector, device), *others = listings
    said_by: dict[tuple[str, str], str] = {}
    contradiction = ""
    for detector, other in others:
        parts = {}
        for part in ("attributes", "capacity", "env"):
            mine, its = getattr(device, part), getattr(other, part)
            for key in its:
                if key not in mine:
                    said_by[part, key] = detector
                elif (mine[key], type(mine[key])) != (its[key], type(its[key])) and not contradiction:
                    earlier = said_by.get((part, key), first_detector)
                    contradiction = f"{earlier} and {detector} contradict each other about device {device.name}: "
                    contradiction += f"{_SINGULAR.get(part, part)} {key} is {mine[key]!r} and {its[key]!r}"
            parts[part] = {**its, **mine}
        if (both := len(parts["attributes"]) + len(parts["capacity"])) > MOST_ATTRIBUTES:
            contradiction = (
                contradiction or f"device {device.name}: {both} attributes and capacities in all; Kubernetes takes {MOST_ATTRIBUTES}"
            )
            continue
        nodes = tuple(dict.fromkeys((*device.nodes, *other.nodes)))
        handle = device.handle if device.handle != device.name else other.handle
        device = Device(device.name, parts["attributes"], parts["capacity"], nodes, parts["env"], handle)
    return device, contradiction


def device_name(text: str) -> str:
    """The DNS label closest to what the system calls a device: `eth0.100` becomes `eth0-100`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].rstrip("-")
