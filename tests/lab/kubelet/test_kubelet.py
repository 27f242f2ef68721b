"""The lab's kubelet on the lab's API: pods as processes, their status, logs and devices. Drivers are stand-ins answering from a table."""

import asyncio

import pytest

from podvitals.device.health import Health
from podvitals.errors import NotFound
from podvitals.kube.resources import EVENTS, LEASES, NODES
from podvitals.lab.kubelet.gates import Gates
from podvitals.lab.pods import RUNNABLE_PODS, RunnablePod
from tests.lab.kubelet.place import GPU, Lab, gpu_pod, health, main, running, sh, use_gpu


async def test_the_node_is_ready_and_has_a_lease(lab: Lab) -> None:
    node = await lab.sees(lambda node: node.ready, NODES)  # type: ignore[attr-defined]
    assert node.metadata.name == "lab"
    lease = await lab.sees(lambda lease: lease.metadata.name == "lab", LEASES)
    assert lease.spec.holder_identity == "lab"


async def test_a_pod_runs_and_its_logs_can_be_followed_to_its_end(lab: Lab) -> None:
    await lab.run(sh("echo hello; sleep 0.2; echo bye; exit 3"), restartPolicy="Never")
    await lab.sees(running)
    assert await lab.logs(follows=True) == "hello\nbye\n"
    ended = await lab.sees(lambda pod: pod.ended)
    assert ended.status.phase == "Failed"
    assert main(ended).state.terminated is not None
    assert main(ended).state.terminated.exit_code == 3  # type: ignore[union-attr]


async def test_a_crash_loop_backs_off_counts_and_keeps_the_previous_log(lab: Lab) -> None:
    await lab.run(sh("echo run $$; exit 1"))
    looping = await lab.sees(
        lambda pod: pod.status.container_statuses and main(pod).restart_count >= 2 and main(pod).state.waiting is not None
    )
    assert main(looping).state.waiting.reason == "CrashLoopBackOff"  # type: ignore[union-attr]
    assert main(looping).last_state.terminated.exit_code == 1  # type: ignore[union-attr]
    assert (await lab.logs(previous=True)).startswith("run ")
    event = await lab.sees(lambda event: event.reason == "BackOff", EVENTS)  # type: ignore[attr-defined]
    assert event.involved_object.field_path == "spec.containers{main}"


@pytest.mark.parametrize("what", ["logs", "pods"])
async def test_a_disk_that_takes_no_container_is_told_on_the_pod_which_runs_when_it_does(lab: Lab, what: str) -> None:
    await lab.sees(lambda node: node.ready, NODES)  # type: ignore[attr-defined]
    place = lab.root / what
    place.rmdir()
    place.touch()
    await lab.run(sh("sleep 1000"))
    waits = await lab.sees(lambda pod: pod.status.container_statuses and main(pod).state.waiting is not None and main(pod).restart_count)
    assert main(waits).state.waiting.reason == "CrashLoopBackOff"  # type: ignore[union-attr]
    event = await lab.sees(lambda event: event.reason == "Failed", EVENTS)  # type: ignore[attr-defined]
    assert event.message == "Error: cannot make what container main needs on this machine: Not a directory"
    place.unlink()
    place.mkdir()
    await lab.sees(running)


async def test_init_containers_run_before_and_a_sidecar_beside(lab: Lab) -> None:
    side = sh("echo side >> $DIR/order; sleep 1000", name="side", restartPolicy="Always")
    env = [{"name": "DIR", "value": str(lab.root)}]
    inits = [sh("echo one >> $DIR/order", env=env), side | {"env": env}]
    await lab.run(sh("cat $DIR/order; sleep 1000", env=env), init=inits)
    up = await lab.sees(lambda pod: running(pod) and pod.condition("Ready").status == "True")  # type: ignore[union-attr]
    assert [status.name for status in up.status.init_container_statuses] == ["init", "side"]
    async with asyncio.timeout(10):  # "started" is before its first line
        while await asyncio.to_thread((lab.root / "order").read_text) != "one\nside\n":
            await asyncio.sleep(0.01)


