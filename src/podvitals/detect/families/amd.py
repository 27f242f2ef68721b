"""Family `amd`: AMD's GPUs, by amdgpu's sysfs; no ROCm needed. `amd[:PATTERN,...]`, of PCI addresses or devices' names; without one, all.

Kernel: Documentation/gpu/amdgpu/ras.rst (ras/*_err_count: `ue: N`, `ce: N`; ras/gpu_vram_bad_pages), amdgpu_ras.c (while the driver cannot
tell, the file says so in words: that is unread, not zero); Documentation/gpu/amdgpu/thermal.rst and kgd_pp_interface.h (gpu_metrics).
The driver's lines in the kernel log are family `kmsg`'s.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import drm, pcidev, sysfs
from podvitals.detect.families.sysfs import tried
from podvitals.detect.signal import Count, Level, Signal, State, Unread

MOST_BLOCKS = 64
_BLOCK = re.compile(r"(\w{1,32})_err_count")
_COUNTS = re.compile(r"^(ue|ce): (\d+)$", re.MULTILINE)


def counts(said: str) -> tuple[int, int]:
    """Uncorrectable and correctable errors. Raises ValueError where the file holds no counts."""
    found = {kind: int(number) for kind, number in _COUNTS.findall(said)}
    if set(found) != {"ue", "ce"}:
        raise ValueError(f"it says {said[:60]!r}")
    return found["ue"], found["ce"]


class Amd(drm.Gpus):
    family, about = "amd", "AMD's GPUs"
    needs = "the amdgpu driver; for error counters a GPU with RAS (Instinct)"
    interval, timeout = 10.0, 5.0
    presence = "amd.ras"
    vendor, drivers = "0x1002", ("amdgpu",)

    def described(self, at: Path, address: str) -> Device:
        gpu, found = super().described(at, address), dict[str, Attribute]()
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
        return replace(gpu, attributes={**gpu.attributes, **found}, capacity=capacity)

    def told(self, at: Path) -> Iterator[Signal]:
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
