"""Families in the frame, with the rules podvitals comes with: from the hardware to the words a person reads."""

import ctypes
import os
from pathlib import Path

import pytest

from podvitals.detect.families.amd import Amd
from podvitals.detect.families.kmsg import Kmsg
from podvitals.detect.families.nvidia import Nvidia
from podvitals.detect.families.nvme import Nvme
from podvitals.detect.families.pcie import Pcie
from podvitals.detect.families.rdma import Rdma
from podvitals.detect.family import Family
from podvitals.detect.roots import Roots
from podvitals.detect.rules.load import builtin
from podvitals.device.health import Health
from tests.detect.families.nvml.fake import Script, h100, requires_cc
from tests.detect.families.tree import Tree, aer, unreadable
from tests.detect.kit import running
from tests.roots import requires

GPU, OTHER = "pci-0000-3b-00-0", "pci-0000-86-00-0"
PLACE = "(PCI 0000:3b:00.0)"
requires_kmsg = requires("the right to read and write the kernel log", os.access("/dev/kmsg", os.R_OK | os.W_OK))


def fast(family: Family, roots: Roots, interval: float = 0.05) -> Family:
    family.roots, family.interval = roots, interval
    return family


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    builtin()  # reading it blocks: not in the loop
    tree = Tree(tmp_path / "root")
    for address in ("0000:3b:00.0", "0000:86:00.0"):
        at = tree.pci(address, "030200", driver="nvidia", config=b"\xde\x10", current_link_width=16, max_link_width=16)
        tree.write(at, aer_dev_fatal=aer("TOTAL_ERR_FATAL", 0), aer_dev_nonfatal=aer("TOTAL_ERR_NONFATAL", 0))
    return tree


@pytest.fixture
def script(tmp_path: Path, fake_nvml: ctypes.CDLL) -> Script:
    script = Script(tmp_path / "script", fake_nvml)
    script.say(driver="580.65.06", gpus=2)
    script.gpu(0, h100(0, "3b"))
    script.gpu(1, h100(1, "86"))
    return script


@requires_cc
async def test_an_xid_makes_its_gpu_unhealthy_with_its_reason_and_what_to_do(tree: Tree, script: Script) -> None:
    async with running(fast(Nvidia(), tree.roots)) as frame:
        await frame.says(GPU, Health.HEALTHY)
        script.event(0, xid=79)
        verdict = await frame.says(GPU, Health.UNHEALTHY, f"Xid 79: GPU has fallen off the bus {PLACE}")
        assert verdict.action == "power-cycle"
        await frame.says(OTHER, Health.HEALTHY)


@requires_cc
async def test_a_gpu_whose_call_hangs_is_unknown_its_neighbour_goes_on_and_it_heals(tree: Tree, script: Script) -> None:
    nvidia = fast(Nvidia(), tree.roots)
    nvidia.timeout, nvidia.lease = 0.3, 2.0
    async with running(nvidia) as frame:
        await frame.says(GPU, Health.HEALTHY)
        script.gpu(0, {"hang.nvmlDeviceGetPcieReplayCounter": 1})
        await frame.says(GPU, Health.UNKNOWN, "has not answered within 0.3 s")
        script.gpu(1, {"recovery_action": 1})
        await frame.says(OTHER, Health.UNHEALTHY, "the driver asks for a reset of the GPU")
        script.gpu(0, {"hang.nvmlDeviceGetPcieReplayCounter": None})
        await frame.says(GPU, Health.HEALTHY)


@requires_cc
async def test_a_recovery_action_is_the_driver_s_own_word_and_ends_with_it(tree: Tree, script: Script) -> None:
    async with running(fast(Nvidia(), tree.roots)) as frame:
        await frame.says(GPU, Health.HEALTHY)
        script.gpu(0, {"recovery_action": 2})
        verdict = await frame.says(GPU, Health.UNHEALTHY, f"the driver asks for a reboot of the node {PLACE}")
        assert verdict.action == "reboot"
        script.gpu(0, {"recovery_action": 0})
        await frame.says(GPU, Health.HEALTHY)


