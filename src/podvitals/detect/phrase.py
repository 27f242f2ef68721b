"""Lines of the kernel log → what they say, of which device. Pure: the patterns are rules' data (rules/*.toml, [family.phrase.name]).

A line names its device as the kernel does: by PCI address, interface, disk, RDMA device, device node or driver. `Places` knows which of our
devices that is. NVRM leaves out the function of the address ("PCI:0000:3b:00"), old drivers the domain too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from podvitals.detect.detector import Device
from podvitals.detect.rules.rule import Phrase, Rules
from podvitals.detect.rules.words import filled
from podvitals.detect.signal import Code
from podvitals.device.text import clean

LONGEST_LINE = 1024
"""Characters of a line that are looked at; the kernel's own limit is about that."""
PCI_ATTRIBUTE = "resource.kubernetes.io/pciBusID"
_PCI = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-7]))?", re.IGNORECASE)
_PARTITION = re.compile(r"(nvme\d+n\d+|mmcblk\d+|nbd\d+|loop\d+)(?:p\d+)?|([a-z]+)\d*")
_NAMESPACE = re.compile(r"(nvme\d+)n\d+")


@dataclass(frozen=True, slots=True)
class Said:
    """`kind` and `where`: what the line calls its device."""

    kind: str
    where: str
    code: Code


def said(rules: Rules, line: str, age: float = 0.0) -> Iterator[Said]:
    """What a line says; usually nothing. `age`: seconds since it was said."""
    line = line[:LONGEST_LINE]
    for phrase in rules.phrases.values():
        if (found := _pattern(phrase.pattern).search(line)) is not None:
            yield _of(phrase, found, line, age)


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _of(phrase: Phrase, found: re.Match[str], line: str, age: float) -> Said:
    params = {name: clean(value.strip(), 128) for name, value in found.groupdict().items() if value}
    where = filled(phrase.address, params) if phrase.address else params.get(phrase.device, "")
    code = filled(phrase.code, params)
    return Said(phrase.device, where, Code(phrase.table, code, clean(line), _kept(params, phrase), age))


def _kept(params: dict[str, str], phrase: Phrase) -> tuple[tuple[str, str], ...]:
    """The address as everybody writes it, so that a message is the same whoever told it."""
    if phrase.device == "pci" and (address := pci_address(params.get("pci", ""))):
        params["pci"] = address
    return tuple(sorted((name, value) for name, value in params.items() if name != "code"))


def pci_address(text: str) -> str:
    """`0000:3b:00.0` of what a driver prints; empty where it is no address."""
    found = _PCI.fullmatch(text)
    if found is None:
        return ""
    domain, bus, slot, function = found.groups()
    return f"{(domain or '0000').lower()[-8:].rjust(4, '0')}:{bus}:{slot}.{function or 0}".lower()


class Places:
    """Which devices a line of the log is about."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self._names: dict[tuple[str, str], list[str]] = {}
        for device in devices:
            for kind, where in _addresses(device):
                names = self._names.setdefault((kind, where), [])
                if device.name not in names:
                    names.append(device.name)

    def names(self, kind: str, where: str) -> tuple[str, ...]:
        """The devices' names; several where they share what the line names (partitions of a GPU), none where it is not ours."""
        match kind:
            case "pci":
                where = pci_address(where)
            case "driver" | "net" | "rdma" | "node":
                where = where.lower() if kind == "driver" else where.removeprefix("/dev/")
            case "disk":
                return self._disk(where)
        return tuple(self._names.get((kind, where), ()))

    def _disk(self, where: str) -> tuple[str, ...]:
        """A partition is its disk's, a namespace its controller's."""
        whole = _PARTITION.fullmatch(where)
        candidates = [where, *filter(None, whole.groups() if whole else ())]
        candidates += [found[1] for one in candidates if (found := _NAMESPACE.fullmatch(one))]
        for one in candidates:
            if names := self._names.get(("disk", one)):
                return tuple(names)
        return ()


def _addresses(device: Device) -> Iterator[tuple[str, str]]:
    attributes = {name.rpartition("/")[2]: str(value) for name, value in device.attributes.items()}
    if address := pci_address(attributes.get("pciBusID", "")):
        yield "pci", address
    for kind, name in (("net", "ifname"), ("rdma", "ibdev"), ("driver", "driver"), ("disk", "disk"), ("disk", "controller")):
        if value := attributes.get(name):
            yield kind, value.lower() if kind == "driver" else value
    for node in {str(path) for path in device.nodes} | {attributes.get("path", ""), device.handle}:
        if node.startswith("/dev/"):
            yield "node", node.removeprefix("/dev/")
            yield "disk", node.removeprefix("/dev/")
