"""Temperatures and FPGA managers, as Documentation/ABI/testing/sysfs-class-hwmon and sysfs-class-fpga-manager lay them out."""

from pathlib import Path

import pytest

from podvitals.detect.detector import Device
from podvitals.detect.families.block import Block
from podvitals.detect.families.fpga import Fpga
from podvitals.detect.families.hwmon import Hwmon
from podvitals.detect.inventory import joined, listing
from podvitals.detect.roots import Roots
from podvitals.detect.signal import State, Unread
from tests.detect.families.tree import Tree, unreadable, values
from tests.roots import requires


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    at = tree.pci("0000:5e:00.0", "010802", driver="nvme")
    tree.classed("hwmon", "hwmon1", at, name="nvme", temp1_input=38850, temp1_label="Composite", temp1_max=81850, temp1_crit=84850)
    chip = tree.classed("hwmon", "hwmon0", tree.sys / "devices/platform/coretemp.0", name="coretemp", temp1_input=97000)
    tree.write(chip, temp1_label="Package id 0", temp1_max=90000, temp1_crit=100000, temp2_input=45000, temp2_label="Core 0")
    tree.classed("hwmon", "hwmon2", tree.sys / "devices/platform/fans.0", name="fans", fan1_input=900)
    return tree


def hwmon(tree: Tree, *patterns: str) -> tuple[Hwmon, dict[str, Device]]:
    family = Hwmon(*patterns)
    family.roots = tree.roots
    return family, {device.name: device for device in family.find()}


def test_sensors_are_named_by_the_device_they_sit_on(tree: Tree) -> None:
    _, devices = hwmon(tree)
    assert set(devices) == {"pci-0000-5e-00-0", "coretemp-0"}, "a chip without temperatures is none"
    assert not listing("hwmon", devices.values()).problems
    assert set(hwmon(tree, "coretemp")[1]) == {"coretemp-0"}


def test_an_nvme_controller_s_sensor_is_the_pci_device_s(tree: Tree) -> None:
    """It hangs below the controller, which is no device on a bus but of a class itself."""
    controller = tree.classed("nvme", "nvme7", tree.pci("0000:5f:00.0", "010802", driver="nvme"))
    (controller / "subsystem").symlink_to(tree.sys / "class/nvme")
    tree.classed("hwmon", "hwmon7", controller, name="nvme", temp1_input=38850)
    tree.classed("hwmon", "hwmon8", tree.write(tree.sys / "devices/virtual/thermal/thermal_zone0"), name="acpitz", temp1_input=20000)
    assert {name: device.handle for name, device in hwmon(tree)[1].items()}.items() >= {
        ("pci-0000-5f-00-0", "hwmon7"),
        ("acpitz-thermal-zone0", "hwmon8"),
    }


def test_a_temperature_is_told_with_its_own_limits(tree: Tree) -> None:
    family, devices = hwmon(tree)
    assert values(list(family.read(devices["pci-0000-5e-00-0"]))) == {
        "hwmon.temp[Composite]": 38.85,
        "hwmon.temp_max[Composite]": 81.85,
        "hwmon.temp_crit[Composite]": 84.85,
    }
    assert values(list(family.read(devices["coretemp-0"]))) == {
        "hwmon.temp[Package id 0]": 97,
        "hwmon.temp_max[Package id 0]": 90,
        "hwmon.temp_crit[Package id 0]": 100,
        "hwmon.temp[Core 0]": 45,
    }


def test_a_limit_that_nobody_filled_in_is_none(tree: Tree) -> None:
    family, devices = hwmon(tree)
    tree.write(tree.sys / "class/hwmon/hwmon1", temp1_max=65261850, temp1_crit=-273150, temp1_emergency=0)
    assert values(list(family.read(devices["pci-0000-5e-00-0"]))) == {"hwmon.temp[Composite]": 38.85}


def test_a_broken_sensor_says_so_and_one_that_cannot_be_read_is_unread(tree: Tree) -> None:
    family, devices = hwmon(tree)
    tree.write(tree.sys / "class/hwmon/hwmon0", temp1_fault=1)
    unreadable(tree.sys / "class/hwmon/hwmon0/temp2_input")
    said = values(list(family.read(devices["coretemp-0"])))
    assert said["hwmon.fault[Package id 0]"] == "yes"
    assert "hwmon.temp[Package id 0]" not in said
    assert str(said["hwmon.temp"]).endswith("Too many levels of symbolic links")


def test_two_sensors_of_one_label_are_told_apart(tree: Tree) -> None:
    tree.write(tree.sys / "class/hwmon/hwmon0", temp2_label="Package id 0")
    family, devices = hwmon(tree)
    said = values(list(family.read(devices["coretemp-0"])))
    assert (said["hwmon.temp[Package id 0 1]"], said["hwmon.temp[Package id 0 2]"]) == (97, 45)


def test_a_chip_that_went_is_unread(tree: Tree) -> None:
    family, devices = hwmon(tree)
    (tree.sys / "class/hwmon/hwmon0").unlink()
    assert list(family.read(devices["coretemp-0"])) == [Unread("hwmon.temp", "the sensor is not there")]


