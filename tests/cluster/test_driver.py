"""The SDK's drivers, as processes, under a real kubelet: what a pod's own field says is the kubelet's doing."""

import asyncio
import time

from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import DRIVERS, World, field_of, healths, writers


@needs(Shown.MESSAGE)
async def test_a_devices_fault_reaches_the_pods_field_and_leaves_it_again(world: World) -> None:
    world.device("d0")
    world.run_driver()
    await world.run_pod()
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
    world.device("d0", "Unhealthy: fell off the bus\naction=power-cycle\n")
    pod = await world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
    assert [message for _, message in field_of(pod).values()] == ["fell off the bus"]
    assert writers(pod, "containerStatuses") == {"kubelet"}
    world.device("d0")
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


async def test_a_container_is_given_what_the_drivers_cdi_file_says(world: World) -> None:
    world.device("d0")
    world.run_driver()
    await world.create_pod("trainer", command=["sh", "-c", f'env; test "$PODVITALS_DEVICE_D0" = {world.devices}/d0'], restart="Never")
    pod = await world.pod("trainer", lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"), within=30)
    assert pod["status"]["phase"] == "Succeeded", world.output(pod)


@needs(Shown.MESSAGE)
async def test_a_silent_detector_is_unknown_at_the_end_of_its_lease(world: World) -> None:
    """The kubelet would notice a silent driver only on the next report: the SDK itself says it."""
    world.run_script(DRIVERS / "silent.py")
    await world.run_pod()
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
    world.device("silent")
    silent_since = time.monotonic()
    pod = await world.pod("trainer", lambda pod: healths(pod) == ["Unknown"])
    assert 1.5 < time.monotonic() - silent_since < 3.5, "its lease is 2 s"
    assert ["lease" in message for _, message in field_of(pod).values()] == [True]
    world.devices.joinpath("silent").unlink()
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


@needs(Shown.MESSAGE)
async def test_a_driver_that_was_killed_is_found_again(world: World) -> None:
    world.device("d0")
    driver = world.run_driver()
    await world.run_pod()
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
    driver.kill()
    driver.start()
    world.device("d0", "Unhealthy: after the restart")
    await world.pod("trainer", lambda pod: list(field_of(pod).values()) == [("Unhealthy", "after the restart")], within=15)


async def test_resource_slices_come_back_after_a_kubelet_restart_wiped_them(world: World) -> None:
    world.device("d0")
    driver = world.run_driver()
    first = await world.slice_of_driver()
    async with world.api.watching(world.slices, f"fieldSelector=spec.driver={world.driver}") as events, asyncio.timeout(60):
        await asyncio.to_thread(world.cluster.restart_kubelet)
        seen = []
        async for kind, published, _ in events:
            seen.append(kind)
            if kind == "ADDED" and published["metadata"]["uid"] != first["metadata"]["uid"]:
                break
    assert "DELETED" in seen
    await driver.says("registered", times=2)
    assert [device["name"] for device in published["spec"]["devices"]] == ["d0"]
    await world.run_pod()
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])


@needs(Shown.MESSAGE)
async def test_two_versions_of_a_driver_side_by_side_lose_nothing(world: World) -> None:
    """A rolling update: the new one starts, then the old one ends; a pod that started under the old one ends under the new one."""
    world.device("d0")
    old = world.run_driver("--rolling-update", "--pod-uid", "1111-old")
    await world.run_pod()
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
    new = world.run_driver("--rolling-update", "--pod-uid", "2222-new")
    await new.says("watcher came")
    old.end()
    world.device("d0", "Unhealthy: said by the new one")
    await world.pod("trainer", lambda pod: list(field_of(pod).values()) == [("Unhealthy", "said by the new one")], within=15)
    await world.api.delete(f"{world.pods}/trainer")
    await new.says("unprepared")
