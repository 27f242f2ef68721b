"""Families that the kernel nudges: a look at once, a bound on how many, and none that waits for one that hangs."""

import threading
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect import uevents
from podvitals.detect.detector import Device
from podvitals.detect.families.block import Block
from podvitals.detect.families.hwmon import Hwmon
from podvitals.detect.families.intel import Intel
from podvitals.detect.families.nvme import Nvme
from podvitals.detect.families.pcie import Pcie
from podvitals.detect.families.rdma import Rdma
from podvitals.detect.family import Family
from podvitals.detect.nudged import Nudged, Nudges
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Signal, State, Unread
from podvitals.device.health import Health
from tests.detect import kernel_says
from tests.detect.families.loops import make_loop, remove_loop, requires_loop
from tests.detect.families.tree import Tree, aer
from tests.detect.kernel_says import requires_uevents
from tests.detect.kit import running

GPU, NIC = "0000:3b:00.0", "0000:86:00.0"
NEVER = 600.0
"""Seconds between checks: only the kernel can have told."""


def slow(family: Family, roots: Roots) -> Family:
    family.roots, family.interval = roots, NEVER
    return family


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    for address, kind in ((GPU, "030200"), (NIC, "020000")):
        at = tree.pci(address, kind, driver="xe", config=b"\xde\x10", vendor="0x8086")
        tree.write(at, aer_dev_fatal=aer("TOTAL_ERR_FATAL", 0), aer_dev_nonfatal=aer("TOTAL_ERR_NONFATAL", 0))
    return tree


def about(action: str, address: str = GPU, **keys: str) -> None:
    kernel_says.say(action, f"/devices/pci{address[:7]}/{address}", "pci", PCI_SLOT_NAME=address, **keys)


@requires_uevents
async def test_a_device_that_leaves_the_bus_is_told_at_once_and_heals_at_once(tree: Tree) -> None:
    async with running(slow(Pcie(), tree.roots)) as frame:
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY)
        link = tree.sys / "bus/pci/devices" / GPU
        real = link.resolve()
        link.unlink()
        about("remove")
        await frame.says("pci-0000-3b-00-0", Health.UNHEALTHY, f"device left the bus (PCI {GPU})", seconds=2)
        await frame.says("pci-0000-86-00-0", Health.HEALTHY)
        link.symlink_to(real)
        about("add")
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY, seconds=2)


@requires_uevents
async def test_a_driver_that_is_unbound_is_told_at_once(tree: Tree) -> None:
    async with running(slow(Pcie(), tree.roots)) as frame:
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY)
        (tree.sys / "bus/pci/devices" / GPU / "driver").unlink()
        about("unbind")
        await frame.says("pci-0000-3b-00-0", Health.UNKNOWN, "no driver is bound", seconds=2)


@requires_uevents
async def test_an_error_from_which_the_kernel_recovers_is_counted_at_once(tree: Tree) -> None:
    async with running(slow(Pcie(), tree.roots)) as frame:
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY)
        tree.write(tree.sys / "bus/pci/devices" / GPU, aer_dev_nonfatal=aer("TOTAL_ERR_NONFATAL", 1))
        about("change", ERROR_EVENT="BEGIN_RECOVERY", DEVICE_ONLINE="0")
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY, "uncorrectable PCIe errors, not fatal (AER)", seconds=2)
        about("change", ERROR_EVENT="FAILED_RECOVERY", DEVICE_ONLINE="0")
        verdict = await frame.says("pci-0000-3b-00-0", Health.UNHEALTHY, "the kernel could not recover the device", seconds=2)
        assert verdict.action == "reset-gpu"


@requires_uevents
async def test_a_uevent_about_a_device_that_is_well_changes_nothing(tree: Tree) -> None:
    """It is a nudge: what is seen counts, whoever says that the device was removed."""
    async with running(slow(Pcie(), tree.roots)) as frame:
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY)
        about("remove")
        tree.write(tree.sys / "bus/pci/devices" / NIC, enable=0)
        about("change", NIC)
        await frame.says("pci-0000-86-00-0", Health.UNKNOWN, seconds=2)  # it came later, and was told
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY)


