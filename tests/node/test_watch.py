"""NodeWatch against scripted drivers on real sockets: kill and return, hang, rolling update, restart, refusals."""

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.checkpoint import Checkpoint
from podvitals.node.limits import Limits
from podvitals.node.stream import Pace
from podvitals.testing import FakeDriver, ManualClock
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_SOURCE_TYPE, HEALTH_V1ALPHA1, DeviceReport
from podvitals.wire.report import Decoder
from tests.node.seen import Seen, watching

GPU0 = DeviceKey("gpu.example.com", "node1", "gpu-0")


def said(device: str = "gpu-0", health: Health = Health.HEALTHY, message: str = "", lease: float = 15.0) -> DeviceReport:
    return DeviceReport("node1", device, health, 1000.0, lease, message)


async def test_a_driver_that_was_there_before_is_heard_before_ready(place: Path) -> None:
    async with FakeDriver(place) as driver:
        driver.report({"gpu-0": Health.HEALTHY})
        async with watching(place) as seen:
            assert seen.watch.state(GPU0).health is Health.HEALTHY


async def test_a_driver_that_comes_later_is_found_and_followed(place: Path) -> None:
    async with watching(place) as seen:
        assert seen.said("gpu-0") == "no driver gpu.example.com is registered on this node"
        async with FakeDriver(place) as driver:
            await seen.device("gpu-0", Health.UNKNOWN, text="has not reported this device")
            driver.report([said(health=Health.UNHEALTHY, message="Xid 79")])
            await seen.device("gpu-0", Health.UNHEALTHY, text="Xid 79")
        assert driver.notified == [], "only a kubelet may say so"


