"""What watching hardware costs: all families that read sysfs, on the tree of a node with 8 GPUs, 8 NICs and 8 NVMe disks, and how soon a
fault is told. The whole process is measured, as `podvitals check --watch` runs it; a driver does the same."""

import asyncio
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from podvitals.detect.families.pcie import Pcie
from tests.bench.stats import Estimate, median, percentile
from tests.bench.subject import PODVITALS, Child
from tests.bench.table import Row
from tests.detect import kernel_says
from tests.detect.families.tree import Tree, aer

SUBJECT = "8 GPUs, 8 NICs, 8 NVMe"
FAMILIES = ("pcie", "amd", "nic", "rdma", "nvme", "hwmon", "nodes", "kmsg")
BLOCKS = (
    "umc",
    "sdma",
    "gfx",
    "mmhub",
    "athub",
    "pcie_bif",
    "hdp",
    "xgmi_wafl",
    "df",
    "smn",
    "sem",
    "mp0",
    "mp1",
    "fuse",
    "mca",
    "vcn",
    "jpeg",
)
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 120.0
PUSHED = 0.01
"""Seconds in which something that the kernel pushes is told; what is polled is within one interval of its family."""


def node(root: Path) -> list[Path]:
    """Builds the tree; the directories of its 24 PCI devices."""
    tree, found = Tree(root), []
    for number in range(8):
        gpu, nic, disk = (f"0000:{bus + number:02x}:00.0" for bus in (0x10, 0x20, 0x30))
        at = tree.write(tree.pci(gpu, "038000", driver="amdgpu"), **_bus())
        tree.write(at / "ras", **{f"{block}_err_count": "ue: 0\nce: 0" for block in BLOCKS})
        found.append(at)
        at = tree.write(tree.pci(nic, "020700", driver="mlx5_core"), **_bus())
        tree.classed("net", f"ib{number}", at, carrier_changes=2, speed=200000, flags="0x1003", operstate="up", carrier=1)
        tree.classed("infiniband", f"mlx5_{number}", at, node_guid=f"0c42:a103:0065:{number:04x}", fw_ver="28.39.1002")
        port = at / f"infiniband/mlx5_{number}/ports/1"
        tree.write(port, state="4: ACTIVE", phys_state="5: LinkUp", link_layer="InfiniBand", rate="400 Gb/sec (4X NDR)")
        tree.write(port / "counters", link_downed=0, symbol_error=3, link_error_recovery=0, port_rcv_errors=0)
        tree.write(port / "counters", excessive_buffer_overrun_errors=0, local_link_integrity_errors=0)
        tree.write(port / "hw_counters", rnr_nak_retry_err=0, out_of_sequence=9)
        found.append(at)
        at = tree.write(tree.pci(disk, "010802", driver="nvme"), **_bus())
        tree.classed("nvme", f"nvme{number}", at, state="live", model="DISK", serial=f"S64HNE0R50012{number}", transport="pcie")
        tree.classed("hwmon", f"hwmon{number}", at, name="nvme", temp1_input=38850, temp1_label="Composite", temp1_max=81850)
        found.append(at)
    if os.geteuid() == 0:
        for number in range(8):
            os.mknod(tree.dev / f"accel{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        (tree.dev / "kmsg").symlink_to("/dev/kmsg")
    return found


def _bus() -> dict[str, object]:
    counters = {
        f"aer_dev_{name}": aer(f"TOTAL_ERR_{key}", 0)
        for name, key in (("fatal", "FATAL"), ("nonfatal", "NONFATAL"), ("correctable", "COR"))
    }
    link = {"current_link_width": 16, "max_link_width": 16, "current_link_speed": "32.0 GT/s PCIe", "max_link_speed": "32.0 GT/s PCIe"}
    return {**counters, **link, "config": b"\xde\x10\x00\x00"}


@asynccontextmanager
async def _watching(root: Path, interval: float) -> AsyncIterator[Child]:
    what = {"nodes": "nodes:/dev/accel*", "pcie": f"pcie:interval={interval:g}"}
    specs = [argument for family in FAMILIES for argument in ("--detector", what.get(family, family))]
    line = [*PODVITALS, "check", "--watch", "--root", str(root), *specs]
    async with Child.running(line, root.parent / "log", os.environ) as child, asyncio.timeout(PATIENCE):
        while " devices: " not in await child.line():
            pass
        yield child


async def measure(seconds: float, times: int, interval: float = Pcie.interval) -> list[Row]:
    """`seconds` of watching, `times` each kind of fault, PCI devices checked each `interval`."""
    with tempfile.TemporaryDirectory(prefix="pv-bench-") as directory:
        root = Path(directory) / "node"
        devices = await asyncio.to_thread(node, root)
        async with _watching(root, interval) as child:
            cost = await _cost(child.process.pid, seconds)
        async with _watching(root, interval) as child:
            polled = [await _until_told(child, at.name, partial(_break, at)) for at in devices[:times]]
        rows = [*cost, _told("a PCIe counter grew → told", polled, interval)]
        if os.geteuid() == 0:
            async with _watching(root, interval) as child:
                nodes = sorted((root / "dev").glob("accel*"))[:times]
                pushed = [await _until_told(child, path.name, path.unlink) for path in nodes]
            rows.append(_told("a device node vanished → told", pushed, PUSHED))
            async with _watching(root, interval) as child:
                left = [await _until_told(child, at.name, partial(_leave, root, at)) for at in devices[-times:]]
            rows.append(_told("a PCI device left the bus → told", left, PUSHED))
        return rows


async def _cost(pid: int, seconds: float) -> list[Row]:
    began = _ticks(pid)
    await asyncio.sleep(seconds)
    share = (_ticks(pid) - began) / TICKS / seconds * 100
    peak = _peak(pid)
    return [
        Row(SUBJECT, f"CPU of one core, over {seconds:g} s", 1, "%", Estimate(share, share, share), goal="≤ 1 %", met=share <= 1),
        Row(SUBJECT, "memory, most", 1, "MB", Estimate(peak, peak, peak), goal="≤ 70 MB", met=peak <= 70),
    ]


def _ticks(pid: int) -> int:
    """User and system time (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _peak(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _break(at: Path) -> None:
    (at / "aer_dev_fatal").write_text(aer("TOTAL_ERR_FATAL", 1))


def _leave(root: Path, at: Path) -> None:
    """The device leaves the tree, and the kernel says so."""
    (root / "sys/bus/pci/devices" / at.name).unlink()
    kernel_says.say("remove", f"/devices/pci{at.name[:7]}/{at.name}", "pci")


async def _until_told(child: Child, name: str, fault: Callable[[], object]) -> float:
    """Milliseconds from the fault to the line that tells of it."""
    words = name.replace(":", "-").replace(".", "-")
    began = time.monotonic()
    fault()
    while True:
        line = await child.line()
        if words in line and "Unhealthy" in line:
            return (time.monotonic() - began) * 1000


def _told(what: str, milliseconds: list[float], promised: float) -> Row:
    limit, worst = promised * 1000, max(milliseconds)
    p99 = percentile(milliseconds, 0.99)
    return Row(SUBJECT, what, len(milliseconds), "ms", median(milliseconds), p99=p99, goal=f"≤ {limit:g} ms", met=worst <= limit)
