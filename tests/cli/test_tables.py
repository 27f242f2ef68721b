"""The tables of `podvitals get`: what they blame, and what they say of pods that wait."""

from msgspec.structs import replace

from podvitals.claim.meta import Condition
from podvitals.claim.pod import ContainerState, ContainerStatus, Pod, PodStatus, Terminated, Waiting
from podvitals.cli.tables import pod_status, pods_table
from podvitals.device.health import Health
from podvitals.fleet.inventory import AGENT_SILENT_AFTER, AgentView, pod_view
from podvitals.pod.entry import DeviceEntry, FaultEntry
from tests.fleet.pods import NODE, NOW, at, entry, pod

ALIVE, SILENT = AgentView(NODE, NOW - 4), AgentView(NODE, NOW - AGENT_SILENT_AFTER - 1)
BROKEN = entry("gpu-3", Health.UNHEALTHY, "Xid 79", -360)
OVER = entry("gpu-3", faults=(FaultEntry(health=Health.UNHEALTHY, message="Xid 79", start=at(-360), until=at(-20)),))


def why(*entries: DeviceEntry, agent: AgentView = ALIVE, exit_code: int | None = 139) -> str:
    (row,) = pods_table([pod_view(pod(*entries, exit_code=exit_code), agent, NOW)], NOW, all_namespaces=False).rows
    return row[5]


def test_the_device_that_explains_the_crash_is_the_one_that_is_named() -> None:
    unread = entry("gpu-1", Health.UNKNOWN, "nvml: timeout", -10)
    assert why(BROKEN) == "gpu-3: Xid 79 (explains the crash)"
    assert why(unread, BROKEN) == "gpu-3: Xid 79 (explains the crash)"
    another = replace(entry("gpu-1", Health.UNHEALTHY, "Xid 13", -360), container="side-car")
    assert why(another, BROKEN) == "gpu-3: Xid 79 (explains the crash)"
    assert why(BROKEN, exit_code=None) == "gpu-3: Xid 79"


def test_no_device_is_blamed_for_a_crash_that_another_fault_explains() -> None:
    relapsed = replace(
        entry("gpu-3", Health.UNKNOWN, "nvml: timeout", -5),
        faults=(*OVER.faults, *entry("gpu-3", Health.UNKNOWN, "nvml: timeout", -5).faults),
    )
    assert why(relapsed) == "gpu-3: nvml: timeout"
    assert why(OVER) == "gpu-3: Xid 79 (over now, explains the last crash)"


def test_what_a_silent_agent_knew_last_still_explains_the_crash() -> None:
    assert why(BROKEN, agent=SILENT).endswith("last known: Unhealthy: Xid 79 (explains the crash)")


def test_a_pod_without_a_node_says_what_it_waits_for() -> None:
    message = '0/1 nodes are available: request "gpu" wants 20 devices'
    condition = Condition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    made = pod()
    waits = replace(made, spec=replace(made.spec, node_name=""), status=PodStatus(phase="Pending", conditions=(condition,)))
    (row,) = pods_table([pod_view(waits, AgentView("", None), NOW)], NOW, all_namespaces=False).rows
    assert row[4:6] == ("none said", f"waits for a node: {message}")


def test_an_init_container_in_trouble_reads_as_kubectl_writes_it() -> None:
    def status(state: ContainerState) -> str:
        made = pod()
        begun = ContainerStatus(name="warm-up", state=state)
        held = ContainerStatus(name="train", state=ContainerState(waiting=Waiting(reason="PodInitializing")))
        whole: Pod = replace(made, status=replace(made.status, init_container_statuses=(begun,), container_statuses=(held,)))
        return pod_status(pod_view(whole, ALIVE, NOW))

    assert status(ContainerState(waiting=Waiting(reason="CrashLoopBackOff"))) == "Init:CrashLoopBackOff"
    assert status(ContainerState(terminated=Terminated(exit_code=2, reason="Error"))) == "Init:Error"
