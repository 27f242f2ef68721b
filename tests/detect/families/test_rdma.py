"""RDMA adapters, as Documentation/ABI/stable/sysfs-class-infiniband lays them out."""

from pathlib import Path

import pytest

from podvitals.detect.detector import Device
from podvitals.detect.families.rdma import LONGEST_PAUSE, Rdma
from podvitals.detect.family import PCI
from podvitals.detect.inventory import listing
from podvitals.detect.signal import State, Unread
from tests.detect.families.tree import Tree, unreadable, values

NAME = "pci-0000-3b-00-0"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    at = tree.pci("0000:3b:00.0", "020700", driver="mlx5_core")
    tree.classed("infiniband", "mlx5_0", at, node_guid="0c42:a103:0065:2f1c", fw_ver="28.39.1002", board_id="MT_0000000838")
    tree.classed("infiniband", "rxe0", tree.sys / "devices/virtual")
    for name in ("mlx5_0", "rxe0"):
        port = port_of(tree, name)
        tree.write(port, state="4: ACTIVE", phys_state="5: LinkUp", link_layer="InfiniBand", rate="400 Gb/sec (4X NDR)")
        tree.write(port / "counters", link_downed=0, symbol_error=3, link_error_recovery=0, port_xmit_data=12345)
        tree.write(port / "counters", excessive_buffer_overrun_errors=0, local_link_integrity_errors=0, port_rcv_errors=0)
        tree.write(port / "hw_counters", lifespan=10, rnr_nak_retry_err=0, out_of_sequence=9)
    return tree


def port_of(tree: Tree, name: str, port: int = 1) -> Path:
    return (tree.sys / "class/infiniband" / name).resolve() / "ports" / str(port)


def rdma(tree: Tree, *patterns: str) -> tuple[Rdma, dict[str, Device]]:
    found = Rdma(*patterns)
    found.roots = tree.roots
    return found, {device.name: device for device in found.find()}


def test_an_adapter_is_named_by_its_slot_or_by_the_kernel_s_name(tree: Tree) -> None:
    _, devices = rdma(tree)
    assert set(devices) == {NAME, "rxe0"}
    expected = {PCI: "0000:3b:00.0", "ibdev": "mlx5_0", "type": "ib", "guid": "0c42:a103:0065:2f1c", "firmware": "28.39.1002"}
    expected |= {"board": "MT_0000000838", "link": "InfiniBand", "rate": "400 Gb/sec (4X NDR)", "driver": "mlx5_core"}
    assert {name: devices[NAME].attributes[name] for name in expected} == expected
    assert not listing("rdma", devices.values()).problems
    assert set(rdma(tree, "mlx5_*")[1]) == {NAME}


def test_a_look_between_checks_reads_no_counters(tree: Tree) -> None:
    """They may flood the log, and how seldom they are asked for is counted in checks."""
    found, devices = rdma(tree)
    unreadable(port_of(tree, "mlx5_0") / "counters/symbol_error")
    assert values(list(found.glance(devices[NAME]))) == {
        "rdma.presence": "present",
        "rdma.state[1]": "ACTIVE",
        "rdma.phys_state[1]": "LinkUp",
    }


def test_a_good_port_says_what_it_is(tree: Tree) -> None:
    found, devices = rdma(tree)
    counts = {"link_downed": 0, "symbol_error": 3, "link_error_recovery": 0, "excessive_buffer_overrun_errors": 0}
    counts |= {"local_link_integrity_errors": 0, "port_rcv_errors": 0, "rnr_nak_retry_err": 0, "out_of_sequence": 9}
    assert values(list(found.read(devices[NAME]))) == {
        "rdma.presence": "present",
        "rdma.state[1]": "ACTIVE",
        "rdma.phys_state[1]": "LinkUp",
        **{f"rdma.{name}[1]": value for name, value in counts.items()},
    }


def test_each_port_is_told_by_itself(tree: Tree) -> None:
    tree.write(port_of(tree, "mlx5_0", 2), state="1: DOWN", phys_state="3: Disabled")
    found, devices = rdma(tree)
    said = values(list(found.read(devices[NAME])))
    assert (said["rdma.state[1]"], said["rdma.state[2]"], said["rdma.phys_state[2]"]) == ("ACTIVE", "DOWN", "Disabled")


@pytest.mark.parametrize(("failing", "again"), [(1, 2), (3, 3), (11, 9), (200, LONGEST_PAUSE + 1)])
def test_counters_that_may_not_be_read_are_asked_for_ever_more_rarely(tree: Tree, failing: int, again: int) -> None:
    found, devices = rdma(tree)
    path = port_of(tree, "mlx5_0") / "hw_counters/rnr_nak_retry_err"
    unreadable(path)
    for _ in range(failing):
        said = values(list(found.read(devices[NAME])))
        assert str(said["rdma.hw_counters[1]"]).endswith("Too many levels of symbolic links")
        assert said["rdma.state[1]"] == "ACTIVE"
    path.unlink()
    rounds = 1
    while "rdma.hw_counters[1]" in values(list(found.read(devices[NAME]))):
        rounds += 1
    assert rounds == again
    assert values(list(found.read(devices[NAME])))["rdma.out_of_sequence[1]"] == 9


def test_an_adapter_that_left_is_gone_also_when_another_gets_its_name(tree: Tree) -> None:
    found, devices = rdma(tree)
    (tree.sys / "class/infiniband/mlx5_0").unlink()
    tree.classed("infiniband", "mlx5_0", tree.pci("0000:86:00.0", "020700", driver="mlx5_core"), ports__1__state="4: ACTIVE")
    assert list(found.read(devices[NAME])) == [State("rdma.presence", "gone")]


def test_a_part_of_an_adapter_does_not_take_its_name(tree: Tree) -> None:
    """A subfunction (mlx5_core.sf.2) sits behind the same PCI address, and may be listed before the adapter itself."""
    part = tree.sys / "bus/pci/devices/0000:3b:00.0" / "mlx5_core.sf.2"
    tree.classed("infiniband", "ibp0", part.resolve(), ports__1__state="4: ACTIVE")
    _, devices = rdma(tree)
    assert {name: device.handle for name, device in devices.items()} == {NAME: "mlx5_0", f"{NAME}-ibp0": "ibp0", "rxe0": "rxe0"}


def test_an_adapter_that_left_is_gone_and_an_unmounted_sysfs_is_not(tree: Tree) -> None:
    found, devices = rdma(tree)
    (tree.sys / "class/infiniband/mlx5_0").unlink()
    assert list(found.read(devices[NAME])) == [State("rdma.presence", "gone")]
    (tree.sys / "class/infiniband").rename(tree.sys / "away")
    (said,) = found.read(devices[NAME])
    assert isinstance(said, Unread)
    assert Rdma.available(tree.roots) == f"{tree.sys}/class/infiniband is not there"
