"""PCI devices: trees as the kernel documents them, and the devices of the machine the tests run on."""

from pathlib import Path
from typing import Any

import pytest

from podvitals.detect.detector import Device
from podvitals.detect.families import pcidev
from podvitals.detect.families.pcie import Pcie, total
from podvitals.detect.family import PCI
from podvitals.detect.inventory import listing
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Code, State, Unread
from podvitals.detect.subject import pci_address
from tests.detect.families.tree import Tree, aer, unreadable, values
from tests.roots import requires

GPU = "0000:3b:00.0"
NVME = "0000:5e:00.0"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    link: dict[str, Any] = {
        "current_link_width": 16,
        "max_link_width": 16,
        "current_link_speed": "16.0 GT/s PCIe",
        "max_link_speed": "16.0 GT/s PCIe",
    }
    tree.pci("0000:3a:00.0", "060400", driver="pcieport", **link)
    at = tree.pci(GPU, "030200", driver="nvidia", port="0000:3a:00.0", numa_node=1, config=b"\xde\x10", **link)
    tree.write(at, vendor="0x10de", device="0x2330")
    for file, key in (("fatal", "TOTAL_ERR_FATAL"), ("nonfatal", "TOTAL_ERR_NONFATAL"), ("correctable", "TOTAL_ERR_COR")):
        tree.write(at, **{f"aer_dev_{file}": aer(key, 0)})
    tree.pci(NVME, "010802", driver="nvme", numa_node=-1, **link)
    return tree


def family(tree: Tree, *patterns: str) -> tuple[Pcie, dict[str, Device]]:
    pcie = Pcie(*patterns)
    pcie.roots = tree.roots
    return pcie, {device.name: device for device in pcie.find()}


def test_devices_are_named_by_kind_and_address_and_say_their_place(tree: Tree) -> None:
    _, devices = family(tree)
    assert set(devices) == {"pci-0000-3b-00-0", "pci-0000-5e-00-0"}
    gpu = devices["pci-0000-3b-00-0"]
    assert gpu.handle == GPU
    assert gpu.attributes == {
        PCI: GPU,
        "resource.kubernetes.io/pcieRoot": "pci0000:3a",
        "resource.kubernetes.io/numaNode": 1,
        "vendor": "10de",
        "device": "2330",
        "driver": "nvidia",
        "type": "gpu",
        "linkWidth": 16,
        "linkSpeed": "16.0 GT/s",
    }
    assert "resource.kubernetes.io/numaNode" not in devices["pci-0000-5e-00-0"].attributes, "-1 is no node"
    assert not listing("pcie", devices.values()).problems


@pytest.mark.parametrize("pattern", [GPU, "0000:3b:*", "gpu", "10de:2330", "10de:*"])
def test_a_device_is_chosen_by_address_name_kind_or_ids(tree: Tree, pattern: str) -> None:
    assert set(family(tree, pattern)[1]) == {"pci-0000-3b-00-0"}


def test_a_bridge_is_only_watched_when_it_is_named(tree: Tree) -> None:
    assert set(family(tree, "*")[1]) == {"pci-0000-3b-00-0", "pci-0000-5e-00-0"}
    assert set(family(tree, "0000:3a:00.0")[1]) == {"pci-0000-3a-00-0"}


def test_a_good_device_says_what_it_is(tree: Tree) -> None:
    pcie, devices = family(tree)
    assert values(list(pcie.read(devices["pci-0000-3b-00-0"]))) == {
        "pcie.presence": "present",
        "pcie.answers": "yes",
        "pcie.aer_fatal": 0,
        "pcie.aer_nonfatal": 0,
        "pcie.aer_correctable": 0,
        "pcie.link_width": 16,
        "pcie.max_link_width": 16,
        "pcie.driver": "nvidia",
        "pcie.enabled": "1",
    }


def test_error_counters_are_the_totals_of_their_files(tree: Tree) -> None:
    pcie, devices = family(tree)
    at = pcidev.directory(tree.sys, GPU)
    tree.write(at, aer_dev_fatal=aer("TOTAL_ERR_FATAL", 2, **{"Surprise Down Error": 2}), aer_dev_correctable=aer("TOTAL_ERR_COR", 71))
    said = values(list(pcie.read(devices["pci-0000-3b-00-0"])))
    assert (said["pcie.aer_fatal"], said["pcie.aer_nonfatal"], said["pcie.aer_correctable"]) == (2, 0, 71)
    with pytest.raises(ValueError, match="no line TOTAL_ERR_FATAL"):
        total("Undefined 0\n", "TOTAL_ERR_FATAL")


