"""What the relay says of itself: to whoever asks on the node, and in its log."""

import json
import logging
import re
from datetime import datetime

import msgspec
import pytest

from podvitals.cli.relay import _page
from podvitals.device.health import Health
from podvitals.errors import PluginUnreachable
from podvitals.relay.calls import MARGIN, Calls
from podvitals.testing.clock import ManualClock
from podvitals.testing.driver import FakeDriver
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import DRA_V1, ClaimRef
from podvitals.wire.passing import RawCall
from podvitals.wire.services import prepare_method
from tests.relay.conftest import Node

NAME = "gpu.example.com"
CLAIM = ClaimRef("ml", "uid-1", "gpus")


async def test_times_and_names_are_as_the_agents_and_the_page_reads_them(node: Node) -> None:
    async with node.relay() as relay, node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        await kubelet.registered(NAME)
        before = json.loads(msgspec.json.encode(relay.state()))
        assert [one["lastReport"] for one in before["drivers"][0]["endpoints"]] == [None]
        driver.report({"g0": Health.HEALTHY})
        await kubelet.sees("g0", Health.HEALTHY)
        said = json.loads(msgspec.json.encode(relay.state()))
    (told,) = said["drivers"]
    (endpoint,) = told["endpoints"]
    times = (said["started"], endpoint["since"], endpoint["lastReport"])
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times), times
    assert told["smallestLeaseSeconds"] > 0
    heard = datetime.fromisoformat(endpoint["lastReport"]).timestamp()
    assert any("4s ago" in line for line in _page(said, heard + 4.5, wide=True))
    assert any("never" in line for line in _page(before, heard, wide=True))


async def test_calls_that_fail_are_said_once_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    calls, call = Calls(NAME, lambda: None, clock), RawCall(prepare_method(DRA_V1), b"", timeout=0.5)
    caplog.set_level(logging.INFO)
    for _ in range(5):
        with pytest.raises(PluginUnreachable):
            await calls.pass_on(call)
    await clock.advance(61)
    with pytest.raises(PluginUnreachable):
        await calls.pass_on(call)
    said = [vars(record) for record in caplog.records]
    assert [(one["msg"], one["driver"], one["method"], one["times"]) for one in said] == [
        ("call held in vain", NAME, "NodePrepareResources", 1),
        ("call held in vain", NAME, "NodePrepareResources", 5),
    ]
    assert calls.failed == 6


async def test_a_call_that_failed_is_not_told_a_second_time_by_the_stand_ins_socket(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    async with node.relay() as relay, node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        endpoint = (await kubelet.registered(NAME)).endpoint
        await driver.crash()
        async with PluginClient(endpoint) as client:
            with pytest.raises(PluginUnreachable, match="did not come back while the call was held"):
                await client.prepare(DRA_V1, [CLAIM], timeout=MARGIN + 0.2)
        assert relay.fronts[NAME].calls.failed == 1
    said = [record.getMessage() for record in caplog.records if record.name in ("podvitals.relay.calls", "podvitals.wire.server")]
    assert said == ["call held in vain"]
