"""What a pod's spec asks the kubelet to do, and what can happen to it: the vocabulary of `machine.py`. Pure.

`now` is seconds of CLOCK_BOOTTIME and decides when things happen; times called `wall` are Unix seconds and only end up in the status
people read.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    INIT = "init"
    SIDECAR = "sidecar"
    """An init container with restartPolicy Always: the next container starts once it has started, and it outlives the main ones."""
    MAIN = "main"
    EPHEMERAL = "ephemeral"
    """Added to a pod that runs (kubectl debug): it starts once, and the pod neither waits for it nor fails with it."""


class Restart(StrEnum):
    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """`problem`: why this container can never start in the lab ('' if it can); it then waits with reason CreateContainerError."""

    name: str
    kind: Kind = Kind.MAIN
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PodPlan:
    """`title` is the pod as upstream's messages name it, name_namespace(uid). `claims`: whether anything must be prepared. `containers`:
    init containers first, in the spec's order."""

    title: str
    containers: tuple[ContainerPlan, ...]
    restart: Restart = Restart.ALWAYS
    claims: bool = False
    grace: float = 30.0


# What happened ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Added:
    """The pod got an ephemeral container."""

    container: ContainerPlan


@dataclass(frozen=True, slots=True)
class Prepared:
    """Every claim of the pod is prepared by its drivers."""


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    message: str


@dataclass(frozen=True, slots=True)
class Started:
    name: str
    wall: float
    container_id: str


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The program could not be executed; counts as an end with exit code 128, as containerd reports it."""

    name: str
    wall: float
    message: str


@dataclass(frozen=True, slots=True)
class Exited:
    """`exit_code`: the program's own, or 128 + the number of the signal that ended it."""

    name: str
    wall: float
    exit_code: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """The API says the pod shall go, within `grace` seconds."""

    grace: float


@dataclass(frozen=True, slots=True)
class Unprepared:
    """Every claim of the pod is unprepared."""


@dataclass(frozen=True, slots=True)
class UnprepareFailed:
    message: str


Event = Added | Prepared | PrepareFailed | Started | StartFailed | Exited | Deleted | Unprepared | UnprepareFailed


# What is to be done -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepare:
    """Answered by Prepared or PrepareFailed."""


@dataclass(frozen=True, slots=True)
class Start:
    """Answered by Started or StartFailed. `attempt` counts from 0, as restartCount does."""

    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Stop:
    """SIGTERM to the container's processes; its end comes as Exited."""

    name: str


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL: the grace period is over."""

    name: str


@dataclass(frozen=True, slots=True)
class Unprepare:
    """Answered by Unprepared or UnprepareFailed."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Nothing of the pod is left here: its object may go."""


@dataclass(frozen=True, slots=True)
class Say:
    """An event on the pod, worded as upstream's kubelet words it."""

    reason: str
    message: str
    container: str = ""
    warning: bool = False


Effect = Prepare | Start | Stop | Kill | Unprepare | Remove | Say


# What a container is doing --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    since: float


@dataclass(frozen=True, slots=True)
class Ended:
    """`started` is None where the program could not be executed at all."""

    exit_code: int
    reason: str
    message: str
    started: float | None
    finished: float
    container_id: str


State = Waiting | Running | Ended
