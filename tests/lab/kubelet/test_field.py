"""`allocatedResourcesStatus` as the lab's kubelet writes it: whose devices, what of them, and in what state of everything else."""

import asyncio
from functools import partial

import pytest

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.errors import Invalid
from podvitals.kube.resources import CLAIMS, EVENTS
from podvitals.lab.kubelet.status import FORGOTTEN, MESSAGES
from podvitals.lab.pods import RUNNABLE_PODS, RunnablePod
from podvitals.wire.messages import PreparedDevice
from tests.lab.kubelet.fakes import FakePlugin
from tests.lab.kubelet.place import GPU, Lab, gpu_pod, health, main, node, running, sh, use_gpu

NAME = "gpu.example.com/claim=gpu-0"
SECOND = DeviceKey(GPU.driver, GPU.pool, "gpu-1")
CLAIM = {"claims": [{"name": "gpus"}]}
NAMED = [{"name": "gpus", "resourceClaimName": "named"}]


def entries(pod: RunnablePod) -> dict[str, list[tuple[str, str]]]:
    """Container → its devices and their health."""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    return {
        status.name: [(one.resource_id, one.health) for entry in status.allocated_resources_status for one in entry.resources]
        for status in statuses
        if status.allocated_resources_status
    }


def _says(name: str, word: Health, pod: RunnablePod) -> bool:
    return pod.metadata.name == name and running(pod) and health(pod) == [(NAME, word, None)]


async def shown(lab: Lab) -> list[tuple[str, str, str | None]]:
    """What the field of pod p says now."""
    return health(await lab.client.get(RUNNABLE_PODS, "p", "default"))


async def ended(lab: Lab) -> RunnablePod:
    """Pod p, which held a healthy GPU to its end."""
    use_gpu(lab)
    lab.drivers.set(GPU, Health.HEALTHY)
    await gpu_pod(lab, "exit 0", restartPolicy="Never")
    pod: RunnablePod = await lab.sees(lambda pod: pod.ended)
    return pod


async def reallocated(lab: Lab) -> None:
    """What was p's GPU is now that of q, which runs."""
    await lab.client.delete(CLAIMS, "named", "default")
    await lab.run(sh("sleep 1000", resources=CLAIM), name="q", resourceClaims=NAMED)
    await lab.claim(pods=("q",))
    await lab.sees(lambda pod: pod.metadata.name == "q" and running(pod) and health(pod))


async def another(lab: Lab, name: str) -> None:
    """A pod that holds nothing comes to run: by then the kubelet has done what it had to do before."""
    await lab.run(sh("sleep 1000"), name=name)
    await lab.sees(lambda pod: pod.metadata.name == name and running(pod))


async def test_init_containers_and_sidecars_show_their_devices_too(lab: Lab) -> None:
    use_gpu(lab)
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    inits = [sh("exit 0", resources=CLAIM), sh("sleep 1000", name="side", restartPolicy="Always", resources=CLAIM)]
    await lab.run(sh("sleep 1000", resources=CLAIM), init=inits, resourceClaims=NAMED)
    await lab.claim()
    sick = [(NAME, "Unhealthy")]
    await lab.sees(lambda pod: running(pod) and entries(pod) == {"init": sick, "side": sick, "main": sick})


async def test_an_ephemeral_container_can_hold_no_device_because_the_api_lets_it_claim_none(lab: Lab) -> None:
    """Upstream: `resources` of an ephemeral container are forbidden, and a pod is not made with one."""
    ephemeral = [{"name": "debug", "image": "none", "resources": CLAIM}]
    with pytest.raises(Invalid):
        await lab.run(sh("sleep 1"), resourceClaims=NAMED, ephemeralContainers=ephemeral)


async def test_pods_that_share_a_claim_both_show_its_devices_and_it_is_unprepared_with_the_last(lab: Lab) -> None:
    plugin = use_gpu(lab)
    for name in ("p", "q"):
        await lab.run(sh("sleep 1000", resources=CLAIM), name=name, resourceClaims=NAMED)
    await lab.claim(pods=("p", "q"))
    for word in (Health.HEALTHY, Health.UNHEALTHY):
        lab.drivers.set(GPU, word)
        for name in ("p", "q"):
            await lab.sees(partial(_says, name, word))
    for name, calls in (("p", 2), ("q", 3)):
        gone = asyncio.create_task(lab.gone(name))
        await lab.client.delete(RUNNABLE_PODS, name, "default", grace=1)
        await gone
        assert len(plugin.calls) == calls
    assert plugin.calls[-1] == ("unprepare", ("named",))


