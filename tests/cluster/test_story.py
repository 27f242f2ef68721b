"""What `podvitals lab` shows, on a real cluster: the manifests of examples/crash-loop, and examples/minimal_driver.py."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import World, condition, entries, field_of, healths

EXAMPLES = Path(__file__).parents[2] / "examples"
DEFAULT_PODS = "/api/v1/namespaces/default/pods"


def reason(pod: dict[str, object]) -> str:
    status = pod["status"]
    assert isinstance(status, dict)
    waiting = [each["state"].get("waiting", {}).get("reason", "") for each in status.get("containerStatuses", ())]
    return "".join(waiting)


@needs(Shown.CLAIM_OF_A_TEMPLATE)
async def test_a_broken_device_explains_the_crash_loop_of_its_pod(world: World) -> None:
    device = world.devices / "accel0"
    device.touch()
    world.processes.python(
        "driver", "-m", "podvitals", "driver", "lab.podvitals.dev", "--detector", f"files:{device},interval=1", *world.flags()
    )
    world.run_agent()
    manifest = EXAMPLES / "crash-loop" / "crash-loop.yaml"
    try:
        await asyncio.to_thread(world.cluster.run_kubectl, "apply", "-f", str(manifest))
        until = world.api.until
        fields = "metadata.name=trainer-0"
        await until(DEFAULT_PODS, lambda pod: healths(pod) == ["Healthy"], fields=fields, within=30)
        device.unlink()
        pod = await until(
            DEFAULT_PODS, lambda pod: healths(pod) == ["Unhealthy"] and reason(pod) == "CrashLoopBackOff", fields=fields, within=30
        )
        assert condition(pod)["status"] == "False"
        told = await asyncio.to_thread(podvitals, world, "describe", "pod", "trainer-0")
        assert "EXPLAINS" in told
        device.touch()
        await until(DEFAULT_PODS, lambda pod: healths(pod) == ["Healthy"] and reason(pod) == "", fields=fields, within=60)
        pod = await until(DEFAULT_PODS, lambda pod: entries(pod)[0].get("faults"), fields=fields, within=10)
        assert entries(pod)[0]["faults"][-1]["health"] == "Unhealthy", "the fault stays on record"
    finally:
        await asyncio.to_thread(world.cluster.run_kubectl, "delete", "--ignore-not-found", "-f", str(manifest))


@needs(Shown.MESSAGE)
async def test_the_minimal_driver_of_the_examples_works(world: World) -> None:
    world.devices.joinpath("t1").touch()
    world.run_script(EXAMPLES / "minimal_driver.py", TOYS=str(world.devices))
    await world.create_class("toy.example.com")
    await world.run_pod(of="toy.example.com")
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"])
    world.devices.joinpath("t1").write_text("it smokes\n")
    pod = await world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])
    assert [message for _, message in field_of(pod).values()] == ["it smokes"]


async def test_the_people_see_the_fault_through_the_command_line(world: World) -> None:
    world.device("d0", "Unhealthy: fell off the bus\naction=power-cycle\n")
    world.run_driver()
    world.run_agent()
    await world.run_pod()
    await world.pod("trainer", lambda pod: condition(pod).get("status") == "False" and entries(pod))
    devices = json.loads(await asyncio.to_thread(podvitals, world, "get", "devices", "-n", world.namespace, "-o", "json"))
    assert "fell off the bus" in json.dumps(devices)
    told = await asyncio.to_thread(podvitals, world, "describe", "pod", "trainer", "-n", world.namespace)
    assert "fell off the bus" in told
    assert "power-cycle" in told


def podvitals(world: World, *arguments: str) -> str:
    """As an administrator types it."""
    command = [sys.executable, "-m", "podvitals", *arguments]
    done = subprocess.run(command, env=world.cluster.environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout
