"""The device that really breaks."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podvitals.errors import InvalidInput
from podvitals.lab import netlink
from podvitals.lab.faults import DeviceFile, Veth, free_links, impossible, parse_choice
from tests.roots import requires_root


def test_a_device_file_disappears_and_comes_back(tmp_path: Path) -> None:
    device = DeviceFile(tmp_path / "accel0")
    device.make()
    assert device.detector == f"files:{tmp_path}/accel0"
    device.break_it()
    device.break_it()
    assert not device.path.exists()
    device.mend()
    assert device.path.exists()
    device.remove()
    device.remove()


@pytest.fixture
def veth() -> Iterator[Veth]:
    device = Veth(f"pv{os.getpid() % 100000}", "podvitals test")
    device.make()
    yield device
    device.remove()


def becomes(name: str, state: str) -> bool:
    """The kernel tells of a carrier a moment after it changed (linkwatch)."""
    deadline = time.monotonic() + 5
    while (netlink.SYS / name / "operstate").read_text().strip() != state:
        if time.monotonic() > deadline:
            return False
    return True


@requires_root
def test_a_link_breaks_at_its_far_end_and_is_mended(veth: Veth) -> None:
    assert becomes(veth.device, "up")
    veth.break_it()
    assert becomes(veth.device, "lowerlayerdown")
    veth.mend()
    assert becomes(veth.device, "up")
    assert netlink.alias_of(veth.device) == netlink.alias_of(veth.far) == "podvitals test"


@requires_root
def test_an_interface_of_somebody_else_is_never_removed(veth: Veth) -> None:
    Veth(veth.device, "another lab").remove()
    assert netlink.exists(veth.device)
    veth.remove()
    assert not netlink.exists(veth.device)
    assert not netlink.exists(veth.far)


@requires_root
def test_a_name_in_use_is_refused_by_number(veth: Veth) -> None:
    with pytest.raises(netlink.NetlinkRefused) as refusal:
        Veth(veth.device, "x").make()
    assert refusal.value.errno == errno.EEXIST
    assert not impossible(refusal.value)
    assert veth.device not in list(free_links())


def test_what_is_missing_is_named() -> None:
    with pytest.raises(netlink.NetlinkRefused, match="there is no network interface pv-nothing"):
        netlink.set_link("pv-nothing", up=True)
    netlink.remove_link("pv-nothing") if os.geteuid() == 0 else None
    assert netlink.alias_of("pv-nothing") == ""


def test_a_missing_right_means_a_file_instead() -> None:
    assert impossible(netlink.NetlinkRefused("x", errno.EPERM))
    assert impossible(netlink.NetlinkRefused("x", errno.EOPNOTSUPP))
    assert not impossible(netlink.NetlinkRefused("x", errno.EEXIST))


def test_a_choice_that_is_none_is_refused() -> None:
    assert parse_choice("veth") == "veth"
    with pytest.raises(InvalidInput, match="none of auto, veth and file"):
        parse_choice("gpu")
