"""Device nodes: real ones made with mknod, in a directory of the test's own, and trees for what is behind them."""

import os
import stat
from pathlib import Path

import pytest

from podvitals.detect.detector import Device
from podvitals.detect.families.nodes import Nodes, from_spec
from podvitals.detect.family import PCI
from podvitals.detect.inventory import listing
from podvitals.detect.roots import Roots
from podvitals.detect.signal import State, Unread
from podvitals.detect.spec import Spec
from podvitals.device.health import Health
from podvitals.errors import InvalidInput
from tests.detect.families.tree import Tree, values
from tests.detect.kit import running
from tests.roots import requires_mknod

pytestmark = requires_mknod


def node(path: Path, kind: int = stat.S_IFCHR) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, kind | 0o600, os.makedev(1, 3))


def nodes(roots: Roots, *patterns: str) -> tuple[Nodes, dict[str, Device]]:
    found = Nodes(*patterns)
    found.roots = roots
    return found, {device.name: device for device in found.find()}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    for name in ("accel0", "accel1", "neuron0", "vfio/12", "vfio/13", "accel/accel0"):
        node(tree.dev / name)
    (tree.dev / "accel7").touch()
    node(tree.dev / "vfio/vfio")
    node(tree.dev / "null")
    return tree


def test_the_usual_nodes_are_found_and_nothing_else(tree: Tree) -> None:
    found, devices = nodes(tree.roots)
    assert set(devices) == {"accel0", "accel-accel0", "accel1", "neuron0", "vfio-12", "vfio-13"}
    assert not listing("nodes", devices.values()).problems
    for device in devices.values():
        assert values(list(found.read(device))) == {"node.presence": "present", "node.kind": "character device"}
        assert device.nodes == (Path(device.handle),)


def test_nodes_that_were_numbered_anew_are_those_of_the_devices_behind_them_now(tree: Tree) -> None:
    """A driver that is loaded again finds its devices in any order; a pod must be given the one it was promised."""
    cards = [tree.pci(f"0000:00:0{number}.0", "120000", driver="gasket") for number in (5, 6)]
    entries = [tree.classed("accel", f"accel{number}", card) for number, card in enumerate(cards)]
    found, devices = nodes(tree.roots, "/dev/accel[01]")
    assert {name: device.handle for name, device in devices.items()} == {
        "pci-0000-00-05-0": str(tree.dev / "accel0"),
        "pci-0000-00-06-0": str(tree.dev / "accel1"),
    }
    for number, entry in enumerate(reversed(entries)):
        link = tree.sys / "class/accel" / f"accel{number}"
        link.unlink()
        link.symlink_to(entry)
    assert {device.name: device.nodes for device in found.find()} == {
        "pci-0000-00-05-0": (tree.dev / "accel1",),
        "pci-0000-00-06-0": (tree.dev / "accel0",),
    }


def test_a_node_is_named_by_the_pci_device_behind_it(tree: Tree) -> None:
    at = tree.pci("0000:00:05.0", "120000", driver="gasket")
    tree.classed("accel", "accel1", at)
    group = tree.sys / "kernel/iommu_groups/12/devices"
    group.mkdir(parents=True)
    tree.pci("0000:3b:00.0", "030200", driver="vfio-pci")
    (group / "0000:3b:00.0").symlink_to(tree.sys / "bus/pci/devices/0000:3b:00.0")
    many = tree.sys / "kernel/iommu_groups/13/devices"
    many.mkdir(parents=True)
    for address in ("0000:40:00.0", "0000:40:00.1"):
        (many / address).touch()
    _, devices = nodes(tree.roots, "/dev/accel1", "/dev/vfio/[0-9]*")
    assert {name: device.handle for name, device in devices.items()} == {
        "pci-0000-00-05-0": str(tree.dev / "accel1"),
        "pci-0000-3b-00-0": str(tree.dev / "vfio/12"),
        "vfio-13": str(tree.dev / "vfio/13"),
    }
    assert devices["pci-0000-3b-00-0"].attributes[PCI] == "0000:3b:00.0"
    assert not listing("nodes", devices.values()).problems


def test_two_nodes_of_one_pci_device_are_two_devices(tree: Tree) -> None:
    at = tree.pci("0000:00:05.0", "120000")
    tree.classed("accel", "accel0", at)
    _, devices = nodes(tree.roots, "/dev/accel0", "/dev/accel/accel0")
    assert set(devices) == {"pci-0000-00-05-0-accel0", "pci-0000-00-05-0-accel-accel0"}


def test_a_node_that_vanished_is_missing_and_stays_listed(tree: Tree) -> None:
    found, devices = nodes(tree.roots)
    (tree.dev / "neuron0").unlink()
    assert list(found.read(devices["neuron0"])) == [State("node.presence", "missing")]
    assert "neuron0" in {device.name for device in found.find()}
    (tree.dev / "vfio/12").unlink()
    (tree.dev / "vfio/13").unlink()
    (tree.dev / "vfio/vfio").unlink()
    (tree.dev / "vfio").rmdir()
    assert list(found.read(devices["vfio-12"])) == [State("node.presence", "missing")]


def test_a_dev_that_is_not_mounted_is_no_fault_of_a_device(tree: Tree) -> None:
    found, devices = nodes(tree.roots)
    tree.dev.rename(tree.dev.with_name("away"))
    (said,) = found.read(devices["neuron0"])
    assert isinstance(said, Unread)


def test_a_file_in_the_place_of_a_node_is_told(tree: Tree) -> None:
    found, devices = nodes(tree.roots)
    (tree.dev / "neuron0").unlink()
    (tree.dev / "neuron0").write_text("a container runtime made me")
    assert values(list(found.read(devices["neuron0"]))) == {
        "node.presence": "present",
        "node.kind": "regular file: it was a character device",
    }


async def test_a_vanished_node_is_pushed_and_heals_when_it_is_back(tmp_path: Path) -> None:
    roots = Roots.under(tmp_path)
    node(roots.dev / "vfio/12")
    found = Nodes()
    found.roots = roots
    found.interval = 600  # polls so rarely that only the kernel can have told
    async with running(found) as frame:
        await frame.says("vfio-12", Health.HEALTHY)
        os.unlink(roots.dev / "vfio/12")
        await frame.says("vfio-12", Health.UNHEALTHY, "is missing", seconds=2)
        node(roots.dev / "vfio/12")
        await frame.says("vfio-12", Health.HEALTHY, seconds=2)


def test_only_paths_below_dev_are_taken() -> None:
    with pytest.raises(InvalidInput, match="no path below /dev"):
        from_spec(Spec("nodes:/tmp/x", "nodes", ("/tmp/x",), {}))
    assert str(from_spec(Spec("", "nodes", ("/dev/accel*",), {}))) == "nodes:accel*"
