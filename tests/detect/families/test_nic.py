"""How well links do: trees, and real interfaces (veth pairs)."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from podvitals.detect import rtnetlink
from podvitals.detect.detector import Device
from podvitals.detect.families import ethtool
from podvitals.detect.families.nic import Nic
from podvitals.detect.family import PCI
from podvitals.detect.inventory import listing
from podvitals.detect.roots import Roots
from podvitals.detect.rtnetlink import Link
from podvitals.detect.signal import State, Unread
from podvitals.device.health import Health
from tests.detect import veth
from tests.detect.families.tree import Tree, unreadable, values
from tests.detect.kit import running
from tests.detect.veth import requires_veth
from tests.roots import requires


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    at = tree.pci("0000:3b:00.0", "020000", driver="mlx5_core")
    nic = tree.classed("net", "eth0", at, carrier_changes=2, speed=25000, flags="0x1003", operstate="up", carrier=1)
    tree.write(nic / "statistics", rx_crc_errors=0, rx_frame_errors=0, rx_missed_errors=4, tx_carrier_errors=0)
    tree.classed("net", "br0", tree.sys / "devices/virtual", carrier_changes=1, flags="0x1003", operstate="up", carrier=1)
    (tree.sys / "class/net/br0/device").unlink()
    return tree


def nics(tree: Tree, *patterns: str) -> tuple[Nic, dict[str, Device]]:
    nic = Nic(*patterns)
    nic.roots = tree.roots
    return nic, {device.name: device for device in nic.find()}


def test_without_a_pattern_only_hardware_is_looked_at(tree: Tree) -> None:
    nic, devices = nics(tree)
    assert set(devices) == {"eth0"}
    assert devices["eth0"].attributes[PCI] == "0000:3b:00.0"
    assert not listing("nic", devices.values()).problems
    assert set(nics(tree, "*")[1]) == {"eth0", "br0"}
    assert values(list(nic.read(devices["eth0"]))) == {
        "net.presence": "present",
        "net.admin": "up",
        "net.carrier": "1",
        "net.operstate": "up",
        "net.carrier_changes": 2,
        "net.rx_crc_errors": 0,
        "net.rx_frame_errors": 0,
        "net.rx_missed_errors": 4,
        "net.tx_carrier_errors": 0,
        "net.speed": 25000,
    }


def test_a_port_that_was_never_up_is_only_expected_to_be_where_it_is_named(tree: Tree) -> None:
    at = tree.write(tree.sys / "class/net/eth0", carrier=0, operstate="down")
    nic, devices = nics(tree)
    assert "net.carrier" not in values(list(nic.read(devices["eth0"])))
    named, _ = nics(tree, "eth*")
    assert values(list(named.read(devices["eth0"])))["net.carrier"] == "0"
    tree.write(at, carrier=1, operstate="up")
    assert values(list(nic.read(devices["eth0"])))["net.carrier"] == "1"
    tree.write(at, carrier=0, operstate="down")
    assert values(list(nic.read(devices["eth0"])))["net.carrier"] == "0"
    after = Nic()
    after.roots = tree.roots
    after.recall(nic.remember(), same_boot=False)
    assert values(list(after.read(devices["eth0"])))["net.carrier"] == "0", "also after a restart"


@pytest.mark.parametrize(
    ("flags", "operstate", "carrier", "states"),
    [
        ("0x1003", "up", 1, ("up", "1", "up")),
        ("0x1003", "unknown", 1, ("up", "1", "unknown")),
        ("0x1002", "down", 0, ("down", "1", "unknown")),
        ("0x1003", "down", 0, ("up", "0", "unknown")),
        ("0x1003", "lowerlayerdown", 0, ("up", "0", "unknown")),
        ("0x1003", "dormant", 1, ("up", "1", "dormant")),
        ("0x1003", "notpresent", 1, ("up", "1", "notpresent")),
    ],
)
def test_of_what_is_wrong_with_a_link_the_nearest_cause_is_told(
    tree: Tree, flags: str, operstate: str, carrier: int, states: tuple[str, ...]
) -> None:
    nic, devices = nics(tree, "eth0")
    tree.write(tree.sys / "class/net/eth0", flags=flags, operstate=operstate, carrier=carrier)
    said = values(list(nic.read(devices["eth0"])))
    assert (said["net.admin"], said["net.carrier"], said["net.operstate"]) == states


async def test_a_change_that_is_several_signals_is_told_at_once(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was set down before: were "up" told by itself, the device would be healthy for a moment."""

    async def changes() -> AsyncGenerator[tuple[Link, ...], None]:
        for up in (False, True):
            yield (Link(3, "eth0", up, False, "down", False, 1500, "", ""),)

    nic = Nic("eth0")
    nic.roots = tree.roots
    assert [device.name for device in await asyncio.to_thread(nic.devices)] == ["eth0"]
    nic.roots = Roots()
    monkeypatch.setattr(rtnetlink, "changes", changes)
    assert [(reading.health, reading.message) async for _, reading in nic.watch()] == [
        (Health.UNHEALTHY, "interface eth0 is down: set down by an administrator"),
        (Health.UNHEALTHY, "interface eth0 is down: no carrier"),
    ]


