"""Disks as sysfs lists them: which there are, and their names, by what is written in the disk (WWN, serial), not by the order of finding.

Kernel ABI: Documentation/ABI/stable/sysfs-block (size, ro, partition, hidden); and, of the drivers, `wwid`, `serial`, `device/model`
(drivers/scsi/scsi_sysfs.c, drivers/nvme/host/sysfs.c, drivers/block/virtio_blk.c).
"""

from contextlib import suppress
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import pcidev, sysfs
from podvitals.detect.inventory import device_name
from podvitals.detect.roots import Roots


def directory(sys: Path, name: str) -> Path:
    return sys / "class/block" / name


def names(sys: Path, *, virtual: bool = False) -> list[str]:
    """Whole disks, by the kernel's names. `virtual`: also those without hardware behind them (loop, zram, md). Raises OSError."""
    return [
        name for name in sysfs.entries(sys / "class/block") if _whole(sys, name) and (virtual or (directory(sys, name) / "device").exists())
    ]


def _whole(sys: Path, name: str) -> bool:
    at = directory(sys, name)
    # The paths of a multipath NVMe namespace are hidden; the namespace itself is listed beside them.
    return not (at / "partition").exists() and sysfs.optional(at / "hidden", 16) != "1"


def identity(sys: Path, name: str) -> str:
    """What is written in the disk: its WWN (naa., eui., nvme., t10.), else its serial number, else ''."""
    at = directory(sys, name)
    return next(filter(None, (sysfs.optional(at / file, 256) for file in ("wwid", "device/wwid", "serial", "device/serial"))), "")


def identified(sys: Path, name: str) -> str:
    """`disk-naa-5000c500a1b2c3d4`; '' for a disk that tells no identity."""
    found = identity(sys, name)
    return device_name(f"disk-{found}") if found else ""


def name_of(sys: Path, name: str) -> str:
    """The same; of a disk that tells no identity, the kernel's name: `vda`."""
    return identified(sys, name) or device_name(name)


def device(roots: Roots, name: str) -> Device:
    at = directory(roots.sys, name)
    found: dict[str, Attribute] = {"disk": pcidev.fits(name), "type": "disk" if (at / "device").exists() else "virtual"}
    texts = {
        "wwn": ("wwid", "device/wwid"),
        "serial": ("serial", "device/serial"),
        "product": ("device/model",),
        "vendor": ("device/vendor",),
    }
    for attribute, files in texts.items():
        if value := next(filter(None, (pcidev.fits(sysfs.optional(at / file, 256)) for file in files)), ""):
            found[attribute] = value
    if address := pcidev.behind(roots.sys, at):
        found |= pcidev.place(pcidev.attributes(roots.sys, address))
    with suppress(OSError, ValueError):
        found["rotational"] = sysfs.number(at / "queue/rotational") == 1
    capacity: dict[str, int] = {}
    with suppress(OSError, ValueError):
        capacity["size"] = sysfs.number(at / "size") * 512
    return Device(name_of(roots.sys, name), found, capacity, nodes=[roots.dev / name.replace("!", "/")], handle=name)
