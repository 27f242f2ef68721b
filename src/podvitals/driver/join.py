"""Which devices of another driver ours are. Pure.

An auxiliary source watches hardware that somebody else's driver hands out, under names of its own. What is the same thing is told by what
both say of it: a PCI address, a UUID, an interface, a device node, a serial number or a WWN among the attributes, however its domain and
its letters are written; or by what the operator wrote down. One of ours may be several of theirs (partitions of one GPU), and several of
ours one of theirs (a GPU by NVML and by PCIe): there the worst counts, and every message stays.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from podvitals.claim.resource import ResourceSlice
from podvitals.detect.detector import Device
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.device.verdict import Verdict
from podvitals.errors import InvalidInput

KINDS: Mapping[str, frozenset[str]] = {
    "PCI address": frozenset(("pcibusid", "pciaddress", "pcibusaddress", "pcibdf", "bdf", "pci")),
    "UUID": frozenset(("uuid", "gpuuuid", "deviceuuid")),
    "interface": frozenset(("interface", "ifname", "interfacename", "netdev")),
    "device node": frozenset(("devicenode", "devicepath", "devnode", "devpath", "path", "node")),
    "serial number": frozenset(("serial", "serialnumber")),
    "WWN": frozenset(("wwn", "wwid", "eui", "eui64", "nguid")),
}
"""What identifies hardware, and the attribute names that mean it: without domain, case, hyphens and underscores."""

_PCI = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")

Mark = tuple[str, str]
"""(kind, normalised value)."""


@dataclass(frozen=True, slots=True)
class Join:
    """`targets`: of each device of ours by name, theirs. `unmatched`: ours that are none of theirs."""

    targets: Mapping[str, tuple[DeviceKey, ...]]
    unmatched: tuple[str, ...]


def join(driver: str, ours: Mapping[str, Device], slices: Iterable[ResourceSlice], written: Mapping[str, str]) -> Join:
    """`written`: of our device names (or handles) theirs, as `device` or `pool/device`; where it names one, attributes are not asked."""
    by_mark: dict[Mark, list[DeviceKey]] = {}
    by_name: dict[str, list[DeviceKey]] = {}
    for published in slices:
        pool = published.spec.pool.name
        for device in published.spec.devices:
            key = DeviceKey(driver, pool, device.name)
            for name in (device.name, f"{pool}/{device.name}"):
                by_name.setdefault(name, []).append(key)
            for name, value in device.attributes.items():
                if value.string is not None and (mark := _mark(name, value.string)) is not None:
                    by_mark.setdefault(mark, []).append(key)
    targets: dict[str, tuple[DeviceKey, ...]] = {}
    for name, ours_one in ours.items():
        given = written.get(name, written.get(ours_one.handle))
        found = by_name.get(given, []) if given is not None else [key for mark in marks(ours_one) for key in by_mark.get(mark, ())]
        targets[name] = tuple(sorted(set(found)))
    return Join({name: keys for name, keys in targets.items() if keys}, tuple(sorted(name for name, keys in targets.items() if not keys)))


def marks(device: Device) -> frozenset[Mark]:
    """What identifies a device of ours: by its attributes, and by its handle where that is a path, an interface or a PCI address."""
    found = {_mark(name, value) for name, value in device.attributes.items() if isinstance(value, str)}
    found |= {_mark("path", str(node)) for node in device.nodes}
    if device.handle.startswith("/"):
        found.add(_mark("path", device.handle))
    elif _PCI.fullmatch(device.handle.lower()):
        found.add(_mark("pci", device.handle))
    return frozenset(mark for mark in found if mark is not None)


def written_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """`OURS=THEIRS`, each. Raises InvalidInput."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs) or theirs.count("/") > 1:
            raise InvalidInput(f"{pair!r} maps nothing: write OURS=DEVICE or OURS=POOL/DEVICE, such as eth3=net-3")
        if mapping.setdefault(ours, theirs) != theirs:
            raise InvalidInput(f"{ours} is mapped to {mapping[ours]} and to {theirs}: it can be one device alone")
    return mapping


def merged(target: DeviceKey, verdicts: Sequence[Verdict]) -> Verdict:
    """What several of ours say of one of theirs: the worst counts, its message first, all messages stay."""
    ranked = sorted(verdicts, key=lambda verdict: (-verdict.health.badness, verdict.key))
    worst = ranked[0]
    return Verdict(
        target,
        worst.health,
        clean("; ".join(dict.fromkeys(one.message for one in ranked if one.message))),
        next((one.action for one in ranked if one.action), ""),
        # Only as old as the oldest of those that make it Healthy.
        min(one.checked_at for one in ranked) if worst.health is Health.HEALTHY else worst.checked_at,
        min(one.lease for one in ranked),
    )


def _mark(name: str, value: str) -> Mark | None:
    plain = re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower())
    kind = next((kind for kind, names in KINDS.items() if plain in names), None)
    text = value.strip()
    if kind is None or not text:
        return None
    if kind == "PCI address":
        address = _PCI.fullmatch(text.lower())
        if address is None:
            return None
        domain, bus, slot, function = address.groups()
        return kind, f"{int(domain or '0', 16):04x}:{bus}:{slot}.{function}"
    return kind, text if kind in ("interface", "device node") else text.lower()
