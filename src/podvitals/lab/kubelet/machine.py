"""What the kubelet does next for one pod. Pure: events and `now` in, effects out; `next_deadline()` says when to call `tick`.

Upstream's order: prepare the claims; init containers one after the other (a sidecar only has to have started); then the main containers
together. A pod winds down when it is deleted or when no main container will run again: main containers first, then sidecars in reverse
order, then the claims are unprepared, and only then is the pod over. So no driver is asked to unprepare a device that a process still
uses.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from podvitals.lab.kubelet.backoff import Backoff, BackoffSettings
from podvitals.lab.kubelet.plan import (
    Added,
    ContainerPlan,
    Deleted,
    Effect,
    Ended,
    Event,
    Exited,
    Kill,
    Kind,
    PodPlan,
    Prepare,
    Prepared,
    PrepareFailed,
    Remove,
    Restart,
    Running,
    Say,
    Start,
    Started,
    StartFailed,
    State,
    Stop,
    Unprepare,
    Unprepared,
    UnprepareFailed,
    Waiting,
)

RETRY_FIRST, RETRY_CAP = 0.5, 10.0
"""Seconds between attempts to prepare or unprepare. Upstream retries a failed prepare only after 60 to 90 s (CONTRACT §2)."""
SIDECAR_GRACE = 2.0
"""What a sidecar gets at least, however much of the grace period the main containers used."""
START_ERROR = 128


@dataclass(slots=True)
class Run:
    """One container's life. Read by `status.py`; changed only here."""

    plan: ContainerPlan
    state: State
    last: Ended | None = None
    attempts: int = 0
    """Starts so far, those included where the program could not be executed."""
    container_id: str = ""
    backoff: Backoff = field(default_factory=Backoff)
    ended_at: float = 0.0
    retry_at: float | None = None
    starting: bool = False
    started_ever: bool = False
    kill_at: float | None = None
    killed: bool = False

    @property
    def active(self) -> bool:
        """Whether a process of it exists, or is about to."""
        return self.starting or isinstance(self.state, Running)

    @property
    def restarts(self) -> int:
        return max(self.attempts - 1, 0)

    @property
    def last_end(self) -> Ended | None:
        return self.state if isinstance(self.state, Ended) else self.last


