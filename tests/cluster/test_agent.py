"""The agent beside a real kubelet, with exactly the rights of deploy/agent-rbac.yaml."""

import asyncio
import time
from signal import SIGCONT, SIGSTOP

from podvitals.device.health import Health
from tests.cluster.api import Object
from tests.cluster.cluster import NODE
from tests.cluster.releases import Shown, needs
from tests.cluster.subjects import World, condition, entries, field_of, healths, writers

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
RECONCILE = 10.0
"""Seconds within which a kubelet undoes what another wrote into its own part (CONTRACT §4)."""


def agents_healths(pod: Object) -> list[str]:
    return sorted(entry["health"] for entry in entries(pod))


KUBERNETES = {"kubelet", "kube-scheduler", "kube-controller-manager", "ResourceClaimController", "Python"}
"""Who else writes pods here; Python is this suite."""
OURS = {("f:metadata", "f:annotations"), ("f:status", "f:conditions")}


def leaves(fields: Object) -> set[tuple[str, str]]:
    """Which parts of an object managedFields speaks of, two levels deep, with the keys below that are not ours made visible."""
    mine = {"f:podvitals.dev/devices", 'k:{"type":"podvitals.dev/DevicesHealthy"}', "."}
    return {
        (top, part) if set(below) <= mine else (top, f"{part}: {sorted(set(below) - mine)}")
        for top, parts in fields.items()
        for part, below in parts.items()
        if part != "."
    }


async def test_the_agent_says_what_is_wrong_and_the_kubelet_leaves_it_alone(world: World) -> None:
    world.device("d0")
    world.run_driver()
    world.run_agent()
    await world.run_pod()
    await world.pod("trainer", lambda pod: condition(pod).get("status") == "True")
    world.device("d0", "Unhealthy: fell off the bus\naction=power-cycle\n")
    pod = await world.pod("trainer", lambda pod: condition(pod).get("status") == "False" and agents_healths(pod) == ["Unhealthy"])
    assert condition(pod)["reason"] == "DeviceUnhealthy"
    assert "fell off the bus" in condition(pod)["message"]
    (entry,) = entries(pod)
    assert (entry["driver"], entry["pool"], entry["device"], entry["container"]) == (world.driver, NODE, "d0", "main")
    assert (entry["message"], entry["action"]) == ("fell off the bus", "power-cycle")
    await world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"])

    await asyncio.sleep(RECONCILE + 1)  # the claim is about what does not happen in this time
    later = await world.api.get(f"{world.pods}/trainer")
    assert condition(later) == condition(pod)
    assert entries(later) == entries(pod)
    assert healths(later) == ["Unhealthy"]


async def test_the_agent_writes_its_condition_and_annotation_and_nothing_else(world: World) -> None:
    """At no moment: what the kubelet undoes at once would not be seen at the end."""
    world.device("d0", "Unhealthy: fell off the bus")
    world.run_driver()
    world.run_agent()
    seen = 0
    async with world.api.watching(world.pods) as events, asyncio.timeout(30):
        await world.create_pod("trainer")
        async for _, pod, _ in events:
            for entry in pod["metadata"]["managedFields"]:
                if entry["manager"] not in KUBERNETES:
                    seen += 1
                    assert entry["subresource"] == "status"
                    assert leaves(entry["fieldsV1"]) <= OURS, "the agent wrote what is not its own"
            if healths(pod) == ["Unhealthy"] and agents_healths(pod) == ["Unhealthy"]:
                break
    assert seen
    assert writers(pod, "containerStatuses") == {"kubelet"}


async def test_events_tell_of_a_fault_and_of_its_end(world: World) -> None:
    world.device("d0")
    world.run_driver()
    world.run_agent()
    await world.run_pod()
    await world.pod("trainer", lambda pod: condition(pod).get("status") == "True")
    events = f"/api/v1/namespaces/{world.namespace}/events"

    async def told(reason: str) -> Object:
        return await world.api.until(events, lambda event: event["reason"] == reason, fields="involvedObject.name=trainer", within=10)

    world.device("d0", "Unhealthy: fell off the bus")
    event = await told("DeviceUnhealthy")
    assert (event["type"], event["involvedObject"]["kind"]) == ("Warning", "Pod")
    assert "fell off the bus" in event["message"]
    world.device("d0")
    assert (await told("DeviceRecovered"))["type"] == "Normal"


