"""One pod's shell: carries out what the machine decides, turns every outcome into an event for it, and keeps the pod's status as it
should be."""

import asyncio
import contextlib
import logging
import random
import secrets
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podvitals.claim.holdings import Holding, holdings
from podvitals.claim.times import unix
from podvitals.clock import Clock, done_by, set_by
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.errors import Conflict, Invalid, NotFound, PodvitalsError
from podvitals.kube.client import Client
from podvitals.lab.kubelet import command, status
from podvitals.lab.kubelet.backoff import BackoffSettings
from podvitals.lab.kubelet.gates import Gates
from podvitals.lab.kubelet.logs import Logs
from podvitals.lab.kubelet.machine import PodMachine
from podvitals.lab.kubelet.memory import Memory, places
from podvitals.lab.kubelet.plan import (
    Added,
    ContainerPlan,
    Deleted,
    Effect,
    Event,
    Exited,
    Kill,
    Kind,
    PodPlan,
    Prepare,
    Prepared,
    PrepareFailed,
    Remove,
    Running,
    Say,
    Start,
    Started,
    StartFailed,
    Stop,
    Unprepare,
    Unprepared,
    UnprepareFailed,
)
from podvitals.lab.kubelet.prepare import Drivers, Preparation, Preparer
from podvitals.lab.kubelet.process import CannotStart, ContainerProcess
from podvitals.lab.kubelet.publish import Publisher
from podvitals.lab.pods import RUNNABLE_PODS, RunnableContainer, RunnablePod
from podvitals.lab.recorder import Recorder
from podvitals.node.record import DeviceState
from podvitals.pod.book import POST_MORTEM_WINDOW
from podvitals.pod.status import field as health_field
from podvitals.threads import finished

log = logging.getLogger(__name__)