async def test_devices_with_one_first_cdi_id_stay_two_entries(lab: Lab) -> None:
    """Upstream shows one of them, and so an Unhealthy one as Healthy (CONTRACT §5)."""
    same = ("gpu.example.com/claim=all",)
    lab.drivers.plugins[GPU.driver] = FakePlugin(
        (PreparedDevice(("gpu",), GPU.pool, "gpu-0", same), PreparedDevice(("gpu",), GPU.pool, "gpu-1", same))
    )
    (lab.root / "cdi" / "gpu.json").write_text('{"kind": "gpu.example.com/claim", "devices": [{"name": "all"}]}')
    lab.drivers.set(GPU, Health.HEALTHY)
    lab.drivers.set(SECOND, Health.UNHEALTHY, "Xid 79")
    await lab.run(sh("sleep 1000", resources=CLAIM), resourceClaims=NAMED)
    await lab.claim(devices=("gpu-0", "gpu-1"))
    await lab.sees(lambda pod: running(pod) and entries(pod) == {"main": [(str(GPU), "Healthy"), (str(SECOND), "Unhealthy")]})


async def test_a_device_reallocated_to_the_next_pod_is_no_more_that_of_the_last(lab: Lab) -> None:
    use_gpu(lab)
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    await gpu_pod(lab, "exit 0", restartPolicy="Never")
    before = await lab.sees(lambda pod: pod.ended)
    await reallocated(lab)
    lab.drivers.set(GPU, Health.HEALTHY)
    await lab.sees(lambda pod: pod.metadata.name == "q" and running(pod) and health(pod) == [(NAME, "Healthy", None)])
    assert await shown(lab) == health(before) == [(NAME, "Unhealthy", "Xid 79")]


async def test_a_fault_found_after_a_pods_end_is_added_to_what_stood_there(lab: Lab) -> None:
    """Upstream never writes it (kubernetes#132978)."""
    assert health(await ended(lab)) == [(NAME, "Healthy", None)]
    lab.drivers.set(GPU, Health.UNKNOWN, "driver gone")
    lab.drivers.set(GPU, Health.UNHEALTHY, "found late")
    await lab.sees(lambda pod: health(pod) == [(NAME, "Unhealthy", "found late")])
    lab.drivers.set(GPU, Health.HEALTHY)
    lab.drivers.set(GPU, Health.UNHEALTHY, "something else")
    await another(lab, "q")
    assert await shown(lab) == [(NAME, "Unhealthy", "found late")]


async def test_a_fault_of_a_device_that_serves_another_by_then_is_not_the_ended_pods(lab: Lab) -> None:
    await ended(lab)
    await reallocated(lab)
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    await lab.sees(lambda pod: pod.metadata.name == "q" and health(pod) == [(NAME, "Unhealthy", "Xid 79")])
    gone = asyncio.create_task(lab.gone("q"))
    await lab.client.delete(RUNNABLE_PODS, "q", "default", grace=1)
    await gone
    lab.drivers.set(GPU, Health.UNHEALTHY, "still")
    await another(lab, "r")
    assert await shown(lab) == [(NAME, "Healthy", None)]


async def test_a_claim_reserved_for_another_pod_is_neither_prepared_nor_shown(lab: Lab) -> None:
    plugin = use_gpu(lab)
    lab.drivers.set(GPU, Health.HEALTHY)
    for name in ("p", "q"):
        await lab.run(sh("sleep 1000", resources=CLAIM), name=name, resourceClaims=NAMED)
    await lab.claim(pods=("q",))
    await lab.sees(lambda event: event.involved_object.name == "p" and "not reserved for it" in event.message, EVENTS)  # type: ignore[attr-defined]
    await lab.sees(lambda pod: pod.metadata.name == "q" and running(pod) and health(pod))
    assert entries(await lab.client.get(RUNNABLE_PODS, "p", "default")) == {}
    assert plugin.calls == [("prepare", ("named",))]


async def test_a_device_that_its_driver_cannot_prepare_is_shown_with_what_is_wrong_with_it(lab: Lab) -> None:
    """Reserved but not prepared: the container waits, and the field says why."""
    use_gpu(lab).error = "device does not answer"
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    await gpu_pod(lab, "sleep 1000")
    pod = await lab.sees(lambda pod: pod.status.container_statuses and health(pod))
    assert health(pod) == [(str(GPU), "Unhealthy", "Xid 79")]
    assert main(pod).state.waiting is not None


