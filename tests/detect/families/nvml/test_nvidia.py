"""NVIDIA's GPUs: the real nvidia-ml-py on a library that follows a script: its ctypes, its structures, its waits."""

import asyncio
import ctypes
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from podvitals.detect.detector import Device, Unreadable, Version
from podvitals.detect.families.nvidia import Nvidia, Place
from podvitals.detect.families.nvml import Nvml
from podvitals.detect.family import PCI
from podvitals.detect.inventory import listing
from podvitals.detect.signal import Code, Signal, State, Unread
from tests.detect.families.nvml.fake import RECOVERY, Script, h100, requires_cc
from tests.detect.families.tree import Tree, values

pytestmark = requires_cc
GPU, OTHER = "pci-0000-3b-00-0", "pci-0000-86-00-0"

MIG: dict[str, object] = {
    "mig_mode": 1,
    "mig.memory": 10737418240,
    **{f"mig.{i}.instance": f"{gi} 0" for i, gi in ((0, 7), (1, 9))},
    **{f"mig.{i}.uuid": f"MIG-{i}" for i in range(2)},
    **{f"mig.{i}.name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb" for i in range(2)},
}


@pytest.fixture
def script(tmp_path: Path, fake_nvml: ctypes.CDLL) -> Script:
    script = Script(tmp_path / "script", fake_nvml)
    script.say(driver="580.65.06", gpus=2)
    script.gpu(0, h100(0, "3b"))
    script.gpu(1, h100(1, "86"))
    return script


@pytest.fixture
def nvidia(tmp_path: Path, script: Script) -> Iterator[Nvidia]:
    tree = Tree(tmp_path / "root")
    tree.pci("0000:3b:00.0", "030200", driver="nvidia", numa_node=1)
    nvml = Nvml()
    nvidia = Nvidia(nvml=nvml)
    nvidia.roots = tree.roots
    list(nvidia.find())
    yield nvidia
    nvml.stop()


def read(nvidia: Nvidia, name: str = GPU) -> dict[str, object]:
    return values(list(nvidia.read(Device(name))))


def test_gpus_are_named_by_their_address_and_say_what_they_are(nvidia: Nvidia) -> None:
    devices = {device.name: device for device in nvidia.find()}
    assert set(devices) == {GPU, OTHER}
    gpu = devices[GPU]
    assert gpu.attributes == {
        PCI: "0000:3b:00.0",
        "resource.kubernetes.io/pcieRoot": "pci0000:3b",
        "resource.kubernetes.io/numaNode": 1,
        "vendor": "8086",
        "device": "1234",
        "driver": "nvidia",
        "type": "gpu",
        "productName": "NVIDIA H100 80GB HBM3",
        "uuid": "GPU-00000000-aaaa-bbbb-cccc-0123456789ab",
        "serial": "1651023000000",
        "driverVersion": "580.65.6",
        "cudaComputeCapability": "9.0.0",
    }
    assert isinstance(gpu.attributes["driverVersion"], Version)
    assert gpu.capacity == {"memory": 85520809984}
    assert not listing("nvidia", devices.values()).problems


def test_a_good_gpu_says_what_it_is(nvidia: Nvidia) -> None:
    links = {f"nvidia.nvlink[{link}]": "up" for link in range(4)}
    counts = {f"nvidia.nvlink_errors[{link}]": 0 for link in range(4)}
    health = {f"nvidia.fabric_health[{part}]": "no" for part in ("bandwidth", "route-recovery", "route-unhealthy", "access-timeout")}
    slow = {"nvidia.thermal_slowdown": "no", "nvidia.power_brake": "no"}
    assert read(nvidia) == {
        "nvidia.presence": "present",
        "nvidia.recovery": "none",
        "nvidia.ecc_uncorrected": 0,
        "nvidia.ecc_corrected": 0,
        "nvidia.ecc_uncorrected_total": 0,
        "nvidia.remapped_correctable": 0,
        "nvidia.remapped_uncorrectable": 0,
        "nvidia.remap_pending": "no",
        "nvidia.remap_failed": "no",
        "nvidia.pcie_replay": 0,
        "nvidia.link_width": 16,
        "nvidia.max_link_width": 16,
        "nvidia.fabric": "completed",
        **links,
        **counts,
        **health,
        **slow,
    }


