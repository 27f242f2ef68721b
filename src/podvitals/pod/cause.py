"""Does a device explain this exit? Each container's last exit is set against the faults on record of the devices it held. Pure.

The judgement is a table (`VERDICTS`): how an episode of bad health lies in time to the exit, and how bad it was. What a table cannot know
comes first: an exit that has a cause of its own (out of memory, evicted, deleted, ended by itself) is not blamed on a device.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from podvitals.claim.pod import ContainerStatus, Pod
from podvitals.claim.times import unix
from podvitals.device.health import Health
from podvitals.device.text import clean
from podvitals.pod.entry import DeviceEntry, FaultEntry

LAG = 30.0
"""Seconds by which a detector may be late, and a container slow to fall: the default lease (CONTRACT §3)."""


class Verdict(StrEnum):
    EXPLAINED = "explained"
    POSSIBLE = "possible"
    CANNOT_TELL = "cannot tell"
    UNRELATED = "unrelated"


class Relation(StrEnum):
    """How an episode of bad health lies to a container's exit."""

    COVERS = "covers"  # it had begun, and lasted, when the container ended
    JUST_BEFORE = "just before"  # it ended at most LAG before
    JUST_AFTER = "just after"  # it was noticed at most LAG after: the detector was late
    EARLIER = "earlier in the run"
    BEFORE_RUN = "before the run"
    LATER = "later"


_MEETS = (Relation.COVERS, Relation.JUST_BEFORE, Relation.JUST_AFTER)
VERDICTS: dict[tuple[Health, Relation], Verdict] = {
    **{(Health.UNHEALTHY, relation): Verdict.EXPLAINED for relation in _MEETS},
    (Health.UNHEALTHY, Relation.EARLIER): Verdict.POSSIBLE,
    (Health.UNHEALTHY, Relation.BEFORE_RUN): Verdict.UNRELATED,
    (Health.UNHEALTHY, Relation.LATER): Verdict.UNRELATED,
    (Health.UNKNOWN, Relation.COVERS): Verdict.CANNOT_TELL,
    (Health.UNKNOWN, Relation.JUST_BEFORE): Verdict.CANNOT_TELL,
    **{(Health.UNKNOWN, r): Verdict.UNRELATED for r in (Relation.JUST_AFTER, Relation.EARLIER, Relation.BEFORE_RUN, Relation.LATER)},
}
_STRENGTH = (Verdict.EXPLAINED, Verdict.POSSIBLE, Verdict.CANNOT_TELL, Verdict.UNRELATED)
# The shell's own codes for a command that is not executable or not found: a broken device is seldom the reason.
_NEVER_STARTED = (126, 127)
_KILLED_FROM_OUTSIDE = (137, 143)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended last. Times are Unix seconds; None where the status has none."""

    container: str
    code: int
    signal: int = 0
    reason: str = ""
    started: float | None = None
    finished: float | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """`entry` and `fault` are the device and the episode the verdict rests on, None where it rests on something else, said in `why`."""

    exit: Exit
    verdict: Verdict
    entry: DeviceEntry | None = None
    fault: FaultEntry | None = None
    relation: Relation | None = None
    why: str = ""


def exits(pod: Pod) -> Iterator[Exit]:
    """The last exit of each container that has ended at least once, init containers first."""
    for status in statuses(pod):
        ended = status.state.terminated or status.last_state.terminated
        if ended is not None:
            yield Exit(status.name, ended.exit_code, ended.signal, clean(ended.reason), unix(ended.started_at), unix(ended.finished_at))


def statuses(pod: Pod) -> Iterator[ContainerStatus]:
    """Every container's status, in the order in which containers start."""
    yield from pod.status.init_container_statuses
    yield from pod.status.container_statuses
    yield from pod.status.ephemeral_container_statuses


def causes(pod: Pod, entries: Iterable[DeviceEntry], lag: float = LAG) -> tuple[Cause, ...]:
    """A cause for each container's last exit, in the order of `exits`."""
    held = tuple(entries)
    return tuple(cause(ended, pod, tuple(entry for entry in held if entry.container == ended.container), lag) for ended in exits(pod))