async def test_the_devices_of_extended_resources_are_prepared_and_shown_under_the_resource(lab: Lab) -> None:
    """Upstream does not report them (kubernetes#140060)."""
    plugin = use_gpu(lab)
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    wanted = {"example.com/gpu": "1"}
    container = {"name": "main", "image": "none"} | sh("echo using $GPU; sleep 1000", resources={"limits": wanted, "requests": wanted})
    body = {"containers": [container], "schedulerName": "none"}
    pod = await lab.client.create(RUNNABLE_PODS, {"metadata": {"name": "p"}, "spec": body}, "default")
    await lab.claim("p-extended", owner=pod)
    mapping = {"containerName": "main", "resourceName": "example.com/gpu", "requestName": "gpu"}
    extended = {"extendedResourceClaimStatus": {"resourceClaimName": "p-extended", "requestMappings": [mapping]}}
    await lab.client.patch(RUNNABLE_PODS, "p", {"status": extended}, "default", subresource="status")
    await lab.bind("p")
    pod = await lab.sees(lambda pod: running(pod) and health(pod) == [(NAME, "Unhealthy", "Xid 79")])
    assert [entry.name for entry in main(pod).allocated_resources_status] == ["example.com/gpu"]
    assert plugin.calls == [("prepare", ("p-extended",))]
    async with asyncio.timeout(5):
        while await lab.logs() != "using gpu-0\n":
            await asyncio.sleep(0.01)


async def test_a_thousand_devices_with_something_to_say_each_are_all_shown_within_what_the_api_takes(lab: Lab) -> None:
    names = [f"gpu-{number:04}" for number in range(1000)]
    lab.drivers.plugins[GPU.driver] = FakePlugin(tuple(PreparedDevice(("gpu",), GPU.pool, name, ()) for name in names))
    for name in names:
        lab.drivers.health[DeviceKey(GPU.driver, GPU.pool, name)] = Health.UNHEALTHY, "é" * 500
    await lab.run(sh("sleep 1000", resources=CLAIM), init=[sh("exit 0", resources=CLAIM)], resourceClaims=NAMED)
    await lab.claim(devices=names)
    pod = await lab.sees(lambda pod: running(pod) and entries(pod))
    assert [one for one, _ in entries(pod)["main"]] == [f"{GPU.driver}/{GPU.pool}/{name}" for name in names]
    said = [message or "" for _, _, message in health(pod)]
    assert all(said)
    assert 2 * sum(len(message.encode()) for message in said) <= MESSAGES
    lab.drivers.set(DeviceKey(GPU.driver, GPU.pool, "gpu-0500"), Health.HEALTHY)
    await lab.sees(
        lambda pod: [one for one, word in entries(pod).get("main", ()) if word == "Healthy"] == [f"{GPU.driver}/{GPU.pool}/gpu-0500"]
    )


async def test_a_kubelet_that_begins_anew_shows_what_it_learns_of_the_claims_at_once(lab: Lab) -> None:
    use_gpu(lab)
    lab.drivers.set(GPU, Health.HEALTHY)
    await gpu_pod(lab, "sleep 1000")
    await lab.sees(lambda pod: running(pod) and health(pod))
    await lab.stop()
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    lab.drivers.plugins.clear()  # and nobody is there to prepare it
    async with node(lab.client, lab.drivers, lab.root):
        await lab.sees(lambda pod: health(pod) == [(str(GPU), "Unhealthy", "Xid 79")])


async def test_a_kubelet_that_begins_anew_and_cannot_learn_what_a_pod_holds_says_unknown(lab: Lab) -> None:
    use_gpu(lab)
    lab.drivers.set(GPU, Health.HEALTHY)
    await gpu_pod(lab, "sleep 1000")
    await lab.sees(lambda pod: running(pod) and health(pod) == [(NAME, "Healthy", None)])
    await lab.stop()
    await lab.client.patch(CLAIMS, "named", {"status": {"reservedFor": None}}, "default", subresource="status", kind="merge")
    async with node(lab.client, lab.drivers, lab.root):
        await lab.sees(lambda pod: health(pod) == [(NAME, "Unknown", FORGOTTEN)])


