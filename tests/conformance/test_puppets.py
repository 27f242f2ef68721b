"""The node suite's scripted drivers, at the other end of their sockets."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.errors import PluginProtocolError
from podvitals.testing import FakeKubelet
from podvitals.testing.conformance.node.apart import Apart
from podvitals.testing.conformance.rawreport import HEALTHY, write_report
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import DRA_V1, HEALTH_V1, ClaimRef, PreparedDevice


def apart(kubelet: FakeKubelet) -> Apart:
    async def nothing(*_: object) -> tuple[PreparedDevice, ...]:
        return ()

    return Apart(kubelet.registry, "toy.example.com", "node1", nothing)


async def test_a_driver_apart_gives_every_claim_its_device_and_says_what_it_is_told(short: Path) -> None:
    async with FakeKubelet(short) as kubelet:
        driver = apart(kubelet)
        await driver.start()
        driver.say("d0", HEALTHY)
        await kubelet.sees("d0", Health.HEALTHY)
        answer = await kubelet.prepare(driver.name, ClaimRef("ml", "uid-1", "gpus"))
        assert answer["uid-1"].devices == (PreparedDevice(("device",), "node1", "d0", ()),)
        await driver.leave()
        assert not driver.running
        assert [path.name for path in (*kubelet.registry.iterdir(), *(short / "plugins").iterdir())] == []


async def test_a_driver_apart_that_is_halted_takes_connections_and_answers_nothing(short: Path) -> None:
    async with FakeKubelet(short) as kubelet, PluginClient(short / "plugins" / "toy.example.com" / "dra.sock") as client:
        driver = apart(kubelet)
        await driver.start()
        driver.halt()
        asked = asyncio.create_task(client.prepare(DRA_V1, []), name="ask")
        await asyncio.sleep(0.2)  # that nothing comes has no other sign
        assert not asked.done()
        driver.go_on()
        assert await asked == {}
        await driver.leave()


async def test_a_driver_apart_says_more_than_receivers_take(short: Path) -> None:
    async with FakeKubelet(short) as kubelet:
        driver = apart(kubelet)
        await driver.start()
        async with PluginClient(driver.endpoint) as client, aclosing(client.watch_health(HEALTH_V1)) as heard:
            driver.send(write_report([driver.device(f"other-{number}", HEALTHY, b"x" * 1000) for number in range(5000)]))
            with pytest.raises(PluginProtocolError, match="bytes is larger than the 4194304 accepted"):
                await anext(heard)
        await driver.leave()
