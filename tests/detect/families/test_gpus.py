"""AMD's and Intel's GPUs, as the kernel documents their sysfs (Documentation/gpu/amdgpu/ras.rst, drivers/gpu/drm/{i915,xe})."""

import shutil
import struct
from pathlib import Path

import pytest

from podvitals.detect.detector import Device, Unreadable
from podvitals.detect.families.amd import Amd, counts, throttled
from podvitals.detect.families.intel import Intel
from podvitals.detect.inventory import listing
from podvitals.detect.signal import LIFE, Code, Count, State, Unread
from podvitals.detect.uevents import Uevent
from tests.detect.families.tree import Tree, unreadable, values

GPU = "pci-0000-43-00-0"


@pytest.fixture
def amd(tmp_path: Path) -> tuple[Tree, Amd, Device, Path]:
    tree = Tree(tmp_path)
    at = tree.pci("0000:43:00.0", "038000", driver="amdgpu", numa_node=0)
    tree.write(
        at, vendor="0x1002", device="0x74a1", product_name="AMD Instinct MI300X OAM", unique_id="a1b2c3", mem_info_vram_total=206141652992
    )
    for block in ("umc", "gfx", "xgmi_wafl"):
        tree.write(at / "ras", **{f"{block}_err_count": "ue: 0\nce: 0"})
    tree.write(at / "ras", features="feature mask: 0x2b", gpu_vram_bad_pages="")
    tree.pci("0000:44:00.0", "030000", driver="nvidia")
    family = Amd()
    family.roots = tree.roots
    (device,) = family.find()
    return tree, family, device, at


def test_an_amd_gpu_says_what_it_is(amd: tuple[Tree, Amd, Device, Path]) -> None:
    _, family, device, _ = amd
    assert device.name == GPU
    assert (device.attributes["productName"], device.attributes["uniqueId"]) == ("AMD Instinct MI300X OAM", "a1b2c3")
    assert device.capacity == {"memory": 206141652992}
    assert not listing("amd", [device]).problems
    blocks = {f"amd.ras_{kind}[{block}]": 0 for kind in ("ue", "ce") for block in ("umc", "gfx", "xgmi_wafl")}
    assert values(list(family.read(device))) == {**blocks, "amd.bad_pages": 0}


def test_errors_are_counted_by_block(amd: tuple[Tree, Amd, Device, Path]) -> None:
    tree, family, device, at = amd
    tree.write(at / "ras", umc_err_count="ue: 2\nce: 71", gpu_vram_bad_pages="0x00000001 : 0x00001000 : R\n0x00000002 : 0x00001000 : P")
    said = values(list(family.read(device)))
    assert (said["amd.ras_ue[umc]"], said["amd.ras_ce[umc]"], said["amd.ras_ue[gfx]"], said["amd.bad_pages"]) == (2, 71, 0, 2)


def test_counters_that_the_driver_cannot_tell_now_are_unread_not_zero(amd: tuple[Tree, Amd, Device, Path]) -> None:
    tree, family, device, at = amd
    tree.write(at / "ras", umc_err_count="Query currently inaccessible")
    unreadable(at / "ras/gfx_err_count")
    said = values(list(family.read(device)))
    assert said["amd.ras_ue[umc]"] == "unread: it says 'Query currently inaccessible'"
    assert str(said["amd.ras_ue[gfx]"]).endswith("Too many levels of symbolic links")
    assert "amd.ras_ce[umc]" not in said
    assert said["amd.ras_ue[xgmi_wafl]"] == 0


def test_an_amd_gpu_that_left_the_bus_is_unread_here_and_stays_listed(amd: tuple[Tree, Amd, Device, Path]) -> None:
    tree, family, device, _ = amd
    (tree.sys / "bus/pci/devices/0000:43:00.0").unlink()
    assert list(family.read(device)) == [Unread("amd.ras", "the device is not on the bus")]
    assert list(family.find()) == [device]