@pytest.mark.parametrize(
    ("words", "signals"),
    [
        ({"recovery_action": 1}, {"nvidia.recovery": "reset"}),
        ({"recovery_action": 2}, {"nvidia.recovery": "reboot"}),
        ({"recovery_action": 9}, {"nvidia.recovery": "unknown-9"}),
        ({"ecc_uncorrected": 3}, {"nvidia.ecc_uncorrected": 3}),
        ({"remapped": "2 1 1 0"}, {"nvidia.remapped_correctable": 2, "nvidia.remapped_uncorrectable": 1, "nvidia.remap_pending": "yes"}),
        ({"remapped": "8 8 0 1"}, {"nvidia.remap_failed": "yes"}),
        ({"retired_pending": 1}, {"nvidia.retired_pending": "yes"}),
        ({"reasons": "0x40"}, {"nvidia.thermal_slowdown": "yes", "nvidia.power_brake": "no"}),
        ({"reasons": "0x84"}, {"nvidia.power_brake": "yes", "nvidia.thermal_slowdown": "no"}),
        ({"reasons": None, "throttle_reasons": "0x20"}, {"nvidia.thermal_slowdown": "yes"}),
        ({"replay": 70}, {"nvidia.pcie_replay": 70}),
        ({"width": 8}, {"nvidia.link_width": 8, "nvidia.max_link_width": 16}),
        ({"field.163.2": 2**40, "field.161.2": 1}, {"nvidia.nvlink_errors[2]": 2**40 + 1, "nvidia.nvlink_errors[1]": 0}),
        ({"fabric": "2 0 0"}, {"nvidia.fabric": "in-progress"}),
        ({"fabric": "3 999 0"}, {"nvidia.fabric": "failed: Unknown Error"}),
        ({"fabric": "3 0 0x1a9"}, {"nvidia.fabric_health[bandwidth]": "yes", "nvidia.fabric_health[configuration]": "no"}),
        ({"fabric": "3 0 0x5aa"}, {"nvidia.fabric_health[bandwidth]": "no", "nvidia.fabric_health[configuration]": "yes"}),
    ],
)
def test_what_nvml_answers_is_told_as_it_is(nvidia: Nvidia, script: Script, words: dict[str, object], signals: dict[str, object]) -> None:
    script.gpu(0, words)
    assert {name: value for name, value in read(nvidia).items() if name in signals} == signals


def test_a_value_of_32_bits_is_not_taken_for_one_of_64(nvidia: Nvidia, script: Script) -> None:
    # The library leaves the upper half of the union as it was.
    script.gpu(0, {"recovery_action": 1})
    assert read(nvidia)["nvidia.recovery"] == "reset"


def test_what_an_older_driver_or_a_smaller_gpu_has_not_got_is_no_signal(nvidia: Nvidia, script: Script) -> None:
    script.gpu(0, {word: None for word in h100(0, "3b") if word != "pci"})
    assert read(nvidia) == {"nvidia.presence": "present"}


def test_a_call_that_fails_is_unread_and_nothing_else_is_lost(nvidia: Nvidia, script: Script) -> None:
    script.fail("nvmlDeviceGetTotalEccErrors", 999)
    said = read(nvidia)
    assert said["nvidia.ecc_uncorrected"] == "unread: Unknown Error"
    assert said["nvidia.recovery"] == "none"
    assert read(nvidia)["nvidia.pcie_replay"] == 0


def test_a_lost_gpu_is_that_gpu_s_fault_alone(nvidia: Nvidia, script: Script) -> None:
    script.gpu(0, {"lost": 1})
    assert read(nvidia) == {"nvidia.presence": "lost"}
    assert read(nvidia, OTHER)["nvidia.presence"] == "present"
    assert {device.name for device in nvidia.find()} == {GPU, OTHER}, "it stays listed"