async def test_a_kubelet_that_begins_anew_adds_what_is_found_late_of_a_pod_that_had_ended(lab: Lab) -> None:
    """Its claims may be gone by then, and what its driver called the device."""
    before = await ended(lab)
    await lab.stop()
    await lab.client.delete(CLAIMS, "named", "default")
    async with node(lab.client, lab.drivers, lab.root):
        await another(lab, "q")
        assert await shown(lab) == [(NAME, "Healthy", None)]
        lab.drivers.set(GPU, Health.UNHEALTHY, "found late")
        after = await lab.sees(lambda pod: health(pod) == [(NAME, "Unhealthy", "found late")])
        assert main(after).state == main(before).state
        assert after.status.conditions == before.status.conditions
        lab.drivers.set(GPU, Health.HEALTHY)
    async with node(lab.client, lab.drivers, lab.root):
        lab.drivers.set(GPU, Health.UNHEALTHY, "something else")
        await lab.sees(lambda pod: pod.metadata.name == "q" and main(pod).restart_count == 1)
        assert await shown(lab) == [(NAME, "Unhealthy", "found late")]
        await lab.client.delete(RUNNABLE_PODS, "p", "default")
        async with asyncio.timeout(5):
            while await asyncio.to_thread(lambda: list((lab.root / "held").iterdir())):
                await asyncio.sleep(0.01)


async def test_a_kubelet_that_begins_anew_adds_nothing_of_a_device_that_has_served_another_pod_meanwhile(lab: Lab) -> None:
    await ended(lab)
    await reallocated(lab)
    await lab.client.delete(RUNNABLE_PODS, "q", "default", grace=0)
    await lab.stop()
    lab.drivers.set(GPU, Health.UNHEALTHY, "of the other pod's time")
    async with node(lab.client, lab.drivers, lab.root):
        await another(lab, "r")
        assert await shown(lab) == [(NAME, "Healthy", None)]


async def test_a_kubelet_that_begins_anew_adds_nothing_of_a_device_that_another_pod_shared_at_the_end(lab: Lab) -> None:
    use_gpu(lab)
    lab.drivers.set(GPU, Health.HEALTHY)
    await lab.run(sh("while ! [ -e $DIR/end ]; do sleep 0.01; done", resources=CLAIM, env=[{"name": "DIR", "value": str(lab.root)}]),
        restartPolicy="Never", resourceClaims=NAMED)  # fmt: skip
    await lab.run(sh("sleep 1000", resources=CLAIM), name="q", resourceClaims=NAMED)
    await lab.claim(pods=("p", "q"))
    for name in ("p", "q"):
        await lab.sees(partial(_says, name, Health.HEALTHY))
    await asyncio.to_thread((lab.root / "end").touch)
    await lab.sees(lambda pod: pod.metadata.name == "p" and pod.ended)
    await lab.stop()
    await lab.client.patch(CLAIMS, "named", {"status": {"reservedFor": None}}, "default", subresource="status", kind="merge")
    lab.drivers.set(GPU, Health.UNHEALTHY, "the other's")
    async with node(lab.client, lab.drivers, lab.root):
        await another(lab, "r")
        assert await shown(lab) == [(NAME, "Healthy", None)]


async def test_a_kubelet_that_begins_anew_goes_on_with_the_pods_life(lab: Lab) -> None:
    """Its start, its phase, what was done and how often it was started: else the faults of before would not be its own."""
    inits = [sh("echo once >> $DIR/inits", env=[{"name": "DIR", "value": str(lab.root)}])]
    await lab.run(sh("sleep 1000"), init=inits)
    await lab.run(sh("sleep 1000"), name="never", restartPolicy="Never")
    before = await lab.sees(lambda pod: pod.metadata.name == "p" and running(pod))
    await lab.sees(lambda pod: pod.metadata.name == "never" and running(pod))
    await lab.stop()
    async with node(lab.client, lab.drivers, lab.root):
        ended = await lab.sees(lambda pod: pod.metadata.name == "never" and pod.ended)
        assert (ended.status.phase, main(ended).state.terminated.exit_code) == ("Failed", 137)  # type: ignore[union-attr]
        after = await lab.sees(lambda pod: pod.metadata.name == "p" and running(pod) and main(pod).restart_count == 1)
        assert (after.status.start_time, after.status.phase) == (before.status.start_time, "Running")
        assert main(after).last_state.terminated is not None
        assert main(after).last_state.terminated.reason == "ContainerStatusUnknown"  # type: ignore[union-attr]
        assert await asyncio.to_thread((lab.root / "inits").read_text) == "once\n"
