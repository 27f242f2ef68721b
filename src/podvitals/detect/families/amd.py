"""Family `amd`: AMD's GPUs, by amdgpu's sysfs; no ROCm needed. `amd[:PATTERN,...]`, of PCI addresses or devices' names; without one, all.

Kernel: Documentation/gpu/amdgpu/ras.rst (ras/*_err_count: `ue: N`, `ce: N`; ras/gpu_vram_bad_pages), amdgpu_ras.c (while the driver cannot
tell, the file says so in words: that is unread, not zero); Documentation/gpu/amdgpu/thermal.rst and kgd_pp_interface.h (gpu_metrics).
The driver's lines in the kernel log are family `kmsg`'s.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import drm, pcidev, sysfs
from podvitals.detect.families.anew import Anew
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import PCI, pci_device
from podvitals.detect.nudged import Nudged
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Count, Level, Signal, State, Unread
from podvitals.detect.spec import Spec
from podvitals.detect.uevents import Uevent

VENDOR = "1002"
MOST_BLOCKS = 64
_BLOCK = re.compile(r"(\w{1,32})_err_count")
_COUNTS = re.compile(r"^(ue|ce): (\d+)$", re.MULTILINE)


def counts(said: str) -> tuple[int, int]:
    """Uncorrectable and correctable errors. Raises ValueError where the file holds no counts."""
    found = {kind: int(number) for kind, number in _COUNTS.findall(said)}
    if set(found) != {"ue", "ce"}:
        raise ValueError(f"it says {said[:60]!r}")
    return found["ue"], found["ce"]


class Amd(Nudged):
    family, about = "amd", "AMD's GPUs"
    needs = "the amdgpu driver; for error counters a GPU with RAS (Instinct)"
    interval, timeout = 10.0, 5.0
    subsystems = (drm.SUBSYSTEM,)

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self._devices: dict[str, Device] = {}
        self._anew = Anew()

    def __str__(self) -> str:
        return f"amd:{','.join(self.patterns)}" if self.patterns else "amd"

    @classmethod
    def available(cls, roots: Roots) -> str:
        return "" if (roots.sys / "bus/pci/drivers/amdgpu").is_dir() else "the amdgpu driver is not loaded"

    def find(self) -> Iterable[Device]:
        for address in pcidev.addresses(self.roots.sys):
            at = pcidev.directory(self.roots.sys, address)
            if sysfs.optional(at / "vendor", 64) == f"0x{VENDOR}" and sysfs.link_name(at / "driver") == "amdgpu" and self._wanted(address):
                self._devices[address] = self._device(at, address)
        # One that is gone stays listed: reading it says so.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        at = pcidev.directory(self.roots.sys, device.handle)
        if not at.exists():
            return [Unread("amd.ras", "the device is not on the bus")]  # its presence is family pcie's
        return self._present(at, device.handle)

    def meant(self, event: Uevent) -> str:
        return drm.address(event)

    def said(self, event: Uevent) -> Iterable[Signal]:
        return drm.wedged(event)

    def remember(self) -> Mapping[str, str]:
        return self._anew.remember()

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        self._anew.recall(memory, same_boot=same_boot)

    def _wanted(self, address: str) -> bool:
        words = (address, pci_device(address))
        return not self.patterns or any(fnmatchcase(word, pattern) for word in words for pattern in self.patterns)

    def _device(self, at: Path, address: str) -> Device:
        found: dict[str, Attribute] = {**pcidev.attributes(self.roots.sys, address), PCI: address, "type": "gpu"}
        for attribute, file in (
            ("productName", "product_name"),
            ("serial", "serial_number"),
            ("uniqueId", "unique_id"),
            ("vbios", "vbios_version"),
        ):
            if value := pcidev.fits(sysfs.optional(at / file, 256)):
                found[attribute] = value
        capacity: dict[str, int] = {}
        if (memory := sysfs.optional(at / "mem_info_vram_total", 64)).isdecimal():
            capacity["memory"] = int(memory)
        return Device(pci_device(address), found, capacity, handle=address)

    def _present(self, at: Path, address: str) -> Iterator[Signal]:
        yield from drm.life(self._anew, at, address)
        try:
            files = sysfs.entries_if_any(at / "ras")[: 4 * MOST_BLOCKS]
        except OSError as error:
            yield Unread("amd.ras", sysfs.why(error))
            files = []
        for file in files:
            if (block := _BLOCK.fullmatch(file)) is not None:
                yield from self._block(at / "ras" / file, block[1])
        yield from tried("amd.bad_pages", lambda: [Count("amd.bad_pages", _pages(sysfs.text(at / "ras/gpu_vram_bad_pages")))])
        yield from tried("amd.throttled", lambda: throttled(sysfs.raw(at / "gpu_metrics", 4096)))

    def _block(self, path: Path, block: str) -> Iterator[Signal]:
        try:
            uncorrectable, correctable = counts(sysfs.text(path, 256))
        except (OSError, ValueError) as error:
            yield Unread("amd.ras_ue", sysfs.why(error), block)
            return
        yield Count("amd.ras_ue", uncorrectable, block)
        yield Count("amd.ras_ce", correctable, block)


def _pages(said: str) -> int:
    """Lines `page : size : R`, of which R are retired, P are about to be, F failed to be."""
    return sum(1 for line in said.splitlines() if line.strip())


def throttled(table: bytes) -> Iterator[Signal]:
    """Whether heat slows the GPU down, and its hottest spot in °C, from gpu_metrics; layouts other than 1.1 to 1.3 say nothing here.

    struct gpu_metrics_v1_3: a header (size in 2 bytes, format and content revision), the temperatures of edge and hot spot, and at byte 112
    the independent throttle status, of which bits 32 to 47 are temperatures (SMU_THROTTLER_TEMP_*)."""
    if len(table) < 8 or table[2] != 1 or table[3] not in (1, 2, 3):
        return
    if 0 < (hottest := int.from_bytes(table[6:8], "little")) < 250:
        yield Level("amd.hotspot", hottest)
    if table[3] == 3 and len(table) >= 120:
        status = int.from_bytes(table[112:120], "little")
        if status != 2**64 - 1:  # what the driver fills in where the firmware does not tell
            yield State("amd.throttled", "yes" if status >> 32 & 0xFFFF else "no", "temperature")


FAMILY = Amd


def from_spec(spec: Spec) -> Amd:
    spec.only()
    return Amd(*spec.what)
