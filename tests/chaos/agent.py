"""One agent process. The glue is agent/compose's own; only its tasks, timers and files are those of the simulated machine."""

import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from podvitals.agent import compose
from podvitals.agent.compose import CLAIMS_PATIENCE, NODE_PATIENCE, AgentSettings
from podvitals.claim.pod import Pod
from podvitals.clock import Clock
from podvitals.device.key import DeviceKey
from podvitals.kube.client import Client
from podvitals.node.watch import NodeWatch
from podvitals.pod.book import Memo
from tests.chaos.cast import NODE
from tests.chaos.client import SimClient
from tests.chaos.loop import Await, Signal, Task, Timer
from tests.chaos.node import Node
from tests.chaos.shells import SimAnnouncer, SimClaims, SimPublisher, SimRenewer

if TYPE_CHECKING:
    import asyncio

    from podvitals.agent.account import Account
    from podvitals.agent.metrics import Metrics
    from tests.chaos.world import World


class SimClock:
    def __init__(self, agent: "Agent") -> None:
        self._agent = agent

    def now(self) -> float:
        return self._agent.world.machine.now()

    def wall(self) -> float:
        return self._agent.world.machine.wall()

    async def sleep_until(self, deadline: float) -> None:
        await Await(lambda resume: self._agent.later(deadline - self.now(), resume, None))


class Tasks:
    """What an asyncio.TaskGroup is to a shell."""

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._tasks: list[Task] = []

    def create_task(self, coroutine: Coroutine[Any, Any, Any], *, name: str = "") -> Task:
        self._tasks = [one for one in self._tasks if not one.over]
        task = Task(self._agent.world.loop, coroutine)
        self._tasks.append(task)
        return task

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


class Silent:
    """For what only counts or logs."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: None


class Agent(compose.Agent):
    """`stopped`: by SIGSTOP, or because its machine sleeps."""

    def __init__(self, world: "World", number: int) -> None:
        self.world, self.alive, self.stopped = world, True, False
        self.rng = random.Random(f"{world.seed}/agent/{number}")
        self._backlog: list[tuple[bool, Callable[..., object], tuple[Any, ...]]] = []
        self._settings = AgentSettings(node=NODE)
        self.clock = self._clock = cast("Clock", SimClock(self))
        self.client = self._client = cast("Client", SimClient(self))
        self.tasks = cast("asyncio.TaskGroup", Tasks(self))
        self.sim_node = Node(self, self._changed)
        self.node = cast("NodeWatch", self.sim_node)
        self.metrics = cast("Metrics", Silent())
        self.account = cast("Account", Silent())
        self.desk = world.kit.desk(NODE, self.sim_node.board, self.rng.random)
        self.announcer = SimAnnouncer(self)
        self.publisher: SimPublisher = SimPublisher(self)
        self.claims = SimClaims(self)
        self.lease = SimRenewer(self)
        self.synced = cast("asyncio.Event", Signal(self.later))
        self._remember = cast("asyncio.Event", Signal(self.later))
        self._recheck = {}
        self._holds_back = False
        self._recheck: dict[str, Pod] = {}
        self._holds_back = True
        self._unsaved: dict[str, Memo | None] = {}
        self._api_error = ""

    # --- time ------------------------------------------------------------------------------------------------------------------

    def later(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        """A timer of this process. Time passes while a processor works: what is due at once is not due at the very same instant again."""
        if seconds != 0.0:
            seconds = max(seconds, 1e-6)
        return self.world.loop.after(seconds, self._fire, True, call, *args)

    def hear(self, call: Callable[..., object], *args: Any) -> None:
        """Something arrives from outside."""
        self._fire(False, call, *args)

    def _fire(self, timer: bool, call: Callable[..., object], *args: Any) -> None:
        if not self.alive:
            return
        if self.stopped:
            self._backlog.append((timer, call, args))
        else:
            call(*args)

    def stop(self) -> None:
        self.stopped = True

    def go_on(self, slept: bool) -> None:
        """After SIGCONT. A machine that slept has timers that are up to a second late: they count what the processor was awake for."""
        self.stopped = False
        backlog, self._backlog = self._backlog, []
        order = self.rng.choice(("as it came", "messages first", "timers first"))
        if order != "as it came":
            backlog.sort(key=lambda one: one[0] is (order == "messages first"))
        late = self.rng.uniform(0.0, 1.0) if slept else 0.0
        for timer, call, args in backlog:
            self.world.loop.after(late if timer else 0.0, self._fire, timer, call, *args)

    # --- start and end ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.later(self.rng.uniform(0.002, 0.05), self._begin)

    def _begin(self) -> None:
        self.desk.restore(self.world.disk.load_memos())
        self.later(self.rng.uniform(0.002, 0.05), self.sim_node.begin)
        self.tasks.create_task(self._follow_pods(self.tasks))
        self.tasks.create_task(self._check_remembered(self.tasks))
        self.tasks.create_task(self._publish())
        self.tasks.create_task(self.announcer._write_all())
        self.tasks.create_task(self.lease.run())
        self.tasks.create_task(self._keep_memory())

    async def _check_remembered(self, tasks: "asyncio.TaskGroup") -> None:
        await self.sim_node.ready.wait(NODE_PATIENCE)
        await self._clock.sleep_until(self._clock.now() + CLAIMS_PATIENCE)
        self._holds_back = False
        for pod in self._recheck.values():
            self.claims.want(pod, tasks)
        self._recheck.clear()

    async def _publish(self) -> None:
        await self.sim_node.ready.wait(NODE_PATIENCE)
        self.publisher.begin()

    def _changed(self, keys: frozenset[DeviceKey]) -> None:
        self.desk.change(keys, self._clock.now(), self._clock.wall())
        self.publisher.go()
        self._note()

    async def _save(self) -> None:
        self._unsaved.update(self.desk.drain())
        if self._unsaved:
            await self._clock.sleep_until(self._clock.now() + self.rng.uniform(0.001, 0.02))
            if self.world.fuse("memory"):
                await Await(lambda resume: None)
            if self.world.disk.save_memos(self._unsaved):
                self._unsaved = {}

    def kill(self) -> None:
        self.alive = False
        self.sim_node.close()
        self.world.loop.after(0.0, self.tasks.cancel)  # type: ignore[attr-defined]

    def end(self) -> None:
        """SIGTERM: memory and checkpoint are written, events that wait are under way; then it is gone."""
        self._unsaved.update(self.desk.drain())
        self.world.disk.save_memos(self._unsaved)
        self.announcer._ending = True
        self.announcer.wake()
        if self.sim_node.loaded.is_set():
            self.sim_node.finish()
        self.world.loop.after(0.1, self.kill)
