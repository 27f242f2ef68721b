"""The world: one machine with drivers and an agent, one API server, and a story that befalls them. Everything that happens is a step of
the story or follows from one; whatever a step finds missing makes it mean nothing, so that any steps can be left out of a story."""

import random
from typing import TYPE_CHECKING

from podvitals.device.health import Health
from podvitals.node.record import SourceKey
from tests.chaos.agent import Agent
from tests.chaos.api import Api
from tests.chaos.cast import DEVICES, SLOTS, SOURCES, START
from tests.chaos.cluster import Cluster
from tests.chaos.disk import Disk, Machine
from tests.chaos.driver import EMPTY, GARBAGE, Entry, Process, Socket, spoken
from tests.chaos.kit import Kit
from tests.chaos.loop import Loop
from tests.chaos.oracle import Oracle, Wrong

if TYPE_CHECKING:
    from tests.chaos.story import Step, Story

AFTER_AGENT = 6.0
"""Seconds of recovery: an agent that starts waits 2 s for drivers, and looks every 2 s whether it may renew its Lease."""
QUIET = 150.0


def after_api(seconds: float) -> float:
    """Seconds of recovery from trouble that lasted so long: pauses double, up to 30 s for a watch and 10 s for a letter."""
    return min(45.0, 8.0 + 3.0 * seconds)