def test_what_cannot_be_read_is_unread_and_nothing_else_is_lost(tree: Tree) -> None:
    pcie, devices = family(tree)
    at = pcidev.directory(tree.sys, GPU).resolve()
    unreadable(at / "aer_dev_fatal")
    tree.write(at, aer_dev_nonfatal="rubbish", current_link_width="wide", enable="?")
    said = values(list(pcie.read(devices["pci-0000-3b-00-0"])))
    assert str(said["pcie.aer_fatal"]).endswith("Too many levels of symbolic links")
    assert said["pcie.aer_nonfatal"] == "unread: it has no line TOTAL_ERR_NONFATAL"
    assert said["pcie.link_width"] == "unread: it says 'wide', which is no number"
    assert said["pcie.enabled"] == "unread: it says '?', which is no number"
    assert said["pcie.presence"] == "present"
    assert said["pcie.aer_correctable"] == 0


def test_a_device_that_left_the_bus_is_gone_and_stays_listed(tree: Tree) -> None:
    pcie, devices = family(tree)
    (tree.sys / "bus/pci/devices" / GPU).unlink()
    assert "pci-0000-3b-00-0" in {device.name for device in pcie.find()}
    assert list(pcie.read(devices["pci-0000-3b-00-0"])) == [State("pcie.presence", "gone")]


def test_a_device_that_was_taken_off_the_bus_and_found_again_had_its_reset(tree: Tree) -> None:
    pcie, devices = family(tree)
    gpu = devices["pci-0000-3b-00-0"]
    assert not [said for said in pcie.read(gpu) if isinstance(said, Code)]
    at = pcidev.directory(tree.sys, GPU).resolve()
    at.rename(at.with_name("away"))
    (at.with_name("away") / "current").mkdir()
    tree.write(at, vendor="0x10de", enable=1)
    after = Pcie()
    after.roots = tree.roots
    after.recall(pcie.remember(), same_boot=True)
    for found in (pcie, after):
        (life,) = (said for said in found.read(gpu) if isinstance(said, Code))
        assert (life.table, life.code) == ("life", "reset")
        assert not [said for said in found.read(gpu) if isinstance(said, Code)], "told once"
    rebooted = Pcie()
    rebooted.roots = tree.roots
    rebooted.recall({GPU: "1"}, same_boot=False)
    assert not [said for said in rebooted.read(gpu) if isinstance(said, Code)]


def test_an_unmounted_sysfs_is_no_fault_of_a_device(tree: Tree) -> None:
    pcie, devices = family(tree)
    (tree.sys / "bus").rename(tree.sys / "away")
    (said,) = pcie.read(devices["pci-0000-3b-00-0"])
    assert isinstance(said, Unread)
    with pytest.raises(OSError, match="No such file"):
        list(pcie.find())


def test_a_device_that_reads_all_ones_does_not_answer_but_a_sleeping_or_virtual_one_may(tree: Tree) -> None:
    pcie, devices = family(tree)
    at = tree.write(pcidev.directory(tree.sys, GPU), config=b"\xff\xff\xff\xff", power_state="D0")
    gpu = devices["pci-0000-3b-00-0"]
    assert values(list(pcie.read(gpu)))["pcie.answers"] == "no"
    tree.write(at, power_state="D3cold")
    assert "pcie.answers" not in values(list(pcie.read(gpu)))
    tree.write(at, power_state="D0")
    (at / "physfn").symlink_to(at.parent)
    assert "pcie.answers" not in values(list(pcie.read(gpu)))