def cause(ended: Exit, pod: Pod, devices: tuple[DeviceEntry, ...], lag: float = LAG) -> Cause:
    """Why `ended` ended, as far as the `devices` its container held can tell."""
    if why := _own_cause(ended, pod):
        return Cause(ended, Verdict.UNRELATED, why=why)
    if not devices:
        return Cause(ended, Verdict.UNRELATED, why="the container holds no device")
    if ended.finished is None:
        return Cause(ended, Verdict.CANNOT_TELL, why="the container's status does not say when it ended")
    judged = sorted((found for entry in devices for found in _judged(ended, entry, lag)), key=_order)
    return judged[0] if judged else Cause(ended, Verdict.UNRELATED, why="every device it holds was healthy throughout")


def _order(found: Cause) -> tuple[int, float]:
    # Of equally strong causes the one that began first: later faults are often its consequences.
    start = found.fault.start.timestamp() if found.fault and found.fault.start else 0.0
    return _STRENGTH.index(found.verdict), start


def _judged(ended: Exit, entry: DeviceEntry, lag: float) -> Iterator[Cause]:
    for fault in entry.faults:
        relation = relate(fault, ended, lag)
        verdict = VERDICTS[fault.health, relation]
        if verdict is Verdict.EXPLAINED and ended.code in _NEVER_STARTED:
            verdict = Verdict.POSSIBLE
        if verdict is not Verdict.UNRELATED:
            why = "its health was not known when the container ended" if verdict is Verdict.CANNOT_TELL else ""
            yield Cause(ended, verdict, entry, fault, relation, why)
    known = known_since(entry)
    if ended.finished is not None and known is not None and known >= ended.finished + 1:
        yield Cause(ended, Verdict.CANNOT_TELL, entry, why="its health is on record only from after the container had ended")


def relate(fault: FaultEntry, ended: Exit, lag: float = LAG) -> Relation:
    """How `fault` lies to the exit, `lag` seconds of tolerance on either side. Kubernetes rounds exits down to whole seconds."""
    finished = ended.finished or 0.0
    start = fault.start.timestamp() if fault.start else float("-inf")
    end = fault.until.timestamp() if fault.until else float("inf")
    if start > finished + lag:
        return Relation.LATER
    if start >= finished + 1:
        return Relation.JUST_AFTER
    if end >= finished:
        return Relation.COVERS
    if end < (ended.started if ended.started is not None else float("-inf")):
        return Relation.BEFORE_RUN
    return Relation.JUST_BEFORE if end >= finished - lag else Relation.EARLIER


def known_since(entry: DeviceEntry) -> float | None:
    """Unix seconds from which on the device's health is on record; None where nothing tells."""
    starts = [fault.start for fault in entry.faults if fault.start] + ([entry.since] if entry.since else [])
    return min(starts).timestamp() if starts else None


def _own_cause(ended: Exit, pod: Pod) -> str:
    """What ended the container, where its status already says so; '' where it does not."""
    if ended.reason == "OOMKilled":
        limit = _memory_limit(pod, ended.container)
        return f"OOMKilled: memory limit {limit}" if limit else "OOMKilled: the node ran out of memory"
    if pod.status.reason in ("Evicted", "Preempting", "DeadlineExceeded", "NodeShutdown", "Terminated"):
        return f"the pod was stopped: {pod.status.reason}" + (f" ({clean(pod.status.message)})" if pod.status.message else "")
    if ended.code in _KILLED_FROM_OUTSIDE and pod.metadata.deletion_timestamp:
        return "the pod is being deleted"
    if ended.code == 0:
        return "it ended by itself with exit code 0"
    return ""


def _memory_limit(pod: Pod, container: str) -> str:
    for spec in (*pod.spec.init_containers, *pod.spec.containers):
        if spec.name == container:
            return str(spec.resources.limits.get("memory", ""))
    return ""