class World:
    def __init__(self, story: "Story", kit: Kit | None = None) -> None:
        self.seed = story.seed
        self.kit = kit or Kit()
        random.seed(f"{story.seed}/shells")  # their jitter
        self.loop = Loop(START)
        self.machine = Machine(self.loop)
        self.disk = Disk(self.machine)
        self.api = Api(self.loop, random.Random(f"{story.seed}/api"))
        self.hardware: dict[SourceKey, dict[str, Entry]] = {source: {} for source in SOURCES}
        self.processes: dict[tuple[SourceKey, int], Process] = {}
        self.sockets: dict[str, Socket] = {}
        self.oracle = Oracle(self)
        self.cluster = Cluster(self)
        self.api.on_write = self.oracle.written
        self.api.on_lease = self.oracle.leased
        self.agent: Agent | None = None
        self._agents = self._births = 0
        self._fuse: int | None = None
        self._down = 0.0
        self.faults = 0
        self.messages = 0

    # --- the agent's process ---------------------------------------------------------------------------------------------------

    def start_agent(self) -> None:
        if self.machine.down or (self.agent is not None and self.agent.alive):
            return
        self._agents += 1
        self._fuse = None
        self.oracle.upset(0.0, AFTER_AGENT)
        self.agent = Agent(self, self._agents)
        if self.machine.asleep:
            self.agent.stop()
        self.agent.start()

    def set_fuse(self, writes: int, down: float) -> None:
        """The agent dies just before the write of that number: to checkpoint, memory or a pod."""
        self._fuse, self._down = writes, down

    def fuse(self, where: str) -> bool:
        """Whether the process dies right here, before what it was about to do."""
        if self._fuse is None or self.agent is None:
            return False
        self._fuse -= 1
        if self._fuse > 0:
            return False
        self.kill_agent(self._down)
        return True

    def kill_agent(self, down: float) -> None:
        agent = self.agent
        self._fuse = None
        if agent is not None and agent.alive:
            agent.kill()
            self.oracle.upset(down, AFTER_AGENT)
            self.loop.after(down, self.start_agent)

    # --- drivers ---------------------------------------------------------------------------------------------------------------

    def process(self, source: int, slot: int) -> Process | None:
        return self.processes.get((SOURCES[source % len(SOURCES)], slot % SLOTS))

    def start_driver(self, source: int, slot: int, style: str, lease: float, same_path: bool) -> None:
        key = SOURCES[source % len(SOURCES)]
        before = self.processes.get((key, slot % SLOTS))
        if self.machine.down or (before is not None and before.alive):
            return
        endpoint = f"{key.driver}/{key.source}/{0 if same_path else slot % SLOTS}"
        process = self.processes[key, slot % SLOTS] = Process(self, key, slot % SLOTS, endpoint, style, lease)
        self._births += 1
        path = f"{key.driver}/{key.source}/{slot % SLOTS}-reg.sock"
        self._unlink(path)
        self.sockets[path] = Socket(path, process, self._births)
        if self.agent is not None and self.agent.alive:
            self.agent.hear(self.agent.sim_node.found, self.sockets[path])

    def _unlink(self, path: str) -> None:
        if self.sockets.pop(path, None) is not None and self.agent is not None and self.agent.alive:
            self.agent.hear(self.agent.sim_node.lost, path)

    def stop_driver(self, process: Process, *, tidy: bool, under_way: str) -> None:
        process.kill(under_way)
        if tidy:
            self._unlink(f"{process.source.driver}/{process.source.source}/{process.slot}-reg.sock")

    def say_of_hardware(self, source: int, device: int, health: Health, message: str, lease: float | None, who: str) -> None:
        """`who` learns of it: all, the newest slots only one ("one"), or all but tells none ("quiet": a wedged monitor)."""
        key, name = SOURCES[source % len(SOURCES)], DEVICES[device % len(DEVICES)]
        action = "reset-gpu" if health is Health.UNHEALTHY and len(message) % 3 == 0 else ""
        self.hardware[key][name] = Entry(name, health, message, action, 30.0)
        mine = [process for (owner, _), process in sorted(self.processes.items()) if owner == key and process.alive]
        for process in mine[-1:] if who == "one" else mine:
            process.learn(Entry(name, health, message, action, process.lease if lease is None else lease), tell=who != "quiet")

    def blurt(self, process: Process, kind: str, message: str) -> None:
        """One odd message."""
        table = tuple(process.table.values())
        if kind == "garbage":
            process.say(GARBAGE)
        elif kind == "empty":
            process.say(EMPTY)
        elif kind == "subset":
            process.say(spoken(table[:1]))
        elif kind == "twice" and table:
            process.say(spoken((table[0]._replace(health=Health.UNHEALTHY, message=message), *table)))
        elif kind == "stranger":
            process.say(spoken((*table, Entry("d9", Health.HEALTHY, "", "", 60.0))))

    # --- the story -------------------------------------------------------------------------------------------------------------

    def run(self, story: "Story") -> None:
        self.start_agent()
        for step in story.steps:
            self.loop.run(START + step.at)
            self.do(step)
        self.quiet()

    def do(self, step: "Step") -> None:
        from tests.chaos.steps import STEPS

        STEPS[step.what](self, *step.args)

    def quiet(self) -> None:
        """Nothing more happens; what stands in the way ends by itself, drivers stay as they are. Then the verdict."""
        from tests.chaos.verdict import STILL, judge, still

        oracle, loop = self.oracle, self.loop
        loop.run(max(loop.now, oracle.upset_until, self.api.latest_effect) + 1.0)
        # Again where an agent died or came back meanwhile: it, too, is given its time.
        begins = loop.now
        while loop.now < (begins := max(begins, oracle.upset_until, *(one.upset_until for one in oracle.holders.values()))) + QUIET - STILL:
            loop.run(begins + QUIET - STILL)
        writes = self.api.writes
        loop.run(loop.now + STILL)
        oracle.look_at_all()
        if loop.wrong is not None:
            raise loop.wrong
        try:
            if writes != self.api.writes and still(oracle):
                raise Wrong("idle", f"{self.api.writes - writes} patches in {STILL:g} s although nothing changes")
            judge(self)
        except Wrong as wrong:
            wrong.at = loop.now - START
            raise

    def close(self) -> None:
        """Unwinds what still waits."""
        if self.agent is not None and self.agent.alive:
            self.agent.kill()
        self.loop.wrong = None
        self.oracle.holders.clear()
        self.loop.run(self.loop.now + 0.001, most=10**9)