async def test_a_killed_driver_that_returns_within_its_lease_causes_no_flap(place: Path) -> None:
    async with watching(place) as seen:
        driver = FakeDriver(place)
        await driver.start()
        driver.report({"gpu-0": Health.HEALTHY, "gpu-1": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        await driver.crash()
        await seen.driver(lambda views: not any(view.connected for view in views))
        assert seen.watch.state(GPU0).health is Health.HEALTHY
        async with driver:
            await driver.watched()
            driver.report({"gpu-0": Health.HEALTHY, "gpu-1": Health.UNHEALTHY})
            await seen.device("gpu-1", Health.UNHEALTHY)
        assert seen.watch.state(GPU0).faults == ()


async def test_a_hung_driver_is_unknown_at_its_lease_end_by_a_timer(place: Path) -> None:
    clock = ManualClock()
    async with FakeDriver(place) as driver, watching(place, clock) as seen:
        driver.report([said(lease=15)])
        await seen.device("gpu-0", Health.HEALTHY)
        driver.hang()
        await clock.advance(14.9)
        assert seen.watch.state(GPU0).health is Health.HEALTHY
        await clock.advance(0.1)
        assert seen.said("gpu-0") == "nothing heard from driver gpu.example.com for 15s (driver silent); last known: Healthy"
        driver.resume()
        driver.report([said(lease=15)])
        await seen.device("gpu-0", Health.HEALTHY)


async def test_a_shorter_lease_that_arrives_later_is_not_missed(place: Path) -> None:
    clock = ManualClock()
    async with FakeDriver(place) as driver, watching(place, clock) as seen:
        driver.report([said(lease=3600)])
        await seen.device("gpu-0", Health.HEALTHY)
        driver.report([said("gpu-1", lease=2)])
        await seen.device("gpu-1", Health.HEALTHY)
        await clock.advance(2)
        assert seen.watch.state(GPU0._replace(device="gpu-1")).health is Health.UNKNOWN


async def test_a_driver_gone_for_30_seconds_is_unknown(place: Path) -> None:
    clock = ManualClock()
    async with watching(place, clock) as seen:
        async with FakeDriver(place) as driver:
            driver.report([said(lease=3600)])
            await seen.device("gpu-0", Health.HEALTHY)
        await seen.driver(lambda views: not any(view.connected for view in views))
        await clock.advance(29.9)
        assert seen.watch.state(GPU0).health is Health.HEALTHY
        await clock.advance(0.2)
        assert "for 30s (driver " in seen.said("gpu-0")


async def test_in_a_rolling_update_the_new_endpoint_speaks_once_it_reported_and_the_old_one_again_when_it_is_gone(place: Path) -> None:
    async with watching(place) as seen, FakeDriver(place, pod_uid="old") as old:
        old.report([said(message="says old")])
        await seen.device("gpu-0", Health.HEALTHY, text="says old")
        new = FakeDriver(place, pod_uid="new")
        await new.start()
        await new.watched()
        old.report([said(message="says old, still")])
        await seen.device("gpu-0", Health.HEALTHY, text="says old, still")
        new.report([said(message="says new")])
        await seen.device("gpu-0", Health.HEALTHY, text="says new")
        old.report([said(health=Health.UNHEALTHY, message="says old, too late")])
        await seen.driver(lambda views: [view.reports for view in views if "old" in view.endpoint] == [3])
        assert seen.said("gpu-0") == "says new"
        await new.stop()
        await seen.device("gpu-0", Health.UNHEALTHY, text="says old, too late")


@pytest.mark.parametrize("first", [b"", b"\xff\xff\xff"])
async def test_neither_rubbish_nor_an_empty_first_report_silences_the_endpoint_that_knows(place: Path, first: bytes) -> None:
    async with watching(place) as seen, FakeDriver(place, pod_uid="old") as old:
        # Sockets made within one tick of the kernel's clock are of one age.
        await old.watched()
        async with FakeDriver(place, pod_uid="new") as new:
            await _neither_silences(seen, old, new, first)


async def _neither_silences(seen: Seen, old: FakeDriver, new: FakeDriver, first: bytes) -> None:
    new.report_raw(first)
    old.report([said(message="says old")])
    await seen.driver(lambda views: sorted(view.reports for view in views) == [1, 1])
    old.report([said(message="says old, still")])
    await seen.device("gpu-0", Health.HEALTHY, text="says old, still")
    new.report([said(message="says new")])
    await seen.device("gpu-0", Health.HEALTHY, text="says new")


async def test_calls_go_to_the_newest_connected_endpoint(place: Path) -> None:
    async with FakeDriver(place, pod_uid="old", versions=[DRA_V1BETA1]) as old, watching(place) as seen:
        await seen.driver(lambda views: len(views) == 1 and views[0].connected)
        found = seen.watch.plugin("gpu.example.com")
        assert found is not None
        assert (found[0].path, found[1]) == (old.endpoint, DRA_V1BETA1)
        async with FakeDriver(place, pod_uid="new") as new:
            await seen.driver(lambda views: len(views) == 2 and all(view.connected for view in views))
            found = seen.watch.plugin("gpu.example.com")
            assert found is not None
            assert (found[0].path, found[1]) == (new.endpoint, DRA_V1)
            assert await found[0].prepare(found[1], []) == {}
        await seen.driver(lambda views: len(views) == 1)
        assert seen.watch.plugin("nobody.example.com") is None


async def test_a_hung_driver_does_not_keep_the_others_waiting(place: Path) -> None:
    async with FakeDriver(place) as driver, FakeDriver(place, "nic.example.com") as hung:
        hung.hang()
        driver.report({"gpu-0": Health.HEALTHY})
        started = asyncio.get_running_loop().time()
        async with watching(place) as seen:
            assert seen.watch.state(GPU0).health is Health.HEALTHY
            assert asyncio.get_running_loop().time() - started < 3


async def test_the_older_health_service_will_do(place: Path) -> None:
    async with watching(place) as seen, FakeDriver(place, versions=[DRA_V1, HEALTH_V1ALPHA1]) as driver:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        assert seen.watch.drivers()[0].health_version == HEALTH_V1ALPHA1


@pytest.mark.parametrize("lists_it", [True, False])
async def test_a_driver_without_health_is_left_alone_but_called(place: Path, lists_it: bool) -> None:
    versions = [DRA_V1, HEALTH_V1ALPHA1] if lists_it else [DRA_V1]
    async with FakeDriver(place, versions=versions, unimplemented=True), watching(place) as seen:
        await seen.device("gpu-0", Health.UNKNOWN, text="driver gpu.example.com does not report health")
        await seen.driver(lambda views: views[0].connected)
        assert seen.watch.plugin("gpu.example.com") is not None


async def test_an_auxiliary_source_adds_what_it_knows(place: Path) -> None:
    async with FakeDriver(place) as driver, watching(place) as seen:
        driver.report([said()])
        await seen.device("gpu-0", Health.HEALTHY)
        aux = FakeDriver(place, "gpu.example.com", pod_uid="xid")
        aux.type, aux.name = HEALTH_SOURCE_TYPE, "gpu.example.com/xid"
        async with aux:
            aux.report([said(health=Health.UNHEALTHY, message="Xid 79")])
            await seen.device("gpu-0", Health.UNHEALTHY, text="Xid 79")
            assert [(view.source, view.speaks) for view in seen.watch.drivers()] == [("", True), ("xid", True)]


async def test_what_is_refused_is_counted_and_said_and_harms_nobody(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        FakeDriver(place) as driver,
        FakeDriver(place, "nic.example.com") as nic,
        watching(place, limits=Limits(devices_per_driver=4)) as seen,
    ):
        driver.report_raw(b"\xff\xff\xff")
        nic.report({"nic-0": Health.HEALTHY})
        await seen.device("nic-0", Health.HEALTHY, driver="nic.example.com")
        driver.report([said("Bad Name")] + [said(f"gpu-{n}") for n in range(7)])
        await seen.device("gpu-0", Health.HEALTHY)
        driver.report_raw(b"\xff\xff\xff")
        await seen.driver(lambda views: views[0].refusals.get("undecodable report") == 2)
        view = seen.watch.drivers()[0]
        assert view.refusals == {"undecodable report": 2, "too many devices": 3, "invalid entry": 1}
        assert view.devices == 4
        lines = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(lines) == 3, "each reason once a minute"


async def test_a_message_beyond_the_limit_ends_the_stream_and_the_next_one_counts(place: Path) -> None:
    async with FakeDriver(place) as driver, watching(place) as seen:
        driver.report_raw(b"\x0a\x00" * (2 * 1024 * 1024))
        driver.report([said(health=Health.UNHEALTHY)])
        await seen.device("gpu-0", Health.UNHEALTHY)


async def test_identical_bytes_are_not_decoded_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    class Counted(Decoder):
        def __init__(self, raw: bytes, most: int) -> None:
            decoded.append(raw)
            super().__init__(raw, most)

    monkeypatch.setattr("podvitals.node.switchboard.Decoder", Counted)
    async with FakeDriver(place) as driver, watching(place) as seen:
        for turn in range(5):
            driver.report([said()])
            await seen.driver(lambda views, turn=turn: bool(views) and views[0].reports == turn + 1)  # type: ignore[misc]
        assert len(decoded) == 1


async def test_a_restart_keeps_what_was_known_until_the_driver_speaks_again(place: Path) -> None:
    checkpoint, clock = place / "state.db", ManualClock()
    driver = FakeDriver(place)
    await driver.start()
    driver.report([said(health=Health.UNHEALTHY, message="Xid 79", lease=60)])
    async with watching(place, clock, checkpoint=checkpoint) as seen:
        await seen.device("gpu-0", Health.UNHEALTHY)
        before = seen.watch.state(GPU0)
    await driver.crash()
    await clock.advance(10)
    async with watching(place, clock, checkpoint=checkpoint) as seen:
        after = seen.watch.state(GPU0)
        assert (after.health, after.message, after.since, after.faults) == (before.health, before.message, before.since, before.faults)
        await clock.advance(30.1)
        assert "for 30s (driver gone); last known: Unhealthy: Xid 79" in seen.said("gpu-0")


async def test_a_verdict_is_on_disk_at_once_not_when_the_process_ends(place: Path) -> None:
    async with FakeDriver(place) as driver, watching(place, checkpoint=place / "state.db") as seen:
        for health in (Health.HEALTHY, Health.UNHEALTHY):
            driver.report([said(health=health)])
            await seen.device("gpu-0", health)
        async with asyncio.timeout(5):
            while await _on_disk(place) != [Health.UNHEALTHY]:
                await asyncio.sleep(0.01)


async def _on_disk(place: Path, name: str = "state.db") -> list[Health]:
    """As kill -9 would leave it."""
    try:
        await asyncio.to_thread(shutil.copy, place / name, place / "copy.db")
    except FileNotFoundError:
        return []
    copy = Checkpoint(place / "copy.db", "any boot")
    rows = await copy.load(0.0, 0.0)
    await copy.close()
    return [row.health for row in rows.facts.values() if row is not None]


async def test_a_corrupted_checkpoint_costs_only_what_it_held(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = place / "state.db"
    await asyncio.to_thread(checkpoint.write_bytes, b"rubbish" * 1000)
    async with FakeDriver(place) as driver:
        driver.report({"gpu-0": Health.HEALTHY})
        async with watching(place, checkpoint=checkpoint) as seen:
            assert seen.watch.state(GPU0).health is Health.HEALTHY
    assert "set aside as" in caplog.text


async def test_a_checkpoint_that_cannot_be_written_stops_nothing(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    (place / "file").write_text("")
    async with FakeDriver(place) as driver, watching(place, checkpoint=place / "file" / "state.db") as seen:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        driver.report({"gpu-0": Health.UNHEALTHY})
        await seen.device("gpu-0", Health.UNHEALTHY)
    assert caplog.text.count("cannot be written") == 1


async def test_a_subscriber_that_fails_harms_nobody(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    def failing(keys: frozenset[DeviceKey]) -> None:
        raise RuntimeError("no")

    async with FakeDriver(place) as driver, watching(place) as seen:
        seen.watch._callbacks.insert(0, failing)
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
    assert "a subscriber failed" in caplog.text


class Flooding(FakeDriver):
    """Sends as fast as it is read, and never the same twice in a row."""

    async def watch(self) -> AsyncIterator[bytes]:
        one, other = encode_report([said()])[0], encode_report([said(health=Health.UNHEALTHY)])[0]
        while True:
            yield one
            yield other


async def test_a_driver_that_floods_is_slowed_down_and_the_others_are_heard(place: Path) -> None:
    async with Flooding(place), FakeDriver(place, "nic.example.com") as nic, watching(place) as seen:
        await seen.driver(lambda views: any(view.reports > 100 for view in views))
        for health in (Health.HEALTHY, Health.UNHEALTHY, Health.HEALTHY):
            nic.report({"nic-0": health})
            await seen.device("nic-0", health, driver="nic.example.com")
        assert seen.watch.state(GPU0).faults, "slowed down, not cut off"


async def test_a_stream_rests_as_long_as_it_worked() -> None:
    pace = Pace()
    with pace.work():
        started = time.perf_counter()
        while time.perf_counter() < started + 0.02:
            pass
    started = time.perf_counter()
    await pace.rest()
    assert time.perf_counter() - started > 0.019


async def test_a_checkpoint_that_can_be_written_again_is_said_to_be(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podvitals.node.keeper.SAVE_AGAIN_AFTER", 0.05)
    caplog.set_level(logging.INFO, "podvitals")
    blocked = place / "state"
    blocked.write_text("")
    async with FakeDriver(place) as driver, watching(place, checkpoint=blocked / "state.db") as seen:
        driver.report({"gpu-0": Health.HEALTHY})
        await seen.device("gpu-0", Health.HEALTHY)
        async with asyncio.timeout(5):
            while not seen.watch.keeper.trouble:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(blocked.unlink)
        async with asyncio.timeout(8):
            while seen.watch.keeper.trouble:
                await asyncio.sleep(0.01)
        assert await _on_disk(place / "state", "state.db") == [Health.HEALTHY]
    assert caplog.text.count("checkpoint is written again") == 1