@requires_cc
async def test_a_driver_that_went_away_makes_gpus_unknown_never_unhealthy(tree: Tree, script: Script) -> None:
    async with running(fast(Nvidia(), tree.roots)) as frame:
        await frame.says(GPU, Health.HEALTHY)
        script.fail("nvmlDeviceGetHandleByPciBusId_v2", 1)
        script.fail("nvmlInitWithFlags", 9)
        for name in (GPU, OTHER):
            await frame.says(name, Health.UNKNOWN, "NVML cannot be used: Driver Not Loaded")
        script.fail("nvmlDeviceGetHandleByPciBusId_v2", None)
        script.fail("nvmlInitWithFlags", None)
        await frame.says(GPU, Health.HEALTHY)


async def test_two_families_on_one_device_are_one_verdict(tree: Tree) -> None:
    async with running(fast(Pcie("gpu"), tree.roots), fast(Pcie("0000:3b:*"), tree.roots)) as frame:
        await frame.says(GPU, Health.HEALTHY)
        assert set(frame.schedule.devices) == {GPU, OTHER}


async def test_a_device_that_leaves_the_bus_is_unhealthy_and_heals_when_it_is_back(tree: Tree) -> None:
    async with running(fast(Pcie(), tree.roots)) as frame:
        await frame.says(GPU, Health.HEALTHY)
        at = tree.sys / "bus/pci/devices/0000:3b:00.0"
        real = at.resolve()
        at.unlink()
        verdict = await frame.says(GPU, Health.UNHEALTHY, f"device left the bus {PLACE}")
        assert verdict.action == "power-cycle"
        await frame.says(OTHER, Health.HEALTHY)
        at.symlink_to(real)
        await frame.says(GPU, Health.HEALTHY)


async def test_fatal_pcie_errors_that_grow_are_a_fault_and_those_from_before_are_not(tree: Tree) -> None:
    at = tree.write(tree.sys / "bus/pci/devices/0000:3b:00.0", aer_dev_fatal=aer("TOTAL_ERR_FATAL", 7))
    async with running(fast(Pcie(), tree.roots)) as frame:
        await frame.says(GPU, Health.HEALTHY)
        tree.write(at, aer_dev_fatal=aer("TOTAL_ERR_FATAL", 8))
        await frame.says(GPU, Health.UNHEALTHY, f"fatal PCIe errors (AER) {PLACE}")
        # It waits for a reset: that the counter stands still is none, to be taken off the bus and found again is one.
        link = tree.sys / "bus/pci/devices/0000:3b:00.0"
        real = link.resolve()
        link.unlink()
        await frame.says(GPU, Health.UNHEALTHY, "device left the bus")
        anew = real.with_name("anew")
        anew.mkdir()
        tree.write(anew, vendor="0x10de", enable=1, aer_dev_fatal=aer("TOTAL_ERR_FATAL", 0))
        tree.bind(anew, "nvidia")
        real.rename(real.with_name("old"))
        anew.rename(real)
        tree.write(real, **{"class": "0x030200"})
        link.symlink_to(real)
        await frame.says(GPU, Health.HEALTHY)


async def test_a_sysfs_that_cannot_be_read_makes_devices_unknown_never_unhealthy(tree: Tree) -> None:
    async with running(fast(Pcie(), tree.roots)) as frame:
        await frame.says(GPU, Health.HEALTHY)
        (tree.sys / "bus").rename(tree.sys / "away")
        for name in (GPU, OTHER):
            await frame.says(name, Health.UNKNOWN)
        (tree.sys / "away").rename(tree.sys / "bus")
        await frame.says(GPU, Health.HEALTHY)


async def test_one_counter_that_cannot_be_read_makes_its_device_unknown_with_the_reason(tree: Tree) -> None:
    async with running(fast(Pcie(), tree.roots)) as frame:
        await frame.says(GPU, Health.HEALTHY)
        unreadable(tree.sys / "bus/pci/devices/0000:3b:00.0/aer_dev_fatal")
        await frame.says(GPU, Health.UNKNOWN, "Too many levels of symbolic links")
        await frame.says(OTHER, Health.HEALTHY)


