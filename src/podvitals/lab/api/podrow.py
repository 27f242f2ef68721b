"""The row of a pod in `kubectl get pods`: upstream's printPod, because its STATUS column is what everybody knows a pod's state by. Pure."""

from collections.abc import Callable
from typing import Any

from podvitals.lab.api.schema import Body

NONE = "<none>"


def pod_cells(pod: Body, age: str, since: Callable[[str], str]) -> list[Any]:
    spec, status, meta = pod["spec"], pod.get("status", {}), pod["metadata"]
    sidecars = {each["name"] for each in spec.get("initContainers", ()) if each.get("restartPolicy") == "Always"}
    reason = _reason_before_containers(status)
    init, ready, initializing = _init_reason(spec, status, sidecars)
    restarted = [*status.get("initContainerStatuses", ())]
    if initializing:
        reason = init
    if not initializing or _condition(status, "Initialized") == "True":
        restarted = [each for each in restarted if each["name"] in sidecars] + [*status.get("containerStatuses", ())]
        reason = _container_reason(status, reason)
        ready += sum(1 for each in status.get("containerStatuses", ()) if each.get("ready") and _running(each))
    if "deletionTimestamp" in meta and status.get("reason") == "NodeLost":
        reason = "Unknown"
    elif "deletionTimestamp" in meta and status.get("phase") not in ("Succeeded", "Failed"):
        reason = "Terminating"
    total = len(spec.get("containers", ())) + len(sidecars)
    return [meta["name"], f"{ready}/{total}", reason, _restarts(restarted, since), age, *_wide(spec, status)]


def _running(container: Body) -> bool:
    """As upstream counts it: neither waiting for a named reason nor terminated."""
    state = container.get("state", {})
    return "running" in state and "terminated" not in state and not state.get("waiting", {}).get("reason")


def _condition(status: Body, kind: str) -> str:
    return next((str(each.get("status")) for each in status.get("conditions", ()) if each.get("type") == kind), "")


def _reason_before_containers(status: Body) -> str:
    gated = any(each.get("type") == "PodScheduled" and each.get("reason") == "SchedulingGated" for each in status.get("conditions", ()))
    return "SchedulingGated" if gated else str(status.get("reason") or status.get("phase", ""))


def _ended(terminated: Body) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _init_reason(spec: Body, status: Body, sidecars: set[str]) -> tuple[str, int, bool]:
    """Reason, sidecars ready, and whether the pod is still initializing."""
    ready = 0
    for at, container in enumerate(status.get("initContainerStatuses", ())):
        state = container.get("state", {})
        ended, waiting = state.get("terminated"), state.get("waiting", {}).get("reason")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if container["name"] in sidecars and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if ended is not None:
            return f"Init:{_ended(ended)}", ready, True
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}", ready, True
        return f"Init:{at}/{len(spec.get('initContainers', ()))}", ready, True
    return "", ready, False


def _container_reason(status: Body, reason: str) -> str:
    error, running = "", False
    for container in reversed(status.get("containerStatuses", ())):
        state = container.get("state", {})
        if state.get("waiting", {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif "terminated" in state:
            reason = _ended(state["terminated"])
            error = reason if state["terminated"].get("exitCode") else error
        elif container.get("ready") and "running" in state:
            running = True
    if reason == "Completed":
        if running and _condition(status, "Ready") == "True":
            return "Running"
        return error or ("NotReady" if running else reason)
    return reason


def _restarts(containers: list[Body], since: Callable[[str], str]) -> str:
    count = sum(each.get("restartCount", 0) for each in containers)
    ends = [str(each.get("lastState", {}).get("terminated", {}).get("finishedAt") or "") for each in containers]
    last = max(ends, default="")
    return f"{count} ({since(last)} ago)" if count and last else str(count)


def _wide(spec: Body, status: Body) -> list[str]:
    address = next((each.get("ip", "") for each in status.get("podIPs", ())), "")
    gates = [each.get("conditionType", "") for each in spec.get("readinessGates", ())]
    passed = sum(1 for gate in gates if _condition(status, gate) == "True")
    return [
        address or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{passed}/{len(gates)}" if gates else NONE,
    ]
