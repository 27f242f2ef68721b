"""Disks: NVMe controllers as trees and by a stand-in for their ioctl, others as trees and as real loop devices."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from podvitals.detect.detector import Device
from podvitals.detect.families import disks, smart
from podvitals.detect.families.block import Block
from podvitals.detect.families.nvme import Nvme
from podvitals.detect.family import PCI
from podvitals.detect.inventory import listing
from podvitals.detect.roots import Roots
from podvitals.detect.signal import State, Unread
from podvitals.device.health import Health
from tests.detect.families.loops import detach, loop_over, requires_loop, set_read_only
from tests.detect.families.tree import Tree, unreadable, values
from tests.detect.kit import running
from tests.roots import requires

NVME = "pci-0000-5e-00-0"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    at = tree.pci("0000:5e:00.0", "010802", driver="nvme", numa_node=0)
    controller = tree.classed(
        "nvme", "nvme0", at, state="live", model="SAMSUNG MZQL23T8HCLS-00A07   ", serial="S64HNE0R500123      ", firmware_rev="GDC5602Q"
    )
    tree.write(controller, transport="pcie")
    namespace = tree.write(controller / "nvme0n1", ro=0, size=7501476528, wwid="eui.36344830", hidden=0)
    (tree.sys / "class/block").mkdir()
    (tree.sys / "class/block/nvme0n1").symlink_to(namespace)
    return tree


def nvmes(tree: Tree, *patterns: str) -> tuple[Nvme, dict[str, Device]]:
    nvme = Nvme(*patterns)
    nvme.roots = tree.roots
    return nvme, {device.name: device for device in nvme.find()}


def test_an_nvme_controller_is_named_by_its_slot_and_says_what_it_is(tree: Tree) -> None:
    _, devices = nvmes(tree)
    (device,) = devices.values()
    assert device.name == NVME
    assert {**device.attributes} == {
        PCI: "0000:5e:00.0",
        "resource.kubernetes.io/pcieRoot": "pci0000:5e",
        "resource.kubernetes.io/numaNode": 0,
        "controller": "nvme0",
        "type": "nvme",
        "product": "SAMSUNG MZQL23T8HCLS-00A07",
        "serial": "S64HNE0R500123",
        "firmware": "GDC5602Q",
        "transport": "pcie",
        "vendor": "8086",
        "device": "1234",
        "driver": "nvme",
    }
    assert device.nodes == (tree.dev / "nvme0n1",)
    assert not listing("nvme", devices.values()).problems


def test_an_nvme_controller_over_a_network_is_named_by_its_serial(tree: Tree) -> None:
    tree.classed("nvme", "nvme7", tree.sys / "devices/virtual/nvme-fabrics/ctl", state="live", serial="AB_12", transport="tcp")
    assert set(nvmes(tree)[1]) == {NVME, "nvme-ab-12"}
    assert set(nvmes(tree, "AB*")[1]) == {"nvme-ab-12"}
    assert set(nvmes(tree, "0000:5e:*")[1]) == {NVME}


@pytest.mark.parametrize("state", ["live", "resetting", "connecting", "dead"])
def test_the_controller_s_state_is_told_as_the_kernel_spells_it(tree: Tree, state: str) -> None:
    nvme, devices = nvmes(tree)
    tree.write(tree.sys / "class/nvme/nvme0", state=state)
    (tree.dev / "nvme0").touch()
    said = values(list(nvme.read(devices[NVME])))
    assert (said["nvme.state"], said["block.presence"], said["block.read_only[nvme0n1]"]) == (state, "present", "0")
    assert ("nvme.smart" in said) == (state == "live"), "one that is being reset would let the question wait"


def test_a_look_between_checks_does_not_ask_the_controller_itself(tree: Tree) -> None:
    nvme, devices = nvmes(tree)
    (tree.dev / "nvme0").touch()
    assert values(list(nvme.glance(devices[NVME]))) == {"block.presence": "present", "nvme.state": "live", "block.read_only[nvme0n1]": "0"}


def test_a_controller_that_left_is_gone_and_an_unmounted_sysfs_is_not(tree: Tree) -> None:
    nvme, devices = nvmes(tree)
    (tree.sys / "class/nvme/nvme0").unlink()
    assert list(nvme.read(devices[NVME])) == [State("block.presence", "gone")]
    assert set(nvmes(tree)[1]) == set()
    assert {device.name for device in nvme.find()} == {NVME}, "it stays listed"
    (tree.sys / "class/nvme").rmdir()
    (said,) = nvme.read(devices[NVME])
    assert isinstance(said, Unread)


def test_a_pulled_controller_is_gone_also_when_another_gets_its_number(tree: Tree) -> None:
    nvme, devices = nvmes(tree)
    (tree.sys / "class/nvme/nvme0").unlink()
    tree.classed("nvme", "nvme0", tree.pci("0000:5f:00.0", "010802", driver="nvme"), state="live")
    assert list(nvme.glance(devices[NVME])) == [State("block.presence", "gone")], "before it is known whose the number is now"
    assert {device.name for device in nvme.find()} == {NVME, "pci-0000-5f-00-0"}
    assert list(nvme.read(devices[NVME])) == [State("block.presence", "gone")]


@pytest.mark.parametrize("found_again", [True, False])
def test_a_controller_that_is_made_anew_is_the_same_one(tree: Tree, found_again: bool) -> None:
    nvme, devices = nvmes(tree)
    real = (tree.sys / "class/nvme/nvme0").resolve()
    shutil.copytree(real.rename(real.with_name("removed")), real, symlinks=True)
    if found_again:
        assert {device.name for device in nvme.find()} == {NVME}
    assert values(list(nvme.glance(devices[NVME])))["block.presence"] == "present"


def test_a_node_that_cannot_be_asked_is_unread_and_nothing_else_is_lost(tree: Tree) -> None:
    nvme, devices = nvmes(tree)
    (tree.dev / "nvme0").touch()
    unreadable(tree.sys / "class/nvme/nvme0/state")
    said = values(list(nvme.read(devices[NVME])))
    assert str(said["nvme.smart"]).endswith("Inappropriate ioctl for device")
    assert str(said["nvme.state"]).endswith("Too many levels of symbolic links")
    assert said["block.read_only[nvme0n1]"] == "0"


def page(warning: int = 0) -> bytes:
    """A SMART log page as the NVMe specification lays it out."""
    built = bytearray(512)
    built[0] = warning
    built[1:3] = (273 + 41).to_bytes(2, "little")
    built[3:6] = bytes((98, 10, 3))
    built[160:176] = (7).to_bytes(16, "little")
    return bytes(built)


@pytest.mark.parametrize(("bit", "name"), list(enumerate(smart.WARNINGS)))
def test_each_bit_of_the_critical_warning_is_its_own(bit: int, name: str) -> None:
    assert smart.parse(page(1 << bit)).warnings == {name}


def test_the_log_page_is_taken_apart_as_it_is_specified() -> None:
    assert smart.parse(page()) == smart.Health(frozenset(), 41, 98, 10, 3, 7)
    with pytest.raises(ValueError, match="12 bytes, not 512"):
        smart.parse(bytes(12))


SHIM = r"""
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* Answers as an NVMe controller does to "get log page, SMART, of all namespaces"; refuses whatever else is asked. */
int ioctl(int fd, unsigned long request, ...) {
    struct { uint8_t opcode, flags; uint16_t r; uint32_t nsid, c2, c3; uint64_t metadata, addr; uint32_t mlen, len, c10; } *command;
    va_list rest; (void)fd;
    va_start(rest, request); command = va_arg(rest, void *); va_end(rest);
    if (request != 0xC0484E41 || command->opcode != 2 || command->nsid != 0xFFFFFFFF) return 0x2002;
    if (command->len != 512 || command->c10 != 0x7F0002) return 0x2002;
    if (getenv("STATUS")) return atoi(getenv("STATUS"));
    memset((void *)command->addr, 0, 512);
    ((uint8_t *)command->addr)[0] = 0x0c;
    ((uint8_t *)command->addr)[1] = 0x40; ((uint8_t *)command->addr)[2] = 0x01;
    return 0;
}
"""


@requires("a C compiler (cc)", shutil.which("cc") is not None)
@pytest.mark.parametrize(
    ("status", "said"),
    [("", "read_only reliability\n"), ("11", "ValueError: the controller answered with NVMe status 0xb")],
)
def test_smart_is_asked_for_by_the_kernel_s_ioctl(tmp_path: Path, status: str, said: str) -> None:
    source, shim = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(shim), str(source)], check=True, timeout=60)
    program = "from pathlib import Path; from podvitals.detect.families import smart; print(*sorted(smart.ask(Path('/dev/null')).warnings))"
    environment = {**os.environ, "LD_PRELOAD": str(shim), **({"STATUS": status} if status else {})}
    outcome = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert said in (outcome.stderr if status else outcome.stdout)


@pytest.fixture
def scsi(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    at = tree.pci("0000:02:00.0", "010700", driver="mpt3sas")
    for name, wwid in (("sda", "naa.5000c500a1b2c3d4"), ("sdb", "naa.5000c500ffffffff")):
        disk = tree.classed("block", name, at / f"host0/target0:0:0/{name}", ro=0, size=7814037168)
        (disk / "device").unlink()
        tree.write(disk, device__wwid=wwid, device__state="running", device__ioerr_cnt="0x2", device__model="ST4000NM0035    ")
        tree.write(disk / f"{name}1", partition=1)
        (tree.sys / "class/block" / f"{name}1").symlink_to(disk / f"{name}1")
    return tree


def blocks(tree: Tree, *patterns: str) -> tuple[Block, dict[str, Device]]:
    block = Block(*patterns)
    block.roots = tree.roots
    return block, {device.name: device for device in block.find()}


def test_a_disk_is_named_by_its_wwn_and_partitions_are_none(scsi: Tree) -> None:
    _, devices = blocks(scsi)
    assert set(devices) == {"disk-naa-5000c500a1b2c3d4", "disk-naa-5000c500ffffffff"}
    disk = devices["disk-naa-5000c500a1b2c3d4"]
    assert (disk.attributes["wwn"], disk.attributes["product"], disk.attributes["disk"]) == ("naa.5000c500a1b2c3d4", "ST4000NM0035", "sda")
    assert disk.attributes[PCI] == "0000:02:00.0"
    assert disk.capacity == {"size": 7814037168 * 512}
    assert not listing("block", devices.values()).problems
    assert disks.names(scsi.sys, virtual=True) == ["sda", "sdb"]
    assert set(blocks(scsi, "sdb")[1]) == {"disk-naa-5000c500ffffffff"}
    assert set(blocks(scsi, "naa.5000c500a*")[1]) == {"disk-naa-5000c500a1b2c3d4"}


def test_two_paths_to_one_disk_are_two_devices(scsi: Tree) -> None:
    scsi.write(scsi.sys / "class/block/sdb", device__wwid="naa.5000c500a1b2c3d4")
    _, devices = blocks(scsi)
    assert {(name, device.handle) for name, device in devices.items()} == {
        ("disk-naa-5000c500a1b2c3d4", "sda"),
        ("disk-naa-5000c500a1b2c3d4-sdb", "sdb"),
    }


def test_a_disk_says_what_scsi_counts(scsi: Tree) -> None:
    block, devices = blocks(scsi, "sda")
    (disk,) = devices.values()
    expected = {"block.presence": "present", "block.read_only": "0", "block.scsi_state": "running", "block.ioerr_cnt": 2}
    assert values(list(block.read(disk))) == expected
    scsi.write(scsi.sys / "class/block/sda", ro=1, device__state="offline", device__ioerr_cnt="rubbish")
    said = values(list(block.read(disk)))
    assert (said["block.read_only"], said["block.scsi_state"]) == ("1", "offline")
    assert said["block.ioerr_cnt"] == "unread: it says 'rubbish', which is no number"


def test_a_disk_that_is_pulled_is_gone(scsi: Tree) -> None:
    block, devices = blocks(scsi, "sda")
    (scsi.sys / "class/block/sda").unlink()
    assert list(block.read(devices["disk-naa-5000c500a1b2c3d4"])) == [State("block.presence", "gone")]


def test_a_pulled_disk_is_gone_also_when_another_gets_its_letter(scsi: Tree) -> None:
    block, devices = blocks(scsi, "sd*")
    (scsi.sys / "class/block/sda").unlink()
    scsi.classed("block", "sda", scsi.write(scsi.pci("0000:03:00.0", "010700") / "host0", wwid="naa.5000c500eeeeeeee"), size=8, ro=0)
    assert list(block.read(devices["disk-naa-5000c500a1b2c3d4"])) == [State("block.presence", "gone")]
    now = {device.name: device for device in block.find()}
    assert set(now) == {"disk-naa-5000c500a1b2c3d4", "disk-naa-5000c500eeeeeeee", "disk-naa-5000c500ffffffff"}
    assert State("block.presence", "present") in list(block.read(now["disk-naa-5000c500eeeeeeee"]))


def test_a_disk_whose_name_cannot_be_read_now_is_not_another(scsi: Tree) -> None:
    block, devices = blocks(scsi, "sda")
    unreadable(scsi.sys / "class/block/sda/device/wwid")
    assert {device.name for device in block.find()} == {"disk-naa-5000c500a1b2c3d4"}
    assert State("block.presence", "present") in list(block.read(devices["disk-naa-5000c500a1b2c3d4"]))


@requires_loop
async def test_a_real_disk_that_becomes_read_only_and_then_loses_its_medium_is_unhealthy(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    with file.open("wb") as opened:
        opened.truncate(1 << 20)
    with loop_over(file) as name:
        block = Block(name)
        block.interval = 0.05
        async with running(block) as frame:
            await frame.says(name, Health.HEALTHY)
            set_read_only(name)
            await frame.says(name, Health.UNHEALTHY, "disk became read-only")
            detach(name)
            await frame.says(name, Health.UNHEALTHY, "disk is gone")


@requires("/sys/class/block", Path("/sys/class/block").is_dir())
def test_the_real_disks_of_this_machine_are_read_without_a_false_alarm() -> None:
    for family in (Block(), Nvme()):
        if family.available(Roots()):
            continue
        devices = list(family.find())
        assert not listing(family.family, devices).problems
        for device in devices:
            said = list(family.read(device))
            assert State("block.presence", "present") in said
            assert not [signal for signal in said if isinstance(signal, Unread) and signal.name != "nvme.smart"]
    assert not [name for name in disks.names(Path("/sys"), virtual=True) if (Path("/sys/class/block") / name / "partition").exists()]