async def test_an_nvme_controller_that_dies_is_unhealthy(tree: Tree) -> None:
    controller = tree.classed("nvme", "nvme0", tree.pci("0000:5e:00.0", "010802", driver="nvme"), state="live")
    async with running(fast(Nvme(), tree.roots)) as frame:
        await frame.says("pci-0000-5e-00-0", Health.HEALTHY)
        tree.write(controller, state="dead")
        await frame.says("pci-0000-5e-00-0", Health.UNHEALTHY, "controller is dead, not live (PCI 0000:5e:00.0)")


async def test_an_rdma_port_that_goes_down_is_unhealthy(tree: Tree) -> None:
    at = tree.pci("0000:60:00.0", "020700", driver="mlx5_core")
    port = tree.classed("infiniband", "mlx5_0", at, ports__1__state="4: ACTIVE", ports__1__phys_state="5: LinkUp") / "ports/1"
    async with running(fast(Rdma(), tree.roots)) as frame:
        await frame.says("pci-0000-60-00-0", Health.HEALTHY)
        tree.write(port, state="1: DOWN")
        await frame.says("pci-0000-60-00-0", Health.UNHEALTHY, "port 1 is DOWN, not ACTIVE")
        tree.write(port, state="4: ACTIVE")
        await frame.says("pci-0000-60-00-0", Health.HEALTHY)


async def test_uncorrectable_errors_of_an_amd_gpu_ask_for_service_and_stay(tree: Tree) -> None:
    at = tree.write(tree.pci("0000:43:00.0", "038000", driver="amdgpu"), vendor="0x1002", ras__umc_err_count="ue: 0\nce: 0")
    async with running(fast(Amd(), tree.roots)) as frame:
        await frame.says("pci-0000-43-00-0", Health.HEALTHY)
        tree.write(at, ras__umc_err_count="ue: 1\nce: 0")
        verdict = await frame.says("pci-0000-43-00-0", Health.UNHEALTHY, "uncorrectable errors in block umc (PCI 0000:43:00.0)")
        assert verdict.action == "service"


@requires_kmsg
async def test_a_line_really_written_to_the_kernel_log_makes_its_gpu_unhealthy(tree: Tree) -> None:
    kmsg = fast(Kmsg("gpu", from_anybody=True), Roots(tree.sys, Path("/dev"), tree.proc))
    async with running(kmsg) as frame:
        await frame.until(lambda: GPU in frame.schedule.verdicts)
        descriptor = os.open("/dev/kmsg", os.O_WRONLY)
        os.write(descriptor, b"<15>NVRM: Xid (PCI:0000:3b:00): 79, pid=1, name=x, GPU has fallen off the bus.\n")
        os.close(descriptor)
        await frame.says(GPU, Health.UNHEALTHY, f"Xid 79: GPU has fallen off the bus {PLACE}", seconds=2)


@requires_kmsg
async def test_an_nvlink_error_really_written_to_the_kernel_log_says_what_it_asks_for(tree: Tree) -> None:
    address = f"{os.getpid() & 0xFFFF:04x}:5f:00.0"  # one of which no earlier run has left a line in the log
    tree.pci(address, "030200", driver="nvidia")
    device = f"pci-{address.replace(':', '-').replace('.', '-')}"
    kmsg = fast(Kmsg("gpu", from_anybody=True), Roots(tree.sys, Path("/dev"), tree.proc))
    async with running(kmsg) as frame:
        await frame.says(device, Health.HEALTHY)
        descriptor = os.open("/dev/kmsg", os.O_WRONLY)
        for words in (
            "146, TLW_CTRL Nonfatal XC0 i0 Link 04 (0x00000009 0x00000001 0x00000000 0x00000000)",  # corrected: nothing
            "149, NETIR_LINK_DOWN Fatal XC0 i0 Link 05 (0x02a00011 0x00000000 0x00000000 0x00000000)",
        ):
            os.write(descriptor, f"<15>NVRM: Xid (PCI:{address[:-2]}): {words}\n".encode())
        os.close(descriptor)
        verdict = await frame.says(device, Health.UNHEALTHY, seconds=2)
        place = f"(PCI {address}): look at the link's cables, temperature and seating"
        assert (verdict.message, verdict.action) == (f"Xid 149: NVLink 5 error NETIR_LINK_DOWN, link 05 {place}", "reset-gpu")