FIRST_LOOK = 1.0
"""Seconds that a pod's status waits for its claims where an earlier kubelet's field stands: it is better replaced once."""
LAST_GRACE = 0.5
"""Seconds that containers get when the lab itself ends."""
_PARTS = {
    Kind.INIT: "initContainers",
    Kind.SIDECAR: "initContainers",
    Kind.MAIN: "containers",
    Kind.EPHEMERAL: "ephemeralContainers",
}
REMOVE_PAUSE, LONGEST_REMOVE_PAUSE = 0.5, 10.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What the workers of one kubelet share. `base`: environment that every container gets; `pods`: where each has a directory."""

    client: Client
    clock: Clock
    drivers: Drivers
    preparer: Preparer
    publisher: Publisher
    recorder: Recorder
    logs: Logs
    pods: Path
    base: Mapping[str, str]
    backoff: BackoffSettings
    gates: Gates
    memory: Memory
    on_held: Callable[["PodWorker", frozenset[DeviceKey]], Awaitable[None]]
    """Hears what a pod is given to use, before it is."""
    serves_another: Callable[["PodWorker", DeviceKey], bool]


class PodWorker:
    """`run` until the pod's object is gone. `observe` hears of each change of the object, `forget` of its disappearance."""

    def __init__(self, pod: RunnablePod, tools: Tools) -> None:
        self.pod = pod
        self._tools, self._clock = tools, tools.clock
        self.machine = PodMachine(_plan(pod), tools.backoff)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._preparation = Preparation()
        self._holdings: tuple[Holding, ...] = ()
        self._looked = asyncio.Event()
        """Set when what the pod holds was asked for, with or without success."""
        self.keys: frozenset[DeviceKey] = frozenset()
        """The devices whose health this pod shows."""
        self._last_field = status.unknown(pod) if tools.gates.resource_health_status else {}
        self._states: dict[DeviceKey, DeviceState] = {}
        """What the field says of each: as of now, then as of the pod's end."""
        self._closed: set[DeviceKey] = set()
        self._ended_at: float | None = None
        self._processes: dict[str, ContainerProcess] = {}
        self._noted: set[str] = set()
        self._transitions: dict[str, status.Moment] = {}
        self._started = unix(pod.status.start_time) or self._clock.wall()
        self._removed = asyncio.Event()
        self.page = tools.publisher.open(pod, self._status)
        for name, (attempts, end) in status.earlier(pod, self._clock.wall()).items():
            self.machine.resume(name, attempts, end)
        containers = (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)
        self._containers = {container.name: container for container in containers}

    @property
    def over(self) -> bool:
        """The pod has ended: its devices may serve others."""
        return self.machine.over

    def close(self, keys: frozenset[DeviceKey]) -> None:
        """These devices serve another pod: what is found from now on is not this one's."""
        self._closed |= keys & self.keys

    async def remember(self) -> None:
        """Keeps on disk what may still be this pod's."""
        known = places(self._holdings, self._preparation.resource_ids())
        await self._tools.memory.keep(self.pod.metadata.uid, tuple(place for place in known if place.key not in self._closed))

    def observe(self, pod: RunnablePod) -> None:
        deleted_before = self.pod.deleting, self.pod.metadata.deletion_grace_period_seconds
        self.pod = pod
        if pod.deleting and (True, pod.metadata.deletion_grace_period_seconds) != deleted_before:
            self._events.put_nowait(Deleted(float(pod.metadata.deletion_grace_period_seconds or 0)))
        for container in pod.spec.ephemeral_containers:
            if container.name not in self._containers:
                self._containers[container.name] = container
                self._events.put_nowait(Added(_planned(container, Kind.EPHEMERAL)))
        self.page.observe(pod)

    def forget(self) -> None:
        """The object is gone already (a forced deletion): the processes follow at once."""
        self._events.put_nowait(Deleted(1.0))

    def log_file(self, container: str, previous: bool) -> tuple[Path, bool]:
        """The file, and whether its container runs. Raises NotFound."""
        run = self.machine.runs.get(container)
        attempt = -1 if run is None else run.attempts - 1 - previous
        if run is None or attempt < 0:
            what = "previous terminated container" if previous else "container"
            raise NotFound(f'{what} "{container}" in pod "{self.pod.metadata.name}" not found', status=404, reason="NotFound")
        return self._tools.logs.path(self.pod.metadata.uid, container, attempt), not previous and isinstance(run.state, Running)

    async def run(self) -> None:
        self._tasks = asyncio.TaskGroup()
        try:
            async with self._tasks:
                if self.pod.deleting:
                    self._events.put_nowait(Deleted(float(self.pod.metadata.deletion_grace_period_seconds or 0)))
                await self._drive()
        finally:
            self.page.close()
            await self._clear()

    async def _drive(self) -> None:
        now = self._clock.now()
        self._carry_out(self.machine.start(now))
        if self._last_field:
            await set_by(self._looked, self._clock, now + FIRST_LOOK)
        self.page.changed()
        waiting = asyncio.ensure_future(self._events.get())
        gone = asyncio.ensure_future(self._removed.wait())
        try:
            while not gone.done():
                either = asyncio.ensure_future(asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED))
                try:
                    await done_by(either, self._clock, self.machine.next_deadline())
                finally:
                    either.cancel()
                    await asyncio.gather(either, return_exceptions=True)
                if waiting.done():
                    self._carry_out(self.machine.handle(waiting.result(), self._clock.now()))
                    waiting = asyncio.ensure_future(self._events.get())
                else:
                    self._carry_out(self.machine.tick(self._clock.now()))
                self.page.changed()
        finally:
            waiting.cancel()
            gone.cancel()
            await asyncio.gather(waiting, gone, return_exceptions=True)

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Prepare():
                    self._tasks.create_task(self._prepare(), name=self._named("prepare"))
                case Start(name, attempt):
                    self._tasks.create_task(self._run_container(name, attempt), name=self._named(f"container {name}"))
                case Stop(name):
                    self._signal(name, signal.SIGTERM)
                case Kill(name):
                    self._signal(name, signal.SIGKILL)
                case Unprepare():
                    self._tasks.create_task(self._unprepare(), name=self._named("unprepare"))
                case Remove():
                    self._tasks.create_task(self._remove(), name=self._named("remove"))
                case Say(reason, message, container, warning):
                    self._tools.recorder.tell(self.pod.metadata, reason, message, warning=warning, path=self._path(container))

    def _path(self, container: str) -> str:
        """Which part of the pod an event is about."""
        run = self.machine.runs.get(container)
        return "" if run is None else f"spec.{_PARTS[run.plan.kind]}{{{container}}}"

    def _signal(self, name: str, number: signal.Signals) -> None:
        """None to signal: it has ended, and the event that says so waits behind the one that is handled now."""
        if (process := self._processes.get(name)) is not None:
            process.signal(number)

    async def _prepare(self) -> None:
        """What the pod holds is known once its claims are read, and shown from then on: a driver that cannot prepare a device may be one
        whose device is broken."""
        try:
            claims = await self._tools.preparer.claims(self.pod)
            await self._hold(holdings(self.pod, {claim.metadata.name: claim for claim in claims.values()}))
            self._looked.set()
            self._preparation = await self._tools.preparer.prepare(self.pod, claims)
            await self.remember()
        except PodvitalsError as error:
            self._looked.set()
            self._events.put_nowait(PrepareFailed(str(error)))
            return
        self._events.put_nowait(Prepared())

    async def _hold(self, held: tuple[Holding, ...]) -> None:
        self._holdings = held
        if not held:
            self._last_field = {}
        self.keys = frozenset(holding.key for holding in held)
        self.page.changed()
        await self._tools.on_held(self, frozenset(holding.key for holding in held if not holding.admin))

    async def _unprepare(self) -> None:
        try:
            await self._tools.preparer.unprepare(self.pod.metadata.uid)
        except PodvitalsError as error:
            self._events.put_nowait(UnprepareFailed(str(error)))
            return
        self._close_shared()
        await self.remember()
        self._events.put_nowait(Unprepared())

    def _close_shared(self) -> None:
        """At its end: a device that serves another pod too is that one's from now on."""
        self._closed |= {each for each in self.keys if self._tools.serves_another(self, each)}

    async def _run_container(self, name: str, attempt: int) -> None:
        try:
            process = await self._start(name, self._containers[name], attempt)
        except PodvitalsError as error:
            self._events.put_nowait(StartFailed(name, self._clock.wall(), str(error)))
            return
        self._processes[name] = process
        self._events.put_nowait(Started(name, self._clock.wall(), f"lab://{secrets.token_hex(32)}"))
        code = await process.wait()
        del self._processes[name]
        self._events.put_nowait(Exited(name, self._clock.wall(), code))

    async def _start(self, name: str, container: RunnableContainer, attempt: int) -> ContainerProcess:
        edits = await self._tools.preparer.edits(self._preparation, container)
        if edits.notes and name not in self._noted:
            self._noted.add(name)
            note = f"container {name} is a process of this machine: {', '.join(edits.notes)} of its CDI edits have no effect"
            self._tools.recorder.tell(self.pod.metadata, "NotIsolated", note, path=self._path(name))
        line = command.command_line(self.pod, container, edits, self._tools.base)
        own = self._tools.pods / self.pod.metadata.uid / name
        try:
            output = await asyncio.to_thread(_places, self._tools.logs, self.pod.metadata.uid, name, attempt, own)
            return await ContainerProcess.start(line.argv, line.env, Path(line.directory) if line.directory else own, output)
        except OSError as error:  # a full disk, no more files to be opened
            raise CannotStart(f"cannot make what container {name} needs on this machine: {error.strerror or error}") from None

    async def _remove(self) -> None:
        pause, said = REMOVE_PAUSE, False
        while why := await self._not_removed_yet():
            if not said:
                log.warning("pod %s/%s cannot be removed yet: %s", self.pod.metadata.namespace, self.pod.metadata.name, why)
            said = True
            await self._clock.sleep_until(self._clock.now() + pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_REMOVE_PAUSE)
        await self._tools.memory.drop(self.pod.metadata.uid)
        self._removed.set()

    async def _not_removed_yet(self) -> str:
        async with self._tools.publisher.removals:
            return await self._not_removed()

    async def _not_removed(self) -> str:
        """Why the pod's object is still there, "" if it is gone."""
        meta = self.pod.metadata
        try:
            with contextlib.suppress(Conflict, Invalid):  # a status that is not taken must not keep the pod
                await self.page.last()
            await self._tools.client.delete(RUNNABLE_PODS, meta.name, meta.namespace, uid=meta.uid, grace=0)
        except NotFound:
            return ""
        except Conflict as error:
            return "" if await self.page.is_another() else str(error)
        except PodvitalsError as error:
            return str(error)
        return ""

    def _status(self) -> dict[str, Any]:
        if self._tools.gates.resource_health_status and self._holdings:
            messages = self._tools.gates.resource_health_status_message
            ids = self._preparation.resource_ids()
            self._last_field = status.within(health_field(self._holdings, self._state, ids, messages=messages))
        wall = self._clock.wall()
        built, self._transitions = status.build(self.pod, self.machine, self._last_field, self._transitions, self._started, wall)
        return built

    def _state(self, key: DeviceKey) -> DeviceState:
        """As of now while the pod lives; as of its end afterwards, but for a fault that is found soon after (ARCHITECTURE rule 6)."""
        now = self._tools.drivers.state(key)
        if not self.over:
            self._states[key] = now
            return now
        if self._ended_at is None:
            self._ended_at = self._clock.now()
            self._close_shared()
        then = self._states.setdefault(key, now)
        late = self._clock.now() <= self._ended_at + POST_MORTEM_WINDOW and key not in self._closed
        if late and now.health is Health.UNHEALTHY and then.health is not Health.UNHEALTHY:
            self._states[key] = now
        return self._states[key]

    async def _clear(self) -> None:
        """Whatever still runs ends now; nothing of the pod stays on disk."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = list(self._processes.values())
            for process in left:
                process.signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_GRACE):
                    await asyncio.gather(*(process.wait() for process in left))
                    break
        # Who ends the kubelet shall not find it still removing files.
        await finished(asyncio.to_thread(_drop, self._tools.logs, self.pod.metadata.uid, self._tools.pods))

    def _named(self, what: str) -> str:
        return f"lab kubelet: {what} of pod {self.pod.metadata.namespace}/{self.pod.metadata.name}"


def _plan(pod: RunnablePod) -> PodPlan:
    meta = pod.metadata
    inits = [_planned(each, Kind.SIDECAR if each.restart_policy == "Always" else Kind.INIT) for each in pod.spec.init_containers]
    mains = [_planned(each, Kind.MAIN) for each in pod.spec.containers]
    added = [_planned(each, Kind.EPHEMERAL) for each in pod.spec.ephemeral_containers]
    return PodPlan(
        f"{meta.name}_{meta.namespace}({meta.uid})",
        (*inits, *mains, *added),
        status.restart_policy(pod.spec.restart_policy),
        bool(pod.spec.resource_claims) or pod.status.extended_resource_claim_status is not None,
        float(pod.spec.termination_grace_period_seconds),
    )


def _planned(container: RunnableContainer, kind: Kind) -> ContainerPlan:
    return ContainerPlan(container.name, kind, command.problem(container))


def _places(logs: Logs, uid: str, name: str, attempt: int, own: Path) -> Path:
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    return logs.begin(uid, name, attempt)


def _drop(logs: Logs, uid: str, pods: Path) -> None:
    logs.drop(uid)
    shutil.rmtree(pods / uid, ignore_errors=True)