def test_a_gpu_that_was_lost_before_anybody_looked_is_found_on_the_bus(tmp_path: Path, script: Script) -> None:
    script.gpu(0, {"lost": 1})
    script.gpu(1, MIG)
    tree = Tree(tmp_path / "late")
    for address, driver in (("0000:3b:00.0", "nvidia"), ("0000:86:00.0", "nvidia"), ("0000:90:00.0", "vfio-pci")):
        tree.write(tree.pci(address, "030200", driver=driver), vendor="0x10de")
    nvidia = Nvidia()
    nvidia.roots = tree.roots
    assert {device.name for device in nvidia.find()} == {GPU, f"{OTHER}-mig-7-0", f"{OTHER}-mig-9-0"}
    assert read(nvidia) == {"nvidia.presence": "lost"}
    script.gpu(0, {"lost": None})
    (gpu,) = (device for device in nvidia.find() if device.name == GPU)
    assert gpu.attributes["productName"] == "NVIDIA H100 80GB HBM3"


def test_a_gpu_lost_in_the_middle_of_a_reading_is_lost(nvidia: Nvidia, script: Script) -> None:
    script.gpu(0, {"fail.nvmlDeviceGetPcieReplayCounter": 15})
    assert read(nvidia) == {"nvidia.presence": "lost"}


def test_a_gpu_that_wants_a_reset_says_so(nvidia: Nvidia, script: Script) -> None:
    script.fail("nvmlDeviceGetHandleByPciBusId_v2", 16)
    assert read(nvidia) == {"nvidia.presence": "present", "nvidia.reset_required": "yes"}


def test_a_gpu_that_nvml_lists_no_more_is_unread_not_broken(nvidia: Nvidia, script: Script) -> None:
    script.gpu(0, {"pci": None})
    assert list(nvidia.read(Device(GPU))) == [Unread("nvidia.presence", "NVML does not list this GPU")]


def life(nvidia: Nvidia, name: str = GPU) -> list[str]:
    return [said.code for said in nvidia.read(Device(name)) if isinstance(said, Code) and said.table == "life"]


def test_a_driver_that_asked_for_a_recovery_and_asks_no_more_tells_of_a_reset(nvidia: Nvidia, script: Script) -> None:
    assert life(nvidia) == []
    script.gpu(0, {"recovery_action": 1})
    assert life(nvidia) == []
    script.gpu(0, {"recovery_action": 0})
    assert life(nvidia, OTHER) == []
    assert life(nvidia) == ["reset"]
    assert life(nvidia) == [], "told once"


def test_a_driver_that_was_loaded_anew_tells_of_a_reset_also_after_a_restart(nvidia: Nvidia) -> None:
    module = nvidia.roots.sys / "module/nvidia"
    module.mkdir(parents=True)
    assert life(nvidia) == []
    after, rebooted = Nvidia(), Nvidia()
    for other, same_boot in ((after, True), (rebooted, False)):
        other.roots = nvidia.roots
        other.recall(nvidia.remember(), same_boot=same_boot)
        list(other.find())
    module.rename(module.with_name("gone"))
    module.mkdir()
    assert (life(nvidia), life(after), life(rebooted)) == (["reset"], ["reset"], [])
    assert life(nvidia) == [], "told once"


def test_a_link_that_was_never_up_is_off_and_one_that_was_is_down_also_after_a_restart(nvidia: Nvidia, script: Script) -> None:
    script.gpu(0, {"link.3": 0})
    assert read(nvidia)["nvidia.nvlink[3]"] == "off"
    script.gpu(0, {"link.2": 0})
    assert read(nvidia)["nvidia.nvlink[2]"] == "down"
    after = Nvidia()
    after.recall(nvidia.remember(), same_boot=False)
    list(after.find())
    said = values(list(after.read(Device(GPU))))
    assert (said["nvidia.nvlink[1]"], said["nvidia.nvlink[2]"], said["nvidia.nvlink[3]"]) == ("up", "down", "off")
    assert "nvidia.nvlink_errors[2]" not in said, "its counters are not asked for"


