"""What an NVMe controller says of its own health: log page 02h, asked for by ioctl.

NVM Express Base Specification, "SMART / Health Information"; include/uapi/linux/nvme_ioctl.h (struct nvme_passthru_cmd).
"""

import array
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

NVME_IOCTL_ADMIN_CMD = 0xC0484E41
GET_LOG_PAGE, SMART, ALL_NAMESPACES = 0x02, 0x02, 0xFFFFFFFF
LENGTH = 512
TIMEOUT_MS = 1000
WARNINGS = ("spare", "temperature", "reliability", "read_only", "backup", "memory_region")
"""Bits of the critical warning, byte 0."""
_COMMAND = struct.Struct("=BBHIIIQQIIIIIIIIII")
"""opcode, flags, rsvd1, nsid, cdw2, cdw3, metadata, addr, metadata_len, data_len, cdw10 ... cdw15, timeout_ms, result: 72 bytes."""


@dataclass(frozen=True, slots=True)
class Health:
    """`warnings`: the bits that are set, by name. `celsius` None: not told. `spare`, `least_spare`, `used`: percent."""

    warnings: frozenset[str]
    celsius: int | None
    spare: int
    least_spare: int
    used: int
    media_errors: int


def command(address: int) -> bytes:
    """The admin command that writes the log page to `address`."""
    dwords = LENGTH // 4 - 1
    return _COMMAND.pack(
        GET_LOG_PAGE, 0, 0, ALL_NAMESPACES, 0, 0, 0, address, 0, LENGTH, dwords << 16 | SMART, 0, 0, 0, 0, 0, TIMEOUT_MS, 0
    )


def parse(page: bytes) -> Health:
    """Raises ValueError for what is no such page."""
    if len(page) < LENGTH:
        raise ValueError(f"the log page has {len(page)} bytes, not {LENGTH}")
    kelvin = int.from_bytes(page[1:3], "little")
    return Health(
        frozenset(name for bit, name in enumerate(WARNINGS) if page[0] >> bit & 1),
        kelvin - 273 if kelvin else None,
        page[3],
        page[4],
        page[5],
        int.from_bytes(page[160:176], "little"),
    )


def ask(node: Path) -> Health:
    """Asks the controller behind a device node such as /dev/nvme0. Blocks. Raises OSError, or ValueError for an NVMe error status."""
    page = array.array("B", bytes(LENGTH))
    request = array.array("B", command(page.buffer_info()[0]))
    opened = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = fcntl.ioctl(opened, NVME_IOCTL_ADMIN_CMD, request, True)
    finally:
        os.close(opened)
    if status != 0:
        raise ValueError(f"the controller answered with NVMe status {status:#x}")
    return parse(page.tobytes())