@requires_veth
async def test_where_sysfs_is_mounted_elsewhere_a_change_makes_it_be_looked_at(tree: Tree) -> None:
    """As in a container, of which the host's is at another place; what stands there counts, not what this kernel says of a namesake."""
    with veth.pair("pe") as (name, peer):
        at = tree.classed("net", name, tree.sys / f"devices/virtual/{name}", flags="0x1003", operstate="up", carrier=1)
        nic = Nic(name)
        nic.roots, nic.interval = tree.roots, 600
        async with running(nic) as frame:
            await frame.says(name, Health.HEALTHY)
            tree.write(at, operstate="down", carrier=0)
            veth.set_mtu(peer, 1400)
            veth.set_mtu(name, 1400)
            await frame.says(name, Health.UNHEALTHY, f"interface {name} is down: no carrier", seconds=2)
            tree.write(at, operstate="up", carrier=1)
            veth.down(peer)
            await frame.says(name, Health.HEALTHY, seconds=2)


@requires_veth
async def test_a_real_carrier_loss_is_pushed_and_heals() -> None:
    with veth.pair("pd") as (name, peer):
        nic = Nic(name)
        nic.interval = 600  # polls so rarely that only the kernel can have told
        async with running(nic) as frame:
            await frame.says(name, Health.HEALTHY)
            veth.down(peer)
            await frame.says(name, Health.UNHEALTHY, f"interface {name} is down: no carrier", seconds=2)
            veth.up(peer)
            await frame.says(name, Health.HEALTHY)
            veth.down(name)
            verdict = await frame.says(name, Health.UNHEALTHY, f"interface {name} is down: set down by an administrator", seconds=2)
            assert "carrier" not in verdict.message
            veth.up(name)
            await frame.says(name, Health.HEALTHY)
            veth.remove(name)
            await frame.says(name, Health.UNHEALTHY, f"interface {name} does not exist", seconds=2)


def test_an_unknown_speed_is_no_signal_and_what_fails_is_unread(tree: Tree) -> None:
    nic, devices = nics(tree)
    at = tree.write(tree.sys / "class/net/eth0", speed=-1)
    unreadable(at / "carrier_changes")
    said = values(list(nic.read(devices["eth0"])))
    assert "net.speed" not in said
    assert str(said["net.carrier_changes"]).endswith("Too many levels of symbolic links")
    assert said["net.rx_missed_errors"] == 4


def test_an_interface_that_went_is_gone_and_an_unmounted_sysfs_is_not(tree: Tree) -> None:
    nic, devices = nics(tree)
    (tree.sys / "class/net/eth0").unlink()
    assert list(nic.read(devices["eth0"])) == [State("net.presence", "gone")]
    (tree.sys / "class/net").rename(tree.sys / "class/away")
    (said,) = nic.read(devices["eth0"])
    assert isinstance(said, Unread)