def test_an_error_of_one_call_fails_the_probe_and_does_not_start_nvml_anew(nvidia: Nvidia, script: Script) -> None:
    script.fail("nvmlInitWithFlags", 9)
    script.fail("nvmlDeviceGetHandleByPciBusId_v2", 999)
    with pytest.raises(Unreadable, match="Unknown Error"):
        nvidia.read(Device(GPU))
    script.fail("nvmlDeviceGetHandleByPciBusId_v2", None)
    assert read(nvidia)["nvidia.presence"] == "present"


async def test_who_waits_for_events_begins_again_when_nvml_was_started_anew(nvidia: Nvidia, script: Script) -> None:
    async with aclosing(nvidia.listen()) as pushed:  # type: ignore[type-var]
        for _ in range(2):
            await anext(pushed)
        script.fail("nvmlDeviceGetHandleByPciBusId_v2", 1)
        with pytest.raises(Unreadable):
            await asyncio.to_thread(nvidia.read, Device(GPU))
        script.fail("nvmlDeviceGetHandleByPciBusId_v2", None)
        with pytest.raises(Unreadable, match="started anew"):
            async with asyncio.timeout(10):
                await anext(pushed)
    script.event(1, xid=31)
    assert [said.code for _, said in await heard(nvidia, 3) if isinstance(said, Code)] == ["31"]


def test_an_unloaded_driver_fails_the_probe_and_a_new_one_is_found(nvidia: Nvidia, script: Script) -> None:
    script.fail("nvmlDeviceGetHandleByPciBusId_v2", 1)
    with pytest.raises(Unreadable, match="Uninitialized"):
        nvidia.read(Device(GPU))
    script.fail("nvmlInitWithFlags", 9)
    with pytest.raises(Unreadable, match="NVML cannot be used: Driver Not Loaded"):
        nvidia.read(Device(GPU))
    script.fail("nvmlInitWithFlags", None)
    script.fail("nvmlDeviceGetHandleByPciBusId_v2", None)
    assert read(nvidia)["nvidia.presence"] == "present"


@pytest.fixture
def pieces(tmp_path: Path, script: Script) -> Nvidia:
    script.gpu(0, MIG)
    nvidia = Nvidia()
    nvidia.roots = Tree(tmp_path / "pieces").roots
    list(nvidia.find())
    return nvidia


def test_a_gpu_in_mig_mode_is_listed_by_its_pieces(pieces: Nvidia) -> None:
    devices = {device.name: device for device in pieces.find()}
    assert set(devices) == {f"{GPU}-mig-7-0", f"{GPU}-mig-9-0", OTHER}
    piece = devices[f"{GPU}-mig-7-0"]
    assert (piece.attributes["type"], piece.attributes["profile"], piece.attributes["uuid"]) == ("mig", "1g.10gb", "MIG-0")
    assert piece.attributes["parentUUID"] == "GPU-00000000-aaaa-bbbb-cccc-0123456789ab"
    assert piece.attributes[PCI] == "0000:3b:00.0"
    assert piece.capacity == {"memory": 10737418240}
    assert not listing("nvidia", devices.values()).problems


def test_a_fault_of_the_gpu_reaches_every_mig_device_on_it(pieces: Nvidia, script: Script) -> None:
    script.gpu(0, {"lost": 1})
    for name in (f"{GPU}-mig-7-0", f"{GPU}-mig-9-0"):
        assert read(pieces, name) == {"nvidia.presence": "lost"}
    assert read(pieces, OTHER)["nvidia.presence"] == "present"


def test_a_mig_device_that_was_taken_apart_is_unread(pieces: Nvidia, script: Script) -> None:
    script.gpu(0, {"mig.1.instance": None})
    assert read(pieces, f"{GPU}-mig-9-0")["nvidia.mig"] == "unread: the GPU has no such MIG device any more"
    assert "nvidia.mig" not in read(pieces, f"{GPU}-mig-7-0")


async def heard(nvidia: Nvidia, count: int) -> list[tuple[str, Signal]]:
    found = []
    async with aclosing(nvidia.listen()) as pushed:  # type: ignore[type-var]
        async for told in pushed:
            found.append(told)
            if len(found) == count:
                return found
    raise AssertionError(f"it ended after {found}")


