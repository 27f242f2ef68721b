"""pods/log: which container is meant and whether it has a log, then the bytes the kubelet hands over."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from podvitals.lab.api.refusal import Refusal
from podvitals.lab.api.schema import Body

LogSource = Callable[[str, str, str, bool, bool, int | None], AsyncIterator[bytes] | Awaitable[AsyncIterator[bytes]]]
"""(namespace, pod, container, previous, follow, tail) → the log's bytes, as they come. `tail`: last lines only, None for all.
`follow`: goes on until the container ends. It may raise NotFound (no log of that container) or InvalidInput: both are answered as 400."""

REFUSED = {
    "timestamps": "--timestamps",
    "sinceSeconds": "--since",
    "sinceTime": "--since-time",
}


@dataclass(frozen=True, slots=True)
class LogQuery:
    container: str
    previous: bool
    follow: bool
    tail: int | None
    limit: int | None


def query(pod: Body, given: dict[str, str]) -> LogQuery | None:
    """None for a pod on no node, which has no log and, upstream, no error either.

    Refusal 400 where the container is unclear, unknown or has not started, and for what the lab's logs cannot be asked.
    """
    for name, flag in REFUSED.items():
        if given.get(name, "") not in ("", "false"):
            raise Refusal(400, f"the lab's logs are the bytes a container wrote, without times: {flag} is not served")
    container = _container(pod, given.get("container", ""))
    previous, tail = given.get("previous") == "true", given.get("tailLines", "")
    limit = given.get("limitBytes", "")
    if not (tail or "0").isdigit() or not (limit or "0").isdigit():
        raise Refusal(400, "tailLines and limitBytes must be whole numbers")
    if not pod["spec"].get("nodeName"):
        return None
    _has_log(pod, container, previous)
    follow = given.get("follow") == "true" and not previous
    return LogQuery(container, previous, follow, int(tail) if tail else None, int(limit) if limit else None)


def _container(pod: Body, wanted: str) -> str:
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [each["name"] for each in spec.get("containers", ())]
    init = [each["name"] for each in spec.get("initContainers", ())]
    if wanted:
        if wanted not in [*names, *init, *(each["name"] for each in spec.get("ephemeralContainers", ()))]:
            raise Refusal(400, f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names) == 1 and not init:
        return str(names[0])
    suffix = f" or one of the init containers: [{' '.join(init)}]" if init else ""
    raise Refusal(400, f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]{suffix}")


def _has_log(pod: Body, container: str, previous: bool) -> None:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    statuses = [each for kind in kinds for each in status.get(kind, ())]
    found = next((each for each in statuses if each["name"] == container), None)
    if found is None:
        raise Refusal(400, f'container "{container}" in pod "{name}" is not available')
    if previous:
        if "terminated" not in found.get("lastState", {}):
            raise Refusal(400, f'previous terminated container "{container}" in pod "{name}" not found')
        return
    state = found.get("state", {})
    if "waiting" in state and "terminated" not in found.get("lastState", {}):
        reason = state["waiting"].get("reason", "ContainerCreating")
        raise Refusal(400, f'container "{container}" in pod "{name}" is waiting to start: {reason}')
