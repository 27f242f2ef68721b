"""Rule 1, tried on every file: whatever becomes of a file, a device is never Unhealthy because it could not be read."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from podvitals.detect.detector import Reading, Unreadable
from podvitals.detect.families import sysfs
from podvitals.detect.families.amd import Amd
from podvitals.detect.families.block import Block
from podvitals.detect.families.fpga import Fpga
from podvitals.detect.families.hwmon import Hwmon
from podvitals.detect.families.intel import Intel
from podvitals.detect.families.nic import Nic
from podvitals.detect.families.nvme import Nvme
from podvitals.detect.families.pcie import Pcie
from podvitals.detect.families.rdma import Rdma
from podvitals.detect.family import Family
from podvitals.device.health import Health
from tests.detect.families.test_device_classes import built
from tests.detect.families.tree import Tree, aer, unreadable

FAMILIES: dict[type[Family], str] = {
    Pcie: "0000:3c:00.0/",
    Nvme: "/nvme/",
    Block: "/ata/",
    Nic: "/net/",
    Rdma: "/infiniband/",
    Amd: "0000:43:00.0/",
    Intel: "0000:03:00.0/",
    Hwmon: "/hwmon/",
    Fpga: "/fpga_manager/",
}
"""With the words that stand in the paths of the files it reads."""


def everything(root: Path) -> Tree:
    """One device of each family, with every file that is read of it."""
    tree = built(root)
    link = {"current_link_width": 16, "max_link_width": 16, "current_link_speed": "16.0 GT/s PCIe", "max_link_speed": "16.0 GT/s PCIe"}
    counters = {
        f"aer_dev_{word}": aer(f"TOTAL_ERR_{key}", 0)
        for word, key in (("fatal", "FATAL"), ("nonfatal", "NONFATAL"), ("correctable", "COR"))
    }
    for device in (tree.sys / "bus/pci/devices").iterdir():
        tree.write(device, config=b"\xde\x10", power_state="D0", numa_node=0, **link, **counters)
    tree.bind(tree.sys / "bus/pci/devices/0000:70:00.0", "xclmgmt")
    amd = tree.sys / "bus/pci/devices/0000:43:00.0"
    tree.write(amd / "ras", umc_err_count="ue: 0\nce: 0", gpu_vram_bad_pages="")
    tree.write(tree.sys / "bus/pci/devices/0000:03:00.0/tile0/gt0/freq0/throttle", reason_thermal=0)
    for disk in ("sda", "sdb"):
        tree.write(tree.sys / "class/block" / disk, device__state="running", device__ioerr_cnt="0x0")
    for name in ("eth0", "eth1"):
        nic = tree.write(tree.sys / "class/net" / name, flags="0x1003", operstate="up", carrier=1, carrier_changes=2)
        tree.write(nic / "statistics", rx_crc_errors=0)
    port = tree.sys / "class/infiniband/mlx5_0/ports/1"
    tree.write(port, phys_state="5: LinkUp")
    tree.write(port / "counters", link_downed=0, symbol_error=0)
    tree.classed("hwmon", "hwmon0", amd.resolve(), name="amdgpu", temp1_input=40000, temp1_crit=90000, temp1_fault=0)
    return tree


def emptied(path: Path) -> None:
    path.write_text("")


def rubbish(path: Path) -> None:
    path.write_bytes(b"\xff\x00\n rubbish")


def made_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def gone(path: Path) -> None:
    path.unlink()


def readings(family: Family) -> dict[str, Reading | None]:
    found: dict[str, Reading | None] = {}
    for device in family.devices():
        try:
            found[device.name] = family.check(device)
        except Unreadable:
            found[device.name] = None
    return found


STATES = ("state", "phys_state", "operstate", "config")
"""Words: what else than the known ones the kernel says there is a state, not a failure."""


@pytest.mark.parametrize("kind", FAMILIES)
def test_no_file_that_cannot_be_read_makes_a_device_unhealthy(tmp_path: Path, kind: type[Family]) -> None:
    tree = everything(tmp_path)
    for spoil in (unreadable, emptied, rubbish, made_a_directory, gone):
        family = kind()
        family.roots = tree.roots
        assert {reading.health for reading in readings(family).values() if reading is not None} == {Health.HEALTHY}
        files = [path for path in tree.sys.rglob("*") if FAMILIES[kind] in str(path) and path.is_file() and not path.is_symlink()]
        assert files
        for file in files:
            if spoil is not rubbish or file.name not in STATES:
                _try(family, file, spoil)


def _try(family: Family, file: Path, spoil: Callable[[Path], None]) -> None:
    before = file.read_bytes()
    spoil(file)
    for name, reading in readings(family).items():
        assert reading is None or reading.health is not Health.UNHEALTHY, f"{file}: {name} is {reading}"
    if file.is_dir() and not file.is_symlink():
        file.rmdir()
    file.unlink(missing_ok=True)
    file.write_bytes(before)


def test_whoever_is_not_root_is_told_that_root_may_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", "/dev/nvme0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert sysfs.why(refused) == "/dev/nvme0: Permission denied: run as root"
    assert sysfs.why(OSError(errno.EIO, "Input/output error", "/x")) == "/x: Input/output error"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert sysfs.why(refused) == "/dev/nvme0: Permission denied"
