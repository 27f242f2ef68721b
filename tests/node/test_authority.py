"""Who speaks, on real sockets: one authority per driver and source at each moment, whoever comes, goes, crashes or returns."""

from pathlib import Path

from podvitals.device.health import Health
from podvitals.testing import FakeDriver
from podvitals.wire.messages import HEALTH_SOURCE_TYPE, DeviceReport
from tests.node.seen import watching


def said(message: str, health: Health = Health.HEALTHY, lease: float = 60.0) -> list[DeviceReport]:
    return [DeviceReport("node1", "gpu-0", health, 1000.0, lease, message)]


async def test_when_the_new_one_of_a_rolling_update_crashes_the_old_one_is_heard_again_with_its_latest_word(place: Path) -> None:
    async with watching(place) as seen, FakeDriver(place, pod_uid="old") as old:
        old.report(said("old 1"))
        await seen.device("gpu-0", Health.HEALTHY, text="old 1")
        new = FakeDriver(place, pod_uid="new")
        for turn in (1, 2):
            await new.start()
            await new.watched()
            new.report(said(f"new {turn}"))
            await seen.device("gpu-0", Health.HEALTHY, text=f"new {turn}")
            for word in range(9):
                old.report(said(f"old, meanwhile {turn}.{word}"))
            old.report(said(f"old, at last {turn}", Health.UNHEALTHY))
            assert seen.said("gpu-0") == f"new {turn}"
            await new.crash()
            await seen.device("gpu-0", Health.UNHEALTHY, text=f"old, at last {turn}")
        await new.stop()


async def test_of_two_that_speak_at_once_the_newer_is_believed(place: Path) -> None:
    async with FakeDriver(place, pod_uid="a") as older, watching(place) as seen:
        await older.watched()
        async with FakeDriver(place, pod_uid="b") as newer:
            older.report(said("older", Health.UNHEALTHY))
            newer.report(said("newer"))
            await seen.device("gpu-0", Health.HEALTHY, text="newer")
            heard: list[str] = []
            seen.watch.subscribe(lambda keys: heard.append(seen.said("gpu-0")))
            for turn in range(20):
                older.report(said(f"older {turn}", Health.UNHEALTHY))
                newer.report(said(f"newer {turn}"))
                await seen.device("gpu-0", Health.HEALTHY, text=f"newer {turn}")
            assert all(text.startswith("newer") for text in heard)
            speaking = [view.endpoint for view in seen.watch.drivers() if view.speaks]
            assert len(speaking) == 1
            assert "dra-b" in speaking[0]


async def test_a_name_taken_over_by_another_process_is_the_new_process_s_to_speak_for(place: Path) -> None:
    """The first one was killed and left its sockets; another binary comes up under its name and paths."""
    async with watching(place) as seen:
        first = FakeDriver(place)
        await first.start()
        first.report(said("first"))
        await seen.device("gpu-0", Health.HEALTHY, text="first")
        await first.crash()
        second = FakeDriver(place)
        second.report(said("second", Health.UNHEALTHY))
        async with second:
            await seen.device("gpu-0", Health.UNHEALTHY, text="second")
            assert [view.speaks for view in seen.watch.drivers()] == [True]
        await first.stop()


async def test_each_source_of_a_driver_has_a_speaker_of_its_own_and_the_worst_is_shown(place: Path) -> None:
    async with FakeDriver(place) as driver, watching(place) as seen:
        driver.report(said("driver"))
        await seen.device("gpu-0", Health.HEALTHY)
        one, other = FakeDriver(place, pod_uid="x1"), FakeDriver(place, pod_uid="x2")
        for aux in (one, other):
            aux.type, aux.name = HEALTH_SOURCE_TYPE, "gpu.example.com/xid"
        async with one, other:
            for aux in (one, other):
                await aux.watched()
            one.report(said("older Xid", Health.UNHEALTHY))
            await seen.device("gpu-0", Health.UNHEALTHY, text="older Xid; driver")
            other.report(said("newer Xid"))
            await seen.device("gpu-0", Health.HEALTHY, text="driver; newer Xid")
            views = [(view.source, view.speaks, view.speaks_since > 0) for view in seen.watch.drivers()]
            assert sorted(views) == [("", True, True), ("xid", False, False), ("xid", True, True)]
