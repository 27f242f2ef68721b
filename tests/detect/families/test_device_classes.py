"""The examples of DeviceClasses select what the families really publish, as the scheduler sees it."""

import ctypes
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from podvitals.claim.resource import SliceDevice
from podvitals.detect.families.amd import Amd
from podvitals.detect.families.block import Block
from podvitals.detect.families.fpga import Fpga
from podvitals.detect.families.hwmon import Hwmon
from podvitals.detect.families.intel import Intel
from podvitals.detect.families.nic import Nic
from podvitals.detect.families.nodes import Nodes
from podvitals.detect.families.nvidia import Nvidia
from podvitals.detect.families.nvme import Nvme
from podvitals.detect.families.pcie import Pcie
from podvitals.detect.families.probe import Probe
from podvitals.detect.families.rdma import Rdma
from podvitals.detect.family import Family
from podvitals.detect.inventory import listing
from podvitals.detect.spec import FAMILIES
from podvitals.driver.slices import published_device
from podvitals.lab.scheduler.selector import SelectorFailed, matches
from tests.detect.families.nvml.fake import Script, h100, requires_cc
from tests.detect.families.tree import Tree

EXAMPLES = Path(__file__).parents[3] / "examples/device-classes"
CLASSES: dict[str, str] = {
    document["metadata"]["name"]: document["spec"]["selectors"][0]["cel"]["expression"]
    for document in yaml.safe_load_all((EXAMPLES / "classes.yaml").read_text())
}


def built(root: Path) -> Tree:
    """A machine with one device of each family, and more that no class wants."""
    tree = Tree(root)
    tree.pci("0000:3b:00.0", "030200", driver="nvidia")
    amd = tree.pci("0000:43:00.0", "038000", driver="amdgpu", mem_info_vram_total=206141652992)
    tree.write(amd, vendor="0x1002", product_name="AMD Instinct MI300X OAM")
    tree.pci("0000:03:00.0", "038000", driver="xe")
    nvme = tree.pci("0000:5e:00.0", "010802", driver="nvme")
    tree.classed("nvme", "nvme0", nvme, state="live", transport="pcie", model="SSD")
    tree.classed("nvme", "nvme1", tree.sys / "devices/virtual/fabrics", state="live", transport="tcp", serial="X1")
    for name, rotational in (("sda", 1), ("sdb", 0)):
        disk = tree.classed("block", name, tree.sys / f"devices/pci0000:00/ata/{name}", ro=0, size=7814037168)
        (disk / "device").unlink()
        tree.write(disk, device__wwid=f"naa.{name}", queue__rotational=rotational)
    for name, address, numa in (("eth0", "0000:17:00.0", 0), ("eth1", "0000:97:00.0", 1)):
        tree.classed("net", name, tree.pci(address, "020000", driver="ice", numa_node=numa), speed=25000)
    adapter = tree.pci("0000:3c:00.0", "020700", driver="mlx5_core")
    port = {"ports__1__link_layer": "InfiniBand", "ports__1__rate": "400 Gb/sec (4X NDR)", "ports__1__state": "4: ACTIVE"}
    tree.classed("infiniband", "mlx5_0", adapter, **port)
    tree.classed("hwmon", "hwmon4", nvme, name="nvme", temp1_input=38850)
    tree.classed("hwmon", "hwmon5", tree.sys / "devices/platform/coretemp.0", name="coretemp", temp1_input=38850)
    tree.classed("fpga_manager", "fpga0", tree.sys / "devices/platform/ffd03000.fpga-mgr", name="SoCFPGA Manager", state="operating")
    tree.write(tree.pci("0000:70:00.0", "120000"), vendor="0x10ee")
    return tree


def published(tree: Tree, families: Iterable[Family]) -> dict[str, SliceDevice]:
    found: dict[str, SliceDevice] = {}
    for family in families:
        family.roots = tree.roots
        devices = list(family.find())
        assert not listing(str(family), devices).problems
        found |= {device.name: published_device(device) for device in devices}
    return found


def chosen(name: str, driver: str, devices: dict[str, SliceDevice]) -> set[str]:
    def fits(device: SliceDevice) -> bool:
        try:
            return matches(CLASSES[name], driver, device)
        except SelectorFailed:  # an attribute this device has not got: the scheduler passes it over too where && decides
            return False

    return {device_name for device_name, device in devices.items() if fits(device)}