def test_a_link_is_measured_against_what_both_its_ends_can_do(tree: Tree) -> None:
    pcie, devices = family(tree)
    port, gpu = (pcidev.directory(tree.sys, address) for address in ("0000:3a:00.0", GPU))
    tree.write(gpu, current_link_width=8)
    said = values(list(pcie.read(devices["pci-0000-3b-00-0"])))
    assert (said["pcie.link_width"], said["pcie.max_link_width"]) == (8, 16)
    tree.write(port, max_link_width=8)
    said = values(list(pcie.read(devices["pci-0000-3b-00-0"])))
    assert (said["pcie.link_width"], said["pcie.max_link_width"]) == (8, 8)
    nvme = tree.write(pcidev.directory(tree.sys, NVME), current_link_speed="8.0 GT/s PCIe")
    said = values(list(pcie.read(devices["pci-0000-5e-00-0"])))
    assert (said["pcie.link_speed"], said["pcie.max_link_speed"]) == (8, 16)
    tree.write(nvme, current_link_speed="Unknown", current_link_width=0)
    said = values(list(pcie.read(devices["pci-0000-5e-00-0"])))
    assert not {"pcie.link_speed", "pcie.link_width"} & set(said), "a link that is asleep says nothing"


def test_a_gpu_that_slows_its_link_down_to_save_power_is_no_sign(tree: Tree) -> None:
    pcie, devices = family(tree)
    tree.write(pcidev.directory(tree.sys, GPU), current_link_speed="2.5 GT/s PCIe")
    assert "pcie.link_speed" not in values(list(pcie.read(devices["pci-0000-3b-00-0"])))


def test_a_driver_that_was_unbound_is_told_as_none(tree: Tree) -> None:
    pcie, devices = family(tree)
    gpu, at = devices["pci-0000-3b-00-0"], pcidev.directory(tree.sys, GPU).resolve()
    list(pcie.read(gpu))
    (at / "driver").unlink()
    tree.write(at, enable=0)
    said = values(list(pcie.read(gpu)))
    assert said["pcie.driver"] == ": it was nvidia"
    assert said["pcie.enabled"] == "0"
    tree.bind(at, "vfio-pci")
    said = values(list(pcie.read(gpu)))
    assert said["pcie.driver"] == "vfio-pci"
    assert "pcie.enabled" not in said, "vfio enables a device when it is opened"


def test_what_is_published_follows_the_driver_and_outlives_the_device(tree: Tree) -> None:
    pcie, devices = family(tree)
    at = pcidev.directory(tree.sys, GPU).resolve()
    (at / "driver").unlink()
    tree.bind(at, "vfio-pci")
    (gpu,) = (device for device in pcie.find() if device.handle == GPU)
    assert gpu.attributes == {**devices["pci-0000-3b-00-0"].attributes, "driver": "vfio-pci"}
    (tree.sys / "bus/pci/devices" / GPU).unlink()
    assert gpu in list(pcie.find())


def test_a_function_that_never_had_a_driver_is_only_asked_for_one_where_it_is_of_no_use_without(tree: Tree) -> None:
    tree.pci("0000:00:1f.4", "0c0500", enable=0)  # an SMBus controller
    tree.pci("0000:60:00.0", "010802", enable=0)
    pcie, devices = family(tree)
    assert values(list(pcie.read(devices["pci-0000-00-1f-4"]))) == {"pcie.presence": "present"}
    assert values(list(pcie.read(devices["pci-0000-60-00-0"])))["pcie.driver"] == ""


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("00000000:3B:00.0", GPU),  # NVML
        ("0000:3b:00", GPU),  # NVRM
        ("3b:00.0", GPU),  # DMAR
        ("0018:01:00", "0018:01:00.0"),
        ("10000:01:00.0", "10000:01:00.0"),  # a domain of VMD
        ("eth0", ""),
    ],
)
def test_addresses_are_made_one_spelling(said: str, address: str) -> None:
    assert pci_address(said) == address


@requires("a PCI bus", Path("/sys/bus/pci/devices").is_dir())
def test_the_real_devices_of_this_machine_are_read_without_a_false_alarm() -> None:
    pcie = Pcie()
    assert not Pcie.available(Roots())
    devices = list(pcie.find())
    assert not listing("pcie", devices).problems
    for device in devices:
        said = list(pcie.read(device))
        assert State("pcie.presence", "present") in said
        assert State("pcie.answers", "no") not in said
        assert not [signal for signal in said if isinstance(signal, Unread)]
        assert State("pcie.driver", "") not in said