class PodMachine:
    def __init__(self, plan: PodPlan, settings: BackoffSettings) -> None:
        first = Waiting("PodInitializing") if any(c.kind is Kind.INIT for c in plan.containers) else Waiting("ContainerCreating")
        self.plan = plan
        self.runs: dict[str, Run] = {container.name: Run(container, first) for container in plan.containers}
        self.prepared = not plan.claims
        self.deleting: float | None = None
        """When the grace period ends, once the pod is deleted."""
        self.finishing = False
        """No container will run again, though nobody deleted the pod."""
        self.over = False
        """No process is left and the claims are unprepared: the phase is final."""
        self._settings = settings
        self._asked: type[Prepare] | type[Unprepare] | None = None
        self._prepare_tried = False
        self._retry_at: float | None = None
        self._retry_delay = 0.0
        self._removed = False

    def resume(self, name: str, attempts: int, end: Ended) -> None:
        """Before `start`: an earlier kubelet started this container `attempts` times, and this is how the last of them ended."""
        run = self.runs.get(name)
        if run is None:
            return
        run.attempts, before, run.state = attempts, run.state, end
        if self._restarts(run):
            run.last, run.state = end, before

    # in

    def start(self, now: float) -> list[Effect]:
        return list(self._advance(now))

    tick = start

    def handle(self, event: Event, now: float) -> list[Effect]:
        return [*self._take(event, now), *self._advance(now)]

    def next_deadline(self) -> float | None:
        """When `tick` has something to do; None while only an event can move the pod."""
        times = [run.kill_at for run in self.runs.values() if run.active and not run.killed]
        if not self._winding_down:
            times += [run.retry_at for run in self.runs.values() if not run.active]
        times.append(self._retry_at if self._asked is None else None)
        return min((at for at in times if at is not None), default=None)

    def initialized(self) -> bool:
        """Condition Initialized: each init container has done its work, each sidecar has started."""
        return all(_done(run) for run in self._of(Kind.INIT)) and all(run.started_ever for run in self._of(Kind.SIDECAR))

    def failed_init(self) -> bool:
        """An init container ended badly and the restart policy gives it no second try."""
        return self.plan.restart is Restart.NEVER and any(
            isinstance(run.state, Ended) and run.state.exit_code for run in self._of(Kind.INIT)
        )

    # what happened

    def _take(self, event: Event, now: float) -> Iterator[Effect]:
        match event:
            case Added(container):
                self.runs.setdefault(container.name, Run(container, Waiting("ContainerCreating")))
            case Prepared():
                self.prepared, self._asked, self._retry_at, self._retry_delay = True, None, None, 0.0
            case PrepareFailed(message):
                self._asked = None
                if not self._winding_down:
                    self._again(now)
                yield Say("FailedPrepareDynamicResources", f"Failed to prepare dynamic resources: {message}", warning=True)
            case Started(name, wall, container_id):
                yield from self._started(self.runs[name], wall, container_id)
            case StartFailed(name, wall, message):
                run = self.runs[name]
                yield Say("Failed", f"Error: {message}", name, warning=True)
                yield from self._ended(run, Ended(START_ERROR, "StartError", message, None, wall, ""), now)
            case Exited(name, wall, exit_code):
                run = self.runs[name]
                since = run.state.since if isinstance(run.state, Running) else wall
                ended = Ended(exit_code, "Error" if exit_code else "Completed", "", since, wall, run.container_id)
                yield from self._ended(run, ended, now)
            case Deleted(grace):
                # A second delete may only shorten the grace period, as upstream's.
                self.deleting = now + grace if self.deleting is None else min(self.deleting, now + grace)
                self._retry_at, self._retry_delay = None, 0.0
                for run in self.runs.values():
                    if run.kill_at is not None:
                        run.kill_at = min(run.kill_at, self.deleting)
            case Unprepared():
                self._asked, self.over, self._retry_at = None, True, None
            case UnprepareFailed(message):
                self._again(now)
                yield Say("FailedUnprepareDynamicResources", f"Failed to unprepare dynamic resources: {message}", warning=True)

    def _again(self, now: float) -> None:
        self._asked = None
        self._retry_delay = min(self._retry_delay * 2, RETRY_CAP) if self._retry_delay else RETRY_FIRST
        self._retry_at = now + self._retry_delay

    def _started(self, run: Run, wall: float, container_id: str) -> Iterator[Effect]:
        run.last = run.last_end
        run.attempts, run.starting, run.started_ever, run.retry_at = run.attempts + 1, False, True, None
        run.state, run.container_id = Running(wall), container_id
        yield Say("Created", f"Created container: {run.plan.name}", run.plan.name)
        yield Say("Started", f"Started container {run.plan.name}", run.plan.name)

    def _ended(self, run: Run, ended: Ended, now: float) -> Iterator[Effect]:
        if run.starting:
            run.last, run.attempts = run.last_end, run.attempts + 1
        run.starting, run.kill_at, run.killed = False, None, False
        run.state, run.container_id, run.ended_at = ended, ended.container_id, now
        if self._winding_down or not self._restarts(run):
            return
        wait = run.backoff.wait(self._settings, now)
        run.retry_at = now + wait
        if wait:
            yield Say(
                "BackOff", f"Back-off restarting failed container {run.plan.name} in pod {self.plan.title}", run.plan.name, warning=True
            )
            run.last = ended
            run.state = Waiting(
                "CrashLoopBackOff", f"back-off {_seconds(wait)} restarting failed container={run.plan.name} pod={self.plan.title}"
            )

    # what is to be done

    @property
    def _winding_down(self) -> bool:
        return self.deleting is not None or self.finishing

    def _advance(self, now: float) -> Iterator[Effect]:
        if not self.over and not self._winding_down:
            yield from self._wind_up(now)
        if not self.over and self._winding_down:
            yield from self._wind_down(now)
        if self.over and self.deleting is not None and not self._removed:
            self._removed = True
            yield Remove()

    def _wind_up(self, now: float) -> Iterator[Effect]:
        if not self.prepared:
            if self._asked is None and (self._retry_at is None or now >= self._retry_at):
                self._asked, self._prepare_tried = Prepare, True
                yield Prepare()
            return
        # Upstream's order too: they are there to look at what does not start.
        for run in self._of(Kind.EPHEMERAL):
            yield from self._ensure(run, now)
        for run in self._of(Kind.INIT, Kind.SIDECAR):
            if run.plan.kind is Kind.INIT and _done(run):
                continue
            yield from self._ensure(run, now)
            if run.plan.kind is Kind.INIT or not run.started_ever:
                self.finishing = self.failed_init()
                return
        mains = self._of(Kind.MAIN)
        for run in mains:
            yield from self._ensure(run, now)
        self.finishing = bool(mains) and all(isinstance(run.state, Ended) and not self._restarts(run) for run in mains)

    def _ensure(self, run: Run, now: float) -> Iterator[Effect]:
        if run.active or (isinstance(run.state, Ended) and not self._restarts(run)):
            return
        if run.plan.problem:
            stuck = Waiting("CreateContainerError", run.plan.problem)
            if run.state != stuck:
                run.state = stuck
                yield Say("Failed", f"Error: {run.plan.problem}", run.plan.name, warning=True)
            return
        if run.retry_at is not None and now < run.retry_at:
            return
        if run.attempts:
            run.backoff = run.backoff.next(self._settings, run.ended_at, now)
        run.starting = True
        yield Start(run.plan.name, run.attempts)

    def _wind_down(self, now: float) -> Iterator[Effect]:
        for run in self.runs.values():
            if run.plan.kind is not Kind.SIDECAR:
                yield from self._stop(run, now, self.deleting if self.deleting is not None else now + self.plan.grace)
        if any(run.active for run in self._of(Kind.MAIN, Kind.INIT, Kind.EPHEMERAL)):
            return
        for run in reversed(self._of(Kind.SIDECAR)):
            if run.active:
                until = self.deleting if self.deleting is not None else now + self.plan.grace
                yield from self._stop(run, now, max(until, now + SIDECAR_GRACE))
                return
        if not self._prepare_tried:
            self.over = True
        elif self._asked is None and (self._retry_at is None or now >= self._retry_at):
            self._asked = Unprepare
            yield Unprepare()

    def _stop(self, run: Run, now: float, until: float) -> Iterator[Effect]:
        if not isinstance(run.state, Running) or run.starting:
            return
        if run.kill_at is None:
            run.kill_at = until
            yield Say("Killing", f"Stopping container {run.plan.name}", run.plan.name)
            yield Stop(run.plan.name)
        if now >= run.kill_at and not run.killed:
            run.killed = True
            yield Kill(run.plan.name)

    # asked often

    def _of(self, *kinds: Kind) -> list[Run]:
        return [run for run in self.runs.values() if run.plan.kind in kinds]

    def _restarts(self, run: Run) -> bool:
        """Whether this container, having ended as its state says, shall run again."""
        end = run.last_end
        match run.plan.kind:
            case Kind.SIDECAR:
                return True
            case Kind.EPHEMERAL:
                return False
            case Kind.INIT:
                return self.plan.restart is not Restart.NEVER and not (end is not None and end.exit_code == 0)
            case Kind.MAIN:
                return self.plan.restart is Restart.ALWAYS or (
                    self.plan.restart is Restart.ON_FAILURE and end is not None and end.exit_code != 0
                )


def _done(run: Run) -> bool:
    return isinstance(run.state, Ended) and run.state.exit_code == 0


def _seconds(wait: float) -> str:
    """As Go prints a duration: 1s, 1m20s, 1.5s."""
    minutes, seconds = divmod(wait, 60)
    return f"{int(minutes)}m{seconds:g}s" if minutes else f"{seconds:g}s"