@pytest.mark.parametrize(
    ("name", "driver", "families", "expected"),
    [
        ("amd-mi300x", "gpu.example.com", [Amd(), Intel()], {"pci-0000-43-00-0"}),
        ("gpu-with-40gi", "gpu.example.com", [Amd(), Intel()], {"pci-0000-43-00-0"}),
        ("intel-gpu", "gpu.example.com", [Amd(), Intel()], {"pci-0000-03-00-0"}),
        ("local-nvme", "disks.example.com", [Nvme(), Block()], {"pci-0000-5e-00-0"}),
        ("big-hard-disk", "disks.example.com", [Nvme(), Block()], {"disk-naa-sda"}),
        ("nic-on-numa-node-0", "net.example.com", [Nic()], {"eth0"}),
        ("infiniband-ndr", "rdma.example.com", [Rdma()], {"pci-0000-3c-00-0"}),
        ("fpga", "fpga.example.com", [Fpga()], {"ffd03000-fpga-mgr"}),
        ("xilinx-card", "pci.example.com", [Pcie()], {"pci-0000-70-00-0"}),
        ("disk-with-thermometer", "sensors.example.com", [Hwmon()], {"pci-0000-5e-00-0"}),
        ("disk-array", "probes.example.com", [Probe("/bin/true", name="array0"), Probe("/bin/true", name="array1")], {"array0"}),
    ],
)
def test_a_class_selects_the_devices_it_is_meant_for(
    tmp_path: Path, name: str, driver: str, families: list[Family], expected: set[str]
) -> None:
    assert chosen(name, driver, published(built(tmp_path), families)) == expected
    assert chosen(name, "other.example.com", published(built(tmp_path / "again"), families)) == set()


@requires_cc
def test_nvidia_s_classes_select_whole_gpus_and_mig_devices(tmp_path: Path, fake_nvml: ctypes.CDLL) -> None:
    script = Script(tmp_path / "script", fake_nvml)
    script.say(driver="580.65.06", gpus=2)
    mig: dict[str, Any] = {
        "mig_mode": 1,
        "mig.0.instance": "7 0",
        "mig.0.name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "mig.memory": 10737418240,
    }
    script.gpu(0, h100(0, "3b"))
    script.gpu(1, h100(1, "86") | mig)
    devices = published(built(tmp_path / "root"), [Nvidia()])
    assert chosen("nvidia-h100", "gpu.example.com", devices) == {"pci-0000-3b-00-0"}
    assert chosen("gpu-with-40gi", "gpu.example.com", devices) == {"pci-0000-3b-00-0"}
    assert chosen("nvidia-mig-1g", "gpu.example.com", devices) == {"pci-0000-86-00-0-mig-7-0"}


def test_the_class_of_neuron_devices_asks_for_their_node() -> None:
    device = SliceDevice(name="neuron0")
    nodes = Nodes()
    nodes.patterns = ("null",)
    (found,) = nodes.find()
    published_null = published_device(found)
    assert chosen("neuron", "nodes.example.com", {"null": published_null, "neuron0": device}) == set()
    path = published_null.attributes["path"]
    neuron = {**published_null.attributes, "path": type(path)(string="/dev/neuron12")}
    assert chosen("neuron", "nodes.example.com", {"neuron12": SliceDevice(name="neuron12", attributes=neuron)}) == {"neuron12"}


def test_every_class_is_tried() -> None:
    text = Path(__file__).read_text()
    assert [name for name in CLASSES if f'"{name}"' not in text] == []
    (claim,) = yaml.safe_load_all((EXAMPLES / "beside.yaml").read_text())
    assert {request["exactly"]["deviceClassName"] for request in claim["spec"]["spec"]["devices"]["requests"]} <= set(CLASSES)


def test_every_family_is_started_in_the_readme_as_a_driver_for_which_there_is_a_class() -> None:
    started = re.findall(r"^\$ podvitals driver (\w+)\.example\.com +(.*)$", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    selected = {name for expression in CLASSES.values() for name in re.findall(r'device\.driver == "(\w+)\.example\.com"', expression)}
    assert {driver for driver, _ in started} == selected
    words = {word for _, options in started for word in re.findall(r"\w+", options)}
    assert {name for name, module in FAMILIES.items() if ".families." in module} - words == set()