@requires_veth
def test_a_real_carrier_that_is_lost_and_comes_back_is_counted() -> None:
    with veth.pair("pe") as (name, peer):
        nic = Nic(name)
        (device,) = nic.find()
        before = values(list(nic.read(device)))["net.carrier_changes"]
        for _ in range(2):
            veth.down(peer)
            veth.up(peer)
        after = values(list(nic.read(device)))["net.carrier_changes"]
        assert isinstance(before, int)
        assert after == before + 4


@requires_veth
async def test_a_real_carrier_that_flaps_makes_its_device_degraded() -> None:
    with veth.pair("pf") as (name, peer):
        nic = Nic(name)
        nic.interval = 0.05
        async with running(nic) as frame:
            (device,) = frame.schedule.devices.values()
            # What is pushed may come before the first poll, which makes the counter's baseline.
            await asyncio.to_thread(nic.check, device)
            for _ in range(2):
                veth.down(peer)
                veth.up(peer)
            await frame.says(name, Health.HEALTHY, "changed 3 times or more in 10 minutes")


@requires_veth
def test_a_real_interface_that_was_removed_is_gone() -> None:
    with veth.pair("pg") as (name, _):
        nic = Nic("pg*")
        devices = {device.name: device for device in nic.find()}
        veth.remove(name)
        assert list(nic.read(devices[name])) == [State("net.presence", "gone")]
        assert name in {device.name for device in nic.find()}


@requires("/sys/class/net", Path("/sys/class/net").is_dir())
def test_the_real_interfaces_of_this_machine_are_read_without_a_false_alarm() -> None:
    nic = Nic("*")
    assert not Nic.available(Roots())
    devices = list(nic.find())
    assert not listing("nic", devices).problems
    for device in devices:
        said = list(nic.read(device))
        assert State("net.presence", "present") in said
        assert not [signal for signal in said if isinstance(signal, Unread)]


@requires_veth
def test_a_driver_that_has_no_link_modes_tells_no_greatest_speed() -> None:
    with veth.pair("ph") as (name, _):
        assert ethtool.best_speed(name) == 0
        assert ethtool.errors(name) == {}
    with pytest.raises(OSError, match="No such device"):
        ethtool.best_speed("pvnever0")


@pytest.mark.parametrize(
    ("bits", "speed"), [([], 0), ([6, 13], 0), ([5], 1000), ([5, 12], 10000), ([31, 6], 25000), ([39, 31], 100000), ([95], 800000)]
)
def test_the_fastest_link_mode_counts(bits: list[int], speed: int) -> None:
    assert ethtool.fastest(sum(1 << bit for bit in bits)) == speed


def test_a_link_is_measured_against_what_both_its_ends_can_do() -> None:
    ten, twenty_five, hundred = (1 << bit for bit in (12, 31, 36))
    low, high = (mask & 0xFFFFFFFF for mask in (ten | twenty_five | hundred, (ten | twenty_five | hundred) >> 32))
    assert ethtool.best_of([low, high, 0, 0, 0, 0]) == 100000, "the other end tells nothing"
    assert ethtool.best_of([low, high, 0, 0, ten | twenty_five & 0xFFFFFFFF, 0]) == 25000
    assert ethtool.best_of([0] * 6) == 0


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("rx_crc_errors_phy", True),
        ("rx_symbol_err_phy", True),
        ("rx_fcs_errors", True),
        ("fec_uncorrectable_errors", True),
        ("link_down_events_phy", True),
        ("rx_packets", False),
        ("rx_out_of_buffer", False),
        ("tx_queue_0_crc", False),
        ("rx3_discards_phy", False),
    ],
)
def test_only_errors_on_the_wire_are_taken_from_a_driver_s_statistics(name: str, wire: bool) -> None:
    assert ethtool.is_error(name) is wire