async def test_an_xid_is_pushed_with_what_it_takes_to_recover(nvidia: Nvidia, script: Script) -> None:
    script.gpu(0, {"recovery_action": 2})
    script.event(0, xid=79)
    told = await heard(nvidia, 4)
    none, reboot = (State("nvidia.recovery", action) for action in ("none", "reboot"))
    # After registering, what came before it is asked for: the recovery action of each GPU.
    assert told == [(GPU, reboot), (OTHER, none), (GPU, Code("xid", "79", params=(("by", "nvml"), ("pci", "0000:3b:00.0")))), (GPU, reboot)]


async def test_what_befell_a_gpu_before_anybody_registered_for_events_is_told_all_the_same(nvidia: Nvidia, script: Script) -> None:
    """NVML keeps no event for later: once registered, what the driver asks for is read."""
    script.gpu(1, {"recovery_action": 1})
    assert await heard(nvidia, 2) == [(GPU, State("nvidia.recovery", "none")), (OTHER, State("nvidia.recovery", "reset"))]


async def test_a_changed_recovery_action_is_pushed_without_an_xid(nvidia: Nvidia, script: Script) -> None:
    script.event(1, xid=0, kind=RECOVERY)
    assert (await heard(nvidia, 3))[-1] == (OTHER, State("nvidia.recovery", "none"))


async def test_an_event_of_one_mig_device_is_its_own_and_one_of_the_gpu_is_everybody_s(pieces: Nvidia, script: Script) -> None:
    script.gpu(0, {"recovery_action": None})
    script.gpu(1, {"recovery_action": None})
    script.event(0, xid=94, gi="7", ci="0")
    script.event(0, xid=48)
    script.event(0, xid=13, gi="b", ci="0")
    told = [(name, said.code) for name, said in await heard(pieces, 5) if isinstance(said, Code)]
    assert told[:3] == [(f"{GPU}-mig-7-0", "94"), (f"{GPU}-mig-7-0", "48"), (f"{GPU}-mig-9-0", "48")]
    # Of an instance nobody knows: better told to all on the GPU than to nobody.
    assert told[3:] == [(f"{GPU}-mig-7-0", "13"), (f"{GPU}-mig-9-0", "13")]


async def test_a_wait_that_fails_is_the_probe_s_failure_and_no_gpu_s(nvidia: Nvidia, script: Script) -> None:
    script.fail("nvmlEventSetWait_v2", 999)
    with pytest.raises(Exception, match="Unknown Error"):
        await heard(nvidia, 3)
    script.fail("nvmlEventSetWait_v2", None)
    script.event(1, xid=31)
    assert (await heard(nvidia, 3))[-1][0] == OTHER


async def test_a_gpu_that_is_lost_from_the_beginning_keeps_no_other_from_being_heard(nvidia: Nvidia, script: Script) -> None:
    script.gpu(0, {"lost": 1})
    script.event(1, xid=62)
    told = await heard(nvidia, 2)
    assert [(name, said.code) for name, said in told if isinstance(said, Code)] == [(OTHER, "62")]


def test_a_place_hears_what_is_about_it() -> None:
    whole, piece = Place("0000:3b:00.0"), Place("0000:3b:00.0", (7, 0))
    nobody = 0xFFFFFFFF
    assert whole.hears((7, 0))
    assert piece.hears((nobody, nobody))
    assert piece.hears((7, nobody))
    assert piece.hears((7, 0))
    assert not piece.hears((7, 1))
    assert not piece.hears((8, 0))


def test_patterns_choose_gpus(script: Script) -> None:
    for patterns, names in ((("0000:86:*",), {OTHER}), (("pci-0000-3b*",), {GPU}), (("mig",), set())):
        assert {device.name for device in Nvidia(*patterns).find()} == names


def test_the_family_says_what_is_missing(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert Nvidia.available(tree.roots) == "NVIDIA's driver is not loaded"
    tree.write(tree.proc / "driver/nvidia", version="NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06")
    assert Nvidia.available(tree.roots) == ""