async def test_an_ephemeral_container_runs_beside_the_others_and_ends_with_them(lab: Lab) -> None:
    await lab.run(sh("while ! [ -e $DIR/end ]; do sleep 0.01; done", env=[{"name": "DIR", "value": str(lab.root)}]), restartPolicy="Never")
    await lab.sees(running)
    debug = {"name": "debug", "image": "none", "command": ["sh", "-c", "echo looking; exec sleep 1000"]}
    body = {"spec": {"ephemeralContainers": [debug]}}
    await lab.client.patch(RUNNABLE_PODS, "p", body, "default", subresource="ephemeralcontainers")
    up = await lab.sees(lambda pod: pod.status.ephemeral_container_statuses and pod.status.ephemeral_container_statuses[0].state.running)
    assert running(up)
    async with asyncio.timeout(10):  # it runs before it has said anything
        while await lab.logs("debug") != "looking\n":
            await asyncio.sleep(0.01)
    await asyncio.to_thread((lab.root / "end").touch)
    ended = await lab.sees(lambda pod: pod.ended)
    assert ended.status.phase == "Succeeded"
    assert ended.status.ephemeral_container_statuses[0].state.terminated is not None
    event = await lab.sees(lambda event: event.reason == "Started" and "debug" in event.message, EVENTS)  # type: ignore[attr-defined]
    assert event.involved_object.field_path == "spec.ephemeralContainers{debug}"


async def test_a_condition_that_holds_again_says_no_reason_of_before(lab: Lab) -> None:
    await lab.run(sh("sleep 1000"), init=[sh("sleep 0.2")])
    waits = await lab.sees(lambda pod: pod.condition("Ready") is not None)
    assert waits.condition("Ready").reason == "ContainersNotReady"
    up = await lab.sees(lambda pod: pod.condition("Ready").status == "True")  # type: ignore[union-attr]
    assert [(c.type, c.reason, c.message) for c in up.status.conditions if c.reason or c.message] == []


async def test_a_deleted_pod_gets_sigterm_and_then_goes(lab: Lab) -> None:
    await lab.run(sh("trap 'echo term; exit 0' TERM; echo up; while :; do sleep 0.01; done"))
    await lab.sees(running)
    gone = asyncio.create_task(lab.gone())
    await lab.client.delete(RUNNABLE_PODS, "p", "default")
    await gone


async def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace_period(lab: Lab) -> None:
    await lab.run(sh("trap '' TERM; while :; do sleep 0.01; done"), terminationGracePeriodSeconds=1)
    await lab.sees(running)
    gone = asyncio.create_task(lab.gone())
    await lab.client.delete(RUNNABLE_PODS, "p", "default")
    await gone


async def test_pods_deleted_in_the_moment_they_crash_go_all_the_same(lab: Lab) -> None:
    for number in range(8):
        await lab.run(sh("exit 1"), name=f"p{number}")
    started: set[str] = set()

    def all_started(pod: RunnablePod) -> bool:
        started.update({pod.metadata.name} if pod.status.container_statuses else ())
        return len(started) == 8

    await lab.sees(all_started)
    going = [asyncio.create_task(lab.gone(f"p{number}")) for number in range(8)]
    await asyncio.gather(*(lab.client.delete(RUNNABLE_PODS, f"p{number}", "default") for number in range(8)))
    await asyncio.gather(*going)


async def test_a_pod_removed_by_force_takes_its_processes_with_it(lab: Lab) -> None:
    await lab.run(sh("sleep 1000"))
    pod = await lab.sees(running)
    await lab.client.delete(RUNNABLE_PODS, "p", "default", grace=0)
    async with asyncio.timeout(10):
        while await asyncio.to_thread((lab.root / "pods" / pod.metadata.uid).exists):
            await asyncio.sleep(0.01)


async def test_a_pod_without_a_command_waits_and_an_event_says_why(lab: Lab) -> None:
    await lab.run({"image": "busybox"})
    pod = await lab.sees(lambda pod: pod.status.container_statuses)
    waiting = main(pod).state.waiting
    assert waiting is not None
    assert waiting.reason == "CreateContainerError"
    assert "no command specified: the lab has no images" in waiting.message
    await lab.sees(lambda event: event.reason == "Failed" and "no command specified" in event.message, EVENTS)  # type: ignore[attr-defined]