def test_a_chip_that_went_is_unread_also_when_another_gets_its_number(tree: Tree) -> None:
    family, devices = hwmon(tree)
    (tree.sys / "class/hwmon/hwmon0").unlink()
    tree.classed("hwmon", "hwmon0", tree.sys / "devices/platform/acpi.0", name="acpi", temp1_input=20000)
    assert list(family.read(devices["coretemp-0"])) == [Unread("hwmon.temp", "the sensor is not there")]


def test_each_disk_s_and_memory_module_s_sensor_behind_one_pci_device_is_a_device(tree: Tree) -> None:
    """drivetemp's chips sit behind one disk controller, those of memory modules behind one SMBus controller."""
    ahci, smbus = tree.pci("0000:00:17.0", "010601", driver="ahci"), tree.pci("0000:00:1f.4", "0c0500", driver="i801_smbus")
    for number in range(3):
        disk = ahci / f"ata{number}/host{number}/target{number}:0:0/{number}:0:0:0"
        tree.write(disk, wwid=f"naa.5000c500a1b2c3d{number}")
        at = tree.classed("block", f"sd{number}", disk)
        tree.classed("hwmon", f"hwmon{10 + number}", (at / "device").resolve(), name="drivetemp", temp1_input=30000)
        tree.classed("hwmon", f"hwmon{20 + number}", smbus / f"i2c-0/0-001{number}", name="jc42", temp1_input=40000)
    _, devices = hwmon(tree)
    disks = {f"disk-naa-5000c500a1b2c3d{number}" for number in range(3)}
    assert set(devices) == {"pci-0000-5e-00-0", "coretemp-0", *disks, *(f"jc42-0-001{number}" for number in range(3))}
    assert devices["disk-naa-5000c500a1b2c3d2"].handle == "hwmon12"
    assert not listing("hwmon", devices.values()).problems


def test_what_block_and_hwmon_say_of_one_disk_is_put_together(tree: Tree) -> None:
    disk = tree.write(tree.pci("0000:00:17.0", "010601", driver="ahci") / "ata1/0:0:0:0", wwid="naa.5000c500a1b2c3d4", vendor="ATA")
    tree.classed("block", "sda", disk, size=8)
    tree.classed("hwmon", "hwmon9", disk, name="drivetemp", temp1_input=30000)
    block = Block()
    block.roots = tree.roots
    (listed,) = block.find()
    together, contradiction = joined([("block", listed), ("hwmon", hwmon(tree)[1][listed.name])])
    assert (together.attributes["chip"], together.attributes["vendor"], contradiction) == ("drivetemp", "ATA", "")


def test_two_chips_of_one_card_are_told_apart(tree: Tree) -> None:
    card = tree.pci("0000:3b:00.0", "020000", driver="mlx5_core")
    for number, name in enumerate(("mlx5", "phy", "phy")):
        tree.classed("hwmon", f"hwmon{3 + number}", card, name=name, temp1_input=50000)
    _, devices = hwmon(tree, "pci-0000-3b-*")
    assert {name: device.handle for name, device in devices.items()} == {
        "pci-0000-3b-00-0": "hwmon3",
        "pci-0000-3b-00-0-phy": "hwmon4",
        "pci-0000-3b-00-0-hwmon5": "hwmon5",
    }


def fpga(tree: Tree, state: str, status: str = "") -> tuple[Fpga, Device]:
    at = tree.sys / "devices/platform/ffd03000.fpga-mgr"
    manager = tree.classed("fpga_manager", "fpga0", at, name="SoCFPGA Manager", state=state, status=status)
    assert manager.is_dir()
    family = Fpga()
    family.roots = tree.roots
    (device,) = family.find()
    return family, device


@pytest.mark.parametrize("state", ["operating", "unknown", "power off", "write error", "write complete error"])
def test_the_manager_s_state_is_told_as_the_kernel_spells_it(tree: Tree, state: str) -> None:
    family, device = fpga(tree, state)
    assert (device.name, device.attributes["product"]) == ("ffd03000-fpga-mgr", "SoCFPGA Manager")
    assert not listing("fpga", [device]).problems
    assert list(family.read(device)) == [State("fpga.state", state)]


def test_why_programming_failed_is_told(tree: Tree) -> None:
    family, device = fpga(tree, "write error", "reconfig CRC error\nreconfig IP protocol error\n")
    assert values(list(family.read(device))) == {"fpga.state": "write error: reconfig CRC error, reconfig IP protocol error"}


def test_a_manager_that_cannot_be_read_or_went_is_unread(tree: Tree) -> None:
    family, device = fpga(tree, "operating")
    unreadable((tree.sys / "class/fpga_manager/fpga0").resolve() / "state")
    (said,) = family.read(device)
    assert isinstance(said, Unread)
    (tree.sys / "class/fpga_manager/fpga0").unlink()
    assert list(family.read(device)) == [Unread("fpga.state", "its manager is not there")]
    tree.classed("fpga_manager", "fpga0", tree.sys / "devices/platform/ff000000.fpga-mgr", state="operating")
    assert list(family.read(device)) == [Unread("fpga.state", "its manager is not there")], "another has its number"


@requires("/sys", Path("/sys/class").is_dir())
def test_the_real_sensors_of_this_machine_are_read_without_an_error() -> None:
    family = Hwmon()
    devices = list(family.find())
    assert bool(devices) <= (not Hwmon.available(Roots()))
    assert not listing("hwmon", devices).problems
    for device in devices:
        assert any(True for _ in family.read(device))