@requires_uevents
async def test_a_gpu_that_its_driver_gave_up_is_unhealthy_until_the_driver_is_bound_anew(tree: Tree) -> None:
    cards = tree.sys / "bus/pci/devices" / GPU / "drm"
    cards.mkdir()
    card = f"/devices/pci0000:3b/{GPU}/drm/card0"
    async with running(slow(Intel(), tree.roots)) as frame:
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY)
        kernel_says.say("change", card, "drm", WEDGED="rebind,bus-reset")
        verdict = await frame.says("pci-0000-3b-00-0", Health.UNHEALTHY, f"the driver gave the GPU up (wedged) (PCI {GPU})", seconds=2)
        assert verdict.action == "reset-gpu"
        cards.rename(cards.with_name("old"))
        cards.mkdir()
        kernel_says.say("add", card, "drm")
        await frame.says("pci-0000-3b-00-0", Health.HEALTHY, seconds=2)


@requires_uevents
async def test_an_nvme_controller_and_an_adapter_that_go_are_told_at_once(tree: Tree) -> None:
    tree.classed("nvme", "nvme7", tree.pci("0000:5e:00.0", "010802", driver="nvme"), state="live")
    tree.classed("infiniband", "mlx5_7", tree.pci("0000:60:00.0", "020700", driver="mlx5_core"), ports__1__state="4: ACTIVE")
    async with running(slow(Nvme(), tree.roots), slow(Rdma(), tree.roots)) as frame:
        await frame.says("pci-0000-5e-00-0", Health.HEALTHY)
        await frame.says("pci-0000-60-00-0", Health.HEALTHY)
        for kind, name, device in (("nvme", "nvme7", "pci-0000-5e-00-0"), ("infiniband", "mlx5_7", "pci-0000-60-00-0")):
            (tree.sys / "class" / kind / name).unlink()
            kernel_says.say("remove", f"/devices/pci0000:5e/x/{kind}/{name}", kind)
            await frame.says(device, Health.UNHEALTHY, "is gone", seconds=2)


@requires_uevents
async def test_a_sensor_that_raises_its_alarm_is_read_at_once(tree: Tree) -> None:
    chip = tree.classed("hwmon", "hwmon7", tree.sys / "devices/platform/toy.0", name="toy", temp1_input=40000, temp1_emergency=90000)
    async with running(slow(Hwmon(), tree.roots)) as frame:
        await frame.says("toy-0", Health.HEALTHY)
        tree.write(chip, temp1_input=91000)
        kernel_says.say("change", "/devices/platform/toy.0/hwmon/hwmon7", "hwmon", NAME="temp1_emergency_alarm")
        await frame.says("toy-0", Health.UNHEALTHY, "temp1 is beyond its emergency limit of 90 °C", seconds=2)


@requires_loop
async def test_a_real_disk_that_is_taken_away_is_told_at_once_and_heals_when_it_is_back() -> None:
    """Nothing here is made up: the kernel removes the disk, and says so itself."""
    name = make_loop()
    try:
        async with running(slow(Block(name), Roots())) as frame:
            await frame.says(name, Health.HEALTHY)
            remove_loop(name)
            await frame.says(name, Health.UNHEALTHY, "disk is gone", seconds=2)
            make_loop(name)
            await frame.says(name, Health.HEALTHY, seconds=2)
    finally:
        remove_loop(name)


class Toys(Nudged):
    """Devices a, b and c; `hangs` names one of which no look returns before `free` is set."""

    family, about, needs = "toy", "toys", "nothing"
    interval, timeout = NEVER, 0.2
    subsystems = ("podvitals",)

    def __init__(self) -> None:
        self.looks: list[str] = []
        self.hangs, self.free = "", threading.Event()

    def find(self) -> Iterable[Device]:
        return [Device(name) for name in "abc"]

    def read(self, device: Device) -> Iterable[Signal]:
        return [State("node.presence", "present")]

    def glance(self, device: Device) -> Iterable[Signal]:
        self.looks.append(device.name)
        if device.name == self.hangs:
            self.free.wait()
        return [State("node.presence", "missing")]


def nudge(name: str, subsystem: str = "podvitals") -> None:
    kernel_says.say("change", f"/devices/virtual/{name}", subsystem)