async def test_a_program_that_does_not_exist_crash_loops_with_128(lab: Lab) -> None:
    await lab.run({"command": ["no-such-program"]})
    pod = await lab.sees(lambda pod: pod.status.container_statuses and main(pod).last_state.terminated is not None)
    assert main(pod).last_state.terminated.exit_code == 128  # type: ignore[union-attr]
    assert main(pod).last_state.terminated.reason == "StartError"  # type: ignore[union-attr]


async def test_a_claim_is_prepared_its_edits_reach_the_container_and_its_health_the_field(lab: Lab) -> None:
    plugin = use_gpu(lab)
    lab.drivers.set(GPU, Health.HEALTHY)
    await gpu_pod(lab, "echo using $GPU; sleep 1000")
    await lab.sees(lambda pod: running(pod) and health(pod) == [("gpu.example.com/claim=gpu-0", "Healthy", None)])
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    await lab.sees(lambda pod: health(pod) == [("gpu.example.com/claim=gpu-0", "Unhealthy", "Xid 79")])
    async with asyncio.timeout(5):
        while await lab.logs() != "using gpu-0\n":
            await asyncio.sleep(0.01)
    gone = asyncio.create_task(lab.gone())
    await lab.client.delete(RUNNABLE_PODS, "p", "default", grace=1)
    await gone
    assert plugin.calls == [("prepare", ("named",)), ("unprepare", ("named",))]


async def test_another_writer_of_the_field_is_undone(lab: Lab) -> None:
    use_gpu(lab)
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    await gpu_pod(lab, "sleep 1000")
    pod = await lab.sees(lambda pod: running(pod) and health(pod))
    forged = {"name": "main", "image": "none", "imageID": "", "ready": True, "restartCount": 7, "allocatedResourcesStatus": []}
    written = await lab.client.patch(RUNNABLE_PODS, "p", {"status": {"containerStatuses": [forged]}}, "default", subresource="status")
    repaired = await lab.sees(lambda pod: pod.metadata.resource_version > written.metadata.resource_version and running(pod))
    assert health(repaired) == health(pod)
    assert main(repaired).restart_count == 0


async def test_an_ended_pod_keeps_the_field_as_of_its_end(lab: Lab) -> None:
    use_gpu(lab)
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    await gpu_pod(lab, "exit 1", restartPolicy="Never")
    ended = await lab.sees(lambda pod: pod.ended)
    assert health(ended) == [("gpu.example.com/claim=gpu-0", "Unhealthy", "Xid 79")]
    lab.drivers.set(GPU, Health.HEALTHY)
    await asyncio.sleep(0.05)
    assert health(await lab.client.get(RUNNABLE_PODS, "p", "default")) == health(ended)


async def test_a_prepare_that_fails_is_said_and_tried_again(lab: Lab) -> None:
    plugin = use_gpu(lab)
    plugin.error = "device is busy"
    await gpu_pod(lab, "sleep 1000")
    event = await lab.sees(lambda event: event.reason == "FailedPrepareDynamicResources" and "busy" in event.message, EVENTS)  # type: ignore[attr-defined]
    assert "driver gpu.example.com: ResourceClaim named: device is busy" in event.message
    pod = await lab.client.get(RUNNABLE_PODS, "p", "default")
    assert main(pod).state.waiting.reason == "ContainerCreating"  # type: ignore[union-attr]
    plugin.error = ""
    await lab.sees(running)


@pytest.mark.parametrize("lab", [Gates(resource_health_status_message=False)], indirect=True)
async def test_without_the_gate_of_messages_the_field_has_health_alone(lab: Lab) -> None:
    use_gpu(lab)
    lab.drivers.set(GPU, Health.UNHEALTHY, "Xid 79")
    await gpu_pod(lab, "sleep 1000")
    await lab.sees(lambda pod: running(pod) and health(pod) == [("gpu.example.com/claim=gpu-0", "Unhealthy", None)])


@pytest.mark.parametrize("lab", [Gates(resource_health_status=False)], indirect=True)
async def test_without_the_gate_there_is_no_field(lab: Lab) -> None:
    use_gpu(lab)
    await gpu_pod(lab, "sleep 1000")
    assert health(await lab.sees(running)) == []


async def test_logs_of_what_never_ran_are_not_found(lab: Lab) -> None:
    with pytest.raises(NotFound, match='pod "p" does not run'):
        await lab.logs()
