"""Which devices of another driver ours are."""

from pathlib import Path

import pytest

from podvitals.claim.resource import Attribute, Pool, ResourceSlice, ResourceSliceSpec, SliceDevice
from podvitals.detect.detector import Device
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.verdict import Verdict
from podvitals.driver.join import join, merged, written_mapping
from podvitals.errors import InvalidInput

DRIVER = "gpu.example.com"


def slices(pool: str = "node-1", **devices: dict[str, str]) -> ResourceSlice:
    made = tuple(SliceDevice(name=name, attributes={k: Attribute(string=v) for k, v in said.items()}) for name, said in devices.items())
    return ResourceSlice(spec=ResourceSliceSpec(driver=DRIVER, pool=Pool(name=pool), devices=made))


def key(device: str, pool: str = "node-1") -> DeviceKey:
    return DeviceKey(DRIVER, pool, device)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Device("a", {"pciAddress": "0000:3b:00.0"}), {"resource.kubernetes.io/pciBusID": "0000:3b:00.0"}),
        (Device("a", {"pci-address": "3b:00.0"}), {"pciBusID": "00000000:3B:00.0"}),
        (Device("a", handle="0000:3b:00.0"), {"resource.kubernetes.io/pciBusID": "0000:3b:00.0"}),
        (Device("a", {"uuid": "GPU-aBc"}), {"gpu.nvidia.com/uuid": "gpu-AbC"}),
        (Device("a", {"ifname": "eth3"}), {"dra.net/ifName": "eth3"}),
        (Device("a", nodes=[Path("/dev/accel0")]), {"devicePath": "/dev/accel0"}),
        (Device("a", {"serial": "S1"}), {"serialNumber": "s1"}),
        (Device("a", {"wwn": "eui.01"}), {"WWID": "eui.01"}),
    ],
)
def test_one_thing_is_known_by_what_both_say_of_it(ours: Device, theirs: dict[str, str]) -> None:
    found = join(DRIVER, {"a": ours}, [slices(gpu0=theirs, gpu1={"uuid": "another", "pciBusID": "0000:ff:00.0"})], {})
    assert found.targets == {"a": (key("gpu0"),)}


def test_what_merely_looks_alike_is_not_the_same() -> None:
    ours = {"a": Device("gpu0", {"model": "H200", "ifname": "eth3"}), "b": Device("b", {"pciAddress": "0000:3b:00.1"})}
    found = join(DRIVER, ours, [slices(gpu0={"model": "H200", "ifName": "ETH3", "pciBusID": "0000:3b:00.0"})], {})
    assert (found.targets, found.unmatched) == ({}, ("a", "b"))


def test_a_fault_of_a_physical_device_is_each_of_its_partitions() -> None:
    theirs = slices(mig0={"parentUUID": "x", "pciBusID": "0000:3b:00.0"}, mig1={"pciBusID": "0000:3b:00.0"})
    assert join(DRIVER, {"a": Device("a", handle="3b:00.0")}, [theirs], {}).targets == {"a": (key("mig0"), key("mig1"))}


def test_what_the_operator_wrote_down_counts_before_attributes() -> None:
    ours = {"a": Device("a", {"ifname": "eth3"})}
    theirs = [slices(net0={"ifName": "eth3"}), slices("other", net1={})]
    assert join(DRIVER, ours, theirs, {"a": "other/net1"}).targets == {"a": (key("net1", "other"),)}
    assert join(DRIVER, {"a": Device("a", handle="eth3")}, theirs, {"eth3": "net1"}).targets == {"a": (key("net1", "other"),)}
    assert join(DRIVER, ours, theirs, {"a": "gone"}).unmatched == ("a",)


def test_a_mapping_that_cannot_be_is_refused() -> None:
    assert written_mapping(["eth3=net-3", "a=pool/x"]) == {"eth3": "net-3", "a": "pool/x"}
    for wrong in (["eth3"], ["=x"], ["a="], ["a=b/c/d"], ["a=b", "a=c"]):
        with pytest.raises(InvalidInput):
            written_mapping(wrong)


def test_of_several_of_ours_the_worst_counts_and_every_message_stays() -> None:
    def said(name: str, health: Health, message: str, at: float, action: str = "") -> Verdict:
        return Verdict(DeviceKey("x", "n", name), health, message, action, at, 15.0)

    both = merged(
        key("gpu0"), [said("a", Health.HEALTHY, "link x8 of x16", 10.0), said("b", Health.UNHEALTHY, "Xid 79", 20.0, "power-cycle")]
    )
    assert (both.key, both.health, both.message, both.action, both.checked_at) == (
        key("gpu0"), Health.UNHEALTHY, "Xid 79; link x8 of x16", "power-cycle", 20.0,
    )  # fmt: skip
    assert merged(key("gpu0"), [said("a", Health.HEALTHY, "", 10.0), said("b", Health.HEALTHY, "", 20.0)]).checked_at == 10.0
