"""Network interfaces: real ones (veth pairs), as the kernel tells of them."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect import rtnetlink
from podvitals.detect.net import Net, judged
from podvitals.detect.rtnetlink import Link
from podvitals.device.health import Health
from tests.detect import veth
from tests.detect.kit import running
from tests.detect.veth import requires_veth


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    with veth.pair("pv") as names:
        yield names


def slow(*patterns: str) -> Net:
    """Polls so rarely that only the kernel can have told."""
    net = Net(*patterns)
    net.interval = 600
    return net


@requires_veth
async def test_carrier_loss_is_pushed_with_its_cause_and_heals(pair: tuple[str, str]) -> None:
    name, peer = pair
    index = socket.if_nametoindex(name)
    async with running(slow(name)) as frame:
        await frame.says(name, Health.HEALTHY)
        veth.down(peer)
        verdict = await frame.says(name, Health.UNHEALTHY, seconds=2)
        assert verdict.message == f"interface {name} is down: no carrier (ifindex {index})"
        veth.up(peer)
        await frame.says(name, Health.HEALTHY)
        veth.down(name)
        await frame.says(name, Health.UNHEALTHY, f"interface {name} is down: set down by an administrator (ifindex {index})")
        veth.up(name)
        await frame.says(name, Health.HEALTHY)


@requires_veth
async def test_a_removed_interface_stays_as_a_fault_and_heals_when_it_is_made_anew(pair: tuple[str, str]) -> None:
    name, peer = pair
    async with running(slow(f"{name[:-1]}?")) as frame:
        await frame.says(name, Health.HEALTHY)
        veth.remove(name)
        await frame.says(name, Health.UNHEALTHY, f"interface {name} does not exist")
        await frame.says(peer, Health.UNHEALTHY, f"interface {peer} does not exist")
        assert set(frame.schedule.devices) == {name, peer}
        veth.make(name, peer)
        await frame.says(name, Health.UNHEALTHY, "set down by an administrator")
        veth.up(name)
        veth.up(peer)
        await frame.says(name, Health.HEALTHY)


@requires_veth
async def test_a_renamed_interface_says_its_new_name(pair: tuple[str, str]) -> None:
    name, _ = pair
    index = socket.if_nametoindex(name)
    net = slow(name)
    async with running(net) as frame:
        await frame.says(name, Health.HEALTHY)
        veth.rename(name, f"{name}x")
        await frame.says(name, Health.UNHEALTHY, f"interface {name} was renamed to {name}x (ifindex {index})")
        polled = await asyncio.to_thread(net.check, frame.schedule.devices[name])
        assert polled.message == f"interface {name} was renamed to {name}x (ifindex {index})"
        veth.rename(f"{name}x", name)
        await frame.says(name, Health.HEALTHY)


@requires_veth
async def test_an_interface_that_starts_to_match_is_a_new_device(pair: tuple[str, str]) -> None:
    name, peer = pair
    async with running(slow("pvnew*", name)) as frame:
        await frame.says(name, Health.HEALTHY)
        veth.rename(peer, f"pvnew{peer[-5:]}")
        await frame.says(f"pvnew{peer[-5:]}", Health.HEALTHY)


@requires_veth
def test_what_is_published_follows_the_interface_and_outlives_it(pair: tuple[str, str]) -> None:
    name, _ = pair
    net = Net(name)
    veth.set_mtu(name, 1400)
    (before,) = net.devices()
    assert (before.attributes["mtu"], before.attributes["kind"], before.attributes["ifname"]) == (1400, "veth", name)
    veth.remove(name)
    assert list(net.devices()) == [before]


async def test_an_interface_that_is_listed_is_expected_before_it_was_ever_seen() -> None:
    async with running(slow("pvnever0")) as frame:
        await frame.says("pvnever0", Health.UNHEALTHY, "interface pvnever0 does not exist")


def test_loopback_is_found_healthy_only_when_it_is_asked_for() -> None:
    assert [device.name for device in Net("*").devices() if device.name == "lo"] == []
    (lo,) = Net("lo").devices()
    assert Net("lo").check(lo).health is Health.HEALTHY


def link(**changes: object) -> Link:
    return replace(Link(12, "pv0", True, False, "up", True, 1500, "", "veth"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"operstate": "unknown"}, ""),
        ({"operstate": "unknown", "carrier": None}, ""),
        ({"up": False}, "interface pv0 is down: set down by an administrator (ifindex 12)"),
        ({"operstate": "down", "carrier": False}, "interface pv0 is down: no carrier (ifindex 12)"),
        ({"operstate": "lowerlayerdown", "carrier": False}, "interface pv0 is down: no carrier (ifindex 12)"),
        ({"operstate": "dormant"}, "interface pv0 is down: waiting, dormant (ifindex 12)"),
        ({"operstate": "notpresent"}, "interface pv0 is down: hardware not present (ifindex 12)"),
    ],
)
def test_each_operational_state_is_judged(changes: dict[str, object], message: str) -> None:
    reading = judged(link(**changes))
    assert reading.message == message
    assert (reading.health is Health.HEALTHY) == (not message)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def test_a_port_that_leaves_a_bridge_is_not_an_interface_that_was_removed() -> None:
    left_bridge = struct.pack("=BxHiII", socket.AF_BRIDGE, 1, 12, 1, 0)
    assert list(rtnetlink.parse(message(rtnetlink.RTM_DELLINK, left_bridge))) == []


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    for raw in (data, message(rtnetlink.RTM_NEWLINK, data.ljust(16, b"\0"))):
        with suppress(OSError):  # the kernel's way to refuse
            for found in rtnetlink.parse(raw):
                assert found is None or isinstance(found, Link)