async def test_the_agent_keeps_its_lease(world: World) -> None:
    world.run_agent()
    lease = await world.api.until(LEASES, lambda lease: True, fields=f"metadata.name=podvitals-{NODE}", within=10)
    renewed = lease["spec"]["renewTime"]
    await world.api.until(LEASES, lambda lease: lease["spec"]["renewTime"] > renewed, fields=f"metadata.name=podvitals-{NODE}", within=15)


@needs(Shown.LEASE)
async def test_a_hung_drivers_lease_end_reaches_the_kubelets_own_field(world: World) -> None:
    """The nudge: the kubelet looks at its cache only when it syncs the pod, and the agent's annotation makes it do so."""
    world.device("d0")
    driver = world.run_driver(lease=3)
    world.run_agent()
    await world.run_pod()
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"] and condition(pod).get("status") == "True")
    # Both have heard the driver again since they came: what one of them misses of that is not what hangs.
    await asyncio.sleep(2)
    async with world.api.watching(world.pods) as events, asyncio.timeout(15):
        driver.signal(SIGSTOP)
        stopped = time.monotonic()
        told = field = None
        async for _, pod, received in events:
            if told is None and condition(pod).get("status") == "Unknown":
                told = received
            if field is None and healths(pod) == ["Unknown"]:
                field = received
            if told is not None and field is not None:
                break
    assert told is not None
    assert field is not None
    assert 1.4 < told - stopped < 3.5, "the lease is 3 s, and was renewed at most half of it ago"
    assert field - told < 0.5
    driver.signal(SIGCONT)
    await world.pod("trainer", lambda pod: healths(pod) == ["Healthy"] and condition(pod).get("status") == "True")


@needs(Shown.MESSAGE)
async def test_an_action_in_the_report_reaches_the_annotation_and_does_not_disturb_the_kubelet(world: World) -> None:
    """It travels in a field of DeviceHealth that no kubelet knows."""
    world.run_agent()
    async with world.scripted("d0") as driver:
        driver.say("d0", Health.UNHEALTHY, "it smokes", action="power-cycle")
        await world.run_pod()
        pod = await world.pod("trainer", lambda pod: healths(pod) == ["Unhealthy"] and agents_healths(pod) == ["Unhealthy"])
        assert [entry["action"] for entry in entries(pod)] == ["power-cycle"]
        assert list(field_of(pod).values()) == [("Unhealthy", "it smokes")]


async def test_an_agent_that_was_killed_goes_on_where_it_was(world: World) -> None:
    world.device("d0")
    world.run_driver()
    agent = world.run_agent()
    await world.run_pod()
    await world.pod("trainer", lambda pod: condition(pod).get("status") == "True" and agents_healths(pod) == ["Healthy"])
    agent.kill()
    world.device("d0", "Unhealthy: while nobody looked")
    agent.start()
    pod = await world.pod("trainer", lambda pod: condition(pod).get("status") == "False" and agents_healths(pod) == ["Unhealthy"])
    assert "while nobody looked" in condition(pod)["message"]


async def test_a_pod_that_ended_keeps_its_devices_story(world: World) -> None:
    """The kubelet takes its field away when a pod ends; the agent's condition and annotation stay."""
    world.device("d0")
    world.run_driver()
    world.run_agent()
    end = world.devices.parent / f"{world.namespace}-end"
    await world.run_pod(command=["sh", "-c", f"until [ -e {end} ]; do sleep 0.1; done; exit 3"], restart="Never")
    world.device("d0", "Unhealthy: fell off the bus")
    await world.pod("trainer", lambda pod: condition(pod).get("status") == "False")
    end.touch()
    pod = await world.pod("trainer", lambda pod: pod["status"]["phase"] == "Failed" and not field_of(pod))
    assert agents_healths(pod) == ["Unhealthy"]
    assert condition(pod)["status"] == "False"