def test_an_amd_gpu_without_its_driver_cannot_be_told_and_is_not_healthy(amd: tuple[Tree, Amd, Device, Path]) -> None:
    """Nothing stands in its files then, so there is nothing that could be wrong."""
    tree, family, device, at = amd
    shutil.rmtree(at / "ras")
    (at / "driver").unlink()
    with pytest.raises(Unreadable, match="the GPU is bound to no driver, not to amdgpu"):
        list(family.read(device))
    tree.bind(at, "vfio-pci")
    with pytest.raises(Unreadable, match="the GPU is bound to vfio-pci, not to amdgpu"):
        list(family.read(device))


@pytest.mark.parametrize("said", ["", "ue: 1", "ue: x\nce: 0", "\x00"])
def test_a_file_without_both_counts_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="it says"):
        counts(said)


def metrics(status: int, revision: int = 3) -> bytes:
    """A gpu_metrics table of layout 1.3 (drivers/gpu/drm/amd/include/kgd_pp_interface.h), as far as it is read."""
    return struct.pack("<HBBHH", 120, 1, revision, 55, 71).ljust(112, b"\0") + struct.pack("<Q", status)


@pytest.mark.parametrize(
    ("table", "state"),
    [
        (metrics(0), "no"),
        (metrics(1 << 36), "yes"),  # the hot spot
        (metrics(1 << 0), "no"),  # a limit of power
        (metrics(2**64 - 1), None),
        (metrics(1 << 36, revision=4), None),
        (b"", None),
    ],
)
def test_only_heat_that_the_firmware_tells_of_counts_as_throttling(table: bytes, state: str | None) -> None:
    assert [said.value for said in throttled(table) if isinstance(said, State)] == ([state] if state else [])


@pytest.fixture
def intel(tmp_path: Path) -> tuple[Tree, Intel]:
    tree = Tree(tmp_path)
    tree.pci("0000:03:00.0", "038000", driver="xe")
    tree.pci("0000:00:02.0", "030000", driver="i915")
    tree.pci("0000:00:1f.4", "0c0500", driver="i801_smbus")
    family = Intel()
    family.roots = tree.roots
    return tree, family


def test_intel_s_gpus_are_those_of_its_two_drivers(intel: tuple[Tree, Intel]) -> None:
    _, family = intel
    devices = list(family.find())
    assert [device.name for device in devices] == ["pci-0000-00-02-0", "pci-0000-03-00-0"]
    assert not listing("intel", devices).problems
    assert Intel.available(family.roots) == ""
    assert list(family.read(devices[0])) == [State("intel.driver", "i915")], "what it does not tell is no signal"
    assert values(list(family.read(devices[1]))) == {"intel.driver": "xe", "intel.survivability": "no"}


def test_an_intel_gpu_without_its_driver_cannot_be_told_and_is_not_healthy(intel: tuple[Tree, Intel]) -> None:
    tree, family = intel
    i915, xe = list(family.find())
    (tree.sys / "bus/pci/devices/0000:00:02.0/driver").unlink()
    with pytest.raises(Unreadable, match="the GPU is bound to no driver, not to xe or i915"):
        list(family.read(i915))
    assert values(list(family.read(xe)))["intel.driver"] == "xe"


def test_heat_that_slows_a_gpu_down_is_told_of_both_drivers(intel: tuple[Tree, Intel]) -> None:
    tree, family = intel
    i915, xe = list(family.find())
    old = tree.write(tree.sys / "bus/pci/devices/0000:00:02.0/drm/card0/gt/gt0", throttle_reason_thermal=0, throttle_reason_pl1=1)
    new = tree.write(tree.sys / "bus/pci/devices/0000:03:00.0/tile0/gt0/freq0/throttle", status=1, reason_thermal=1, reason_prochot=0)
    assert values(list(family.read(i915))) == {"intel.driver": "i915", "intel.throttled[thermal]": "no"}
    tree.write(new.parents[2] / "gt1/freq0/throttle", reason_thermal=0, reason_prochot=0)
    assert values(list(family.read(xe))) == {
        "intel.driver": "xe",
        "intel.survivability": "no",
        "intel.throttled[thermal]": "yes",
        "intel.throttled[prochot]": "no",
    }
    unreadable(old / "throttle_reason_thermal")
    assert str(values(list(family.read(i915)))["intel.throttled[thermal]"]).endswith("Too many levels of symbolic links")
    assert new.is_dir()


