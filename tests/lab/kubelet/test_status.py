"""Pod status in upstream's shapes."""

from typing import Any

import msgspec

from podvitals.claim.pod import AllocatedResourceStatus, ResourceHealth
from podvitals.lab.kubelet.backoff import BackoffSettings
from podvitals.lab.kubelet.machine import PodMachine
from podvitals.lab.kubelet.plan import Added, ContainerPlan, Deleted, Event, Exited, Kind, PodPlan, Prepared, Restart, Started, Unprepared
from podvitals.lab.kubelet.status import Moment, build, phase
from podvitals.lab.pods import RunnablePod

POD = msgspec.convert({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "img"}]}}, RunnablePod)
SICK = {
    "main": [
        AllocatedResourceStatus(name="claim:gpus", resources=(ResourceHealth(resource_id="d/n/g", health="Unhealthy", message="Xid 79"),))
    ]
}


def machine(*events: Event, restart: Restart = Restart.ALWAYS, init: bool = False, claims: bool = False) -> PodMachine:
    containers = (*((ContainerPlan("init", Kind.INIT),) if init else ()), ContainerPlan("main"))
    made = PodMachine(PodPlan("p_ns(u)", containers, restart, claims), BackoffSettings())
    made.start(0.0)
    for event in events:
        made.handle(event, 0.0)
    return made


def status(made: PodMachine, before: dict[str, Moment] | None = None, wall: float = 100.0) -> dict[str, Any]:
    return build(POD, made, SICK, before or {}, 50.0, wall)[0]


def conditions(made: PodMachine) -> dict[str, str]:
    return {c["type"]: c["status"] + (f" {c['reason']}" if c["reason"] else "") for c in status(made)["conditions"]}


UP = Started("main", 90.0, "lab://1")


def test_a_running_container_is_ready_and_shows_its_devices() -> None:
    (container,) = status(machine(UP))["containerStatuses"]
    assert container == {
        "name": "main",
        "image": "img",
        "imageID": "",
        "containerID": "lab://1",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": "1970-01-01T00:01:30Z"}},
        "lastState": {},
        "allocatedResourcesStatus": [
            {"name": "claim:gpus", "resources": [{"resourceID": "d/n/g", "health": "Unhealthy", "message": "Xid 79"}]}
        ],
    }


def test_a_crash_loop_shows_the_last_end() -> None:
    made = machine(UP, Exited("main", 91.0, 1), UP, Exited("main", 92.0, 139))
    (container,) = status(made)["containerStatuses"]
    assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert container["lastState"]["terminated"] == {
        "exitCode": 139,
        "reason": "Error",
        "startedAt": "1970-01-01T00:01:30Z",
        "finishedAt": "1970-01-01T00:01:32Z",
        "containerID": "lab://1",
    }
    assert container["restartCount"] == 1
    assert phase(made) == "Running"
    assert conditions(made)["Ready"] == "False ContainersNotReady"


def test_phases_are_upstreams() -> None:
    done, failed = Exited("main", 91.0, 0), Exited("main", 91.0, 3)
    assert phase(machine()) == "Pending"
    assert phase(machine(UP)) == "Running"
    assert phase(machine(UP, failed)) == "Running"
    assert phase(machine(UP, done, restart=Restart.ON_FAILURE)) == "Succeeded"
    assert phase(machine(UP, failed, restart=Restart.ON_FAILURE)) == "Running"
    assert phase(machine(UP, failed, restart=Restart.NEVER)) == "Failed"
    assert phase(machine(init=True)) == "Pending"
    assert phase(machine(Started("init", 1.0, "x"), Exited("init", 2.0, 1), init=True, restart=Restart.NEVER)) == "Failed"
    assert phase(machine(UP, Deleted(5), Exited("main", 91.0, 143))) == "Failed"


def test_a_pod_is_not_said_to_have_ended_before_its_claims_are_unprepared() -> None:
    made = machine(Prepared(), UP, Exited("main", 91.0, 0), restart=Restart.NEVER, claims=True)
    assert phase(made) == "Running"
    made.handle(Unprepared(), 0.0)
    assert phase(made) == "Succeeded"
    assert status(made)["containerStatuses"][0]["allocatedResourcesStatus"], "the field stays as of the end"


def test_an_ephemeral_container_has_a_status_of_its_own_and_moves_nothing_else() -> None:
    before, made = status(machine(UP)), machine(UP, Added(ContainerPlan("debug", Kind.EPHEMERAL)), Started("debug", 91.0, "lab://2"))
    after = status(made)
    (debug,) = after.pop("ephemeralContainerStatuses")
    assert (debug["name"], debug["ready"], debug["state"]) == ("debug", False, {"running": {"startedAt": "1970-01-01T00:01:31Z"}})
    assert after == before
    made.handle(Exited("debug", 99.0, 1), 0.0)
    assert (phase(made), conditions(made)["Ready"]) == ("Running", "True")


def test_conditions_are_upstreams() -> None:
    assert conditions(machine(init=True)) == {
        "PodReadyToStartContainers": "True",
        "Initialized": "False ContainersNotInitialized",
        "Ready": "False ContainersNotReady",
        "ContainersReady": "False ContainersNotReady",
        "PodScheduled": "True",
    }
    assert set(conditions(machine(UP)).values()) == {"True"}
    ended = conditions(machine(UP, Exited("main", 1.0, 0), restart=Restart.NEVER))
    assert (ended["Ready"], ended["Initialized"]) == ("False PodCompleted", "True PodCompleted")


def test_a_conditions_time_moves_only_with_its_status() -> None:
    made = machine(UP)
    _, moments = build(POD, made, {}, {}, 50.0, 100.0)
    later = build(POD, made, {}, moments, 50.0, 200.0)[0]
    assert {c["lastTransitionTime"] for c in later["conditions"]} == {"1970-01-01T00:01:40Z"}
    made.handle(Exited("main", 1.0, 1), 0.0)
    times = {c["type"]: c["lastTransitionTime"] for c in build(POD, made, {}, moments, 50.0, 200.0)[0]["conditions"]}
    assert times["Ready"] == "1970-01-01T00:03:20Z"
    assert times["PodScheduled"] == "1970-01-01T00:01:40Z"