@requires_uevents
async def test_uevents_of_other_subsystems_are_not_about_a_device_of_the_same_name() -> None:
    async with running(Toys()) as frame:
        await frame.until(lambda: len(frame.schedule.verdicts) == 3)
        nudge("a", "others")
        nudge("b")
        await frame.says("b", Health.UNHEALTHY, seconds=2)
        await frame.says("a", Health.HEALTHY)


@requires_uevents
async def test_what_a_look_could_not_read_is_left_to_the_next_check_and_the_rest_is_told() -> None:
    """A check reads all, and so knows when a doubt is over; after a look nobody would."""

    class Doubtful(Toys):
        def glance(self, device: Device) -> Iterable[Signal]:
            if device.name == "b":
                raise OSError("Input/output error")
            return [Unread("node.kind", "Input/output error"), State("node.presence", "missing")]

    async with running(Doubtful()) as frame:
        await frame.until(lambda: len(frame.schedule.verdicts) == 3)
        for name in ("a", "b", "c"):
            nudge(name)
        for name in ("a", "c"):
            verdict = await frame.says(name, Health.UNHEALTHY, seconds=2)
            assert "cannot read" not in verdict.message
        await frame.says("b", Health.HEALTHY)


@requires_uevents
async def test_where_uevents_were_lost_every_device_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uevents, "_BUFFER", 4096)
    async with running(Toys()) as frame:
        await frame.until(lambda: len(frame.schedule.verdicts) == 3)
        for _ in range(200):  # more than fits, before anybody reads
            nudge("z")
        for name in "abc":
            await frame.says(name, Health.UNHEALTHY, seconds=2)


@requires_uevents
async def test_a_look_that_hangs_keeps_no_other_device_waiting_and_is_not_taken_twice() -> None:
    toys = Toys()
    toys.hangs = "a"
    try:
        async with running(toys) as frame:
            await frame.until(lambda: len(frame.schedule.verdicts) == 3)
            for name in ("a", "b"):
                nudge(name)
            await frame.says("b", Health.UNHEALTHY, seconds=2)
            for name in ("a", "c"):
                nudge(name)
            await frame.says("c", Health.UNHEALTHY, seconds=2)
            await frame.says("a", Health.HEALTHY)
            assert toys.looks == ["a", "b", "c"]
    finally:
        toys.free.set()


async def test_where_the_kernel_tells_nobody_devices_are_checked_all_the_same_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uevents, "NETLINK_KOBJECT_UEVENT", 4242)
    async with running(Toys()) as frame:
        await frame.says("a", Health.HEALTHY)
        await frame.until(lambda: bool(caplog.records))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == (
        "toy: watch() failed: the kernel's uevents cannot be heard (Protocol not supported): what changes is seen at the next check, "
        "within 600 s"
    )


def test_a_device_is_looked_at_at_once_and_then_none_more_often_than_each_rest() -> None:
    nudges = Nudges(0.25)
    for now in (10.0, 10.125):
        nudges.add("a", now)
    assert (nudges.take(10.125), nudges.next()) == (["a"], None)
    nudges.add("a", 10.25)
    nudges.add("b", 10.25)
    assert (nudges.take(10.25), nudges.next()) == (["b"], 10.375)
    assert nudges.take(10.375) == ["a"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 0.1)), max_size=60))
def test_no_nudge_is_forgotten_and_no_device_is_looked_at_too_often(told: list[tuple[str, float]]) -> None:
    nudges, now = Nudges(0.2), 0.0
    looked: dict[str, list[float]] = {name: [] for name in "abc"}
    last: dict[str, float] = {}

    def look() -> None:
        for name in nudges.take(now):
            looked[name].append(now)

    for name, pause in told:
        until = now + pause
        while (due := nudges.next()) is not None and due <= until:
            now = max(now, due)
            look()
        now = until
        nudges.add(name, now)
        last[name] = now
        look()
    while (due := nudges.next()) is not None:
        now = due
        look()
    for name, times in looked.items():
        assert all(later >= earlier + 0.2 for earlier, later in pairwise(times))
        assert name not in last or last[name] <= times[-1] <= last[name] + 0.2