def test_an_xe_says_that_it_waits_for_its_firmware_and_how_it_is(intel: tuple[Tree, Intel]) -> None:
    tree, family = intel
    _, xe = list(family.find())
    at = tree.write(tree.sys / "bus/pci/devices/0000:03:00.0", survivability_mode="Survivability mode type: Runtime", gpu_health="critical")
    said = values(list(family.read(xe)))
    assert (said["intel.survivability"], said["intel.health"]) == ("yes", "critical")
    unreadable(at / "gpu_health")
    assert str(values(list(family.read(xe)))["intel.health"]).startswith("unread: ")


@pytest.mark.parametrize("kind", [Amd, Intel])
def test_a_driver_that_is_bound_anew_has_reset_its_gpu_over_a_restart_of_ours_too(tmp_path: Path, kind: type[Amd | Intel]) -> None:
    tree = Tree(tmp_path)
    at = tree.pci("0000:00:02.0", "030000", driver="amdgpu" if kind is Amd else "i915")
    tree.write(at, vendor="0x1002" if kind is Amd else "0x8086")
    family = kind()
    family.roots = tree.roots
    (gpu,) = family.find()
    cards = tree.sys / "bus/pci/devices/0000:00:02.0/drm"
    cards.mkdir()
    assert [signal for signal in family.read(gpu) if isinstance(signal, Code)] == []
    cards.rename(cards.with_name("unbound"))
    assert [signal for signal in family.read(gpu) if isinstance(signal, Code)] == []
    later = kind()
    later.roots = tree.roots
    later.recall(family.remember(), same_boot=True)
    cards.mkdir()
    for again in (family, later):
        assert [signal for signal in again.read(gpu) if isinstance(signal, Code)] == [
            Code(LIFE, "reset", "the driver of 0000:00:02.0 was bound anew")
        ]
        assert [signal for signal in again.read(gpu) if isinstance(signal, Code)] == []
    rebooted = kind()
    rebooted.roots = tree.roots
    rebooted.recall({"0000:00:02.0": "1"}, same_boot=False)
    assert [signal for signal in rebooted.read(gpu) if isinstance(signal, Code)] == []


CARD = "/devices/pci0000:00/0000:00:01.0/0000:03:00.0/drm/card1"


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (
            {"WEDGED": "rebind,bus-reset"},
            Code("drm", "wedged", "WEDGED=rebind,bus-reset", (("method", "rebind"), ("methods", "rebind,bus-reset"))),
        ),
        (
            {"WEDGED": "none", "PID": "77", "TASK": "glx\x1b[2J"},
            Code("drm", "wedged", "WEDGED=none", (("method", "none"), ("methods", "none"), ("name", "glx\\x1b[2J"))),
        ),
        ({"HOTPLUG": "1"}, None),
    ],
)
def test_a_gpu_that_its_driver_gave_up_is_told_with_the_way_to_recover(keys: dict[str, str], code: Code | None) -> None:
    event = Uevent("change", CARD, "drm", keys)
    for family in (Amd(), Intel()):
        assert family.meant(event) == ("0000:03:00.0" if code else "")
        assert list(family.said(event)) == ([code] if code else [])


def test_counts_are_counts() -> None:
    assert Count("amd.ras_ue", *counts("ue: 3\nce: 4")[:1], part="umc") == Count("amd.ras_ue", 3, "umc")
