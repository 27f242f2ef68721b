"""The agent's node side: the switchboard, and around it what node/watch, node/endpoint and node/keeper do, on virtual time."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from podvitals.device.key import DeviceKey
from podvitals.node.keeper import SAVE_AGAIN_AFTER, SAVE_EVERY
from podvitals.node.record import DeviceState
from podvitals.node.rows import Rows
from podvitals.node.standstill import TICK, Standstill
from podvitals.node.told import Told
from podvitals.node.watch import FIRST_REPORTS
from tests.chaos.loop import Signal, Timer
from tests.chaos.plug import Plug

if TYPE_CHECKING:
    from tests.chaos.agent import Agent
    from tests.chaos.driver import Socket


class Node:
    """`on_changed` hears of devices whose state changed."""

    def __init__(self, agent: "Agent", on_changed: Callable[[frozenset[DeviceKey]], None]) -> None:
        self.agent, self.world, self._on_changed = agent, agent.world, on_changed
        self.standstill = Standstill()
        self.board = agent.world.kit.board(self.standstill)
        self.plugs: dict[int, Plug] = {}
        self.loaded, self.ready = Signal(agent.later), Signal(agent.later)
        self._count = 0
        self._expiry: Timer | None = None
        self._rows = Rows()
        self._saving = self._writing = False
        self._timer: Timer | None = None

    def state(self, key: DeviceKey) -> DeviceState:
        return self.board.state(key)

    def states(self) -> Mapping[DeviceKey, DeviceState]:
        return self.board.states()

    # --- drivers ---------------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        clock = self.agent.clock
        now, wall = clock.now(), clock.wall()
        self.world.oracle.restarted(self.world.disk)
        self.tell(self.board.restore(self.world.disk.load(now, wall), now, wall))
        self.loaded.set()
        for socket in list(self.world.sockets.values()):
            self.found(socket)
        if self._timer is None:
            self._timer = self.agent.later(0.0, self._keep)
        self._tick()
        self.agent.later(0.02, self._answered, list(self.plugs.values()))

    def _tick(self) -> None:
        self.standstill.look(self.agent.clock.now())
        self.agent.later(TICK, self._tick)

    def _answered(self, first: list[Plug]) -> None:
        if all(plug.opened for plug in first):
            self.ready.set()
        else:
            self.agent.later(FIRST_REPORTS, self.ready.set)

    def found(self, socket: "Socket") -> None:
        if not self.loaded.is_set():
            return  # the first scan comes after the checkpoint
        self._count += 1
        plug = self.plugs[self._count] = Plug(self, self._count, socket)
        plug.ask()

    def lost(self, path: str) -> None:
        for plug in [one for one in self.plugs.values() if one.socket.path == path]:
            self.drop(plug)

    def drop(self, plug: Plug) -> None:
        if self.plugs.pop(plug.number, None) is not None:
            plug.remove()

    def close(self) -> None:
        """The process is no more."""
        for plug in self.plugs.values():
            plug.close()

    # --- who has to know -------------------------------------------------------------------------------------------------------

    def tell(self, told: Told) -> None:
        self._wait_for_leases()
        if self.board.unsaved and not self._saving:
            if self._timer is not None:
                self._timer.cancel()
            self._saving = True
            self._timer = self.agent.later(0.0, self._keep)
        if told.changed:
            self._on_changed(told.changed)
        if told.changed or self.world.oracle.truth.changed:
            self.world.oracle.field(self.board.state)

    def _wait_for_leases(self) -> None:
        deadline = self.board.next_deadline()
        if deadline is None:
            return
        left = deadline - self.agent.clock.now()
        if self._expiry is None or not self._expiry.live or left + self.world.loop.now < self._expiry.at - 1e-9:
            if self._expiry is not None:
                self._expiry.cancel()
            self._expiry = self.agent.later(left, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.tell(self.board.expire(self.agent.clock.now(), self.agent.clock.wall()))

    # --- the checkpoint --------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        if self._writing:
            return  # a timer that was due while the process stood still, and was no more to be cancelled
        self._rows.lay_over(self.board.drain())
        self._saving = bool(self._rows)
        if not self._saving:
            self._timer = self.agent.later(SAVE_EVERY, self._keep)
            return
        whole = not self.world.disk.begun
        rows = self.board.everything() if whole else self._rows
        moment = (self.agent.clock.now(), self.agent.clock.wall())
        seconds = self.agent.rng.uniform(0.001, 0.02)
        self._writing = True
        self._timer = self.agent.later(seconds, self._kept, rows, moment, whole, self.world.oracle.snapshot())

    def _kept(self, rows: Rows, moment: tuple[float, float], whole: bool, snapshot: Any) -> None:
        if self.world.fuse("checkpoint"):
            return
        self._writing = False
        if self.world.disk.save(rows, *moment, whole, snapshot):
            self._rows = Rows()
            self._saving = self.board.unsaved
            self._timer = self.agent.later(0.0 if self._saving else SAVE_EVERY, self._keep)
        else:
            self._timer = self.agent.later(SAVE_AGAIN_AFTER, self._keep)

    def finish(self) -> None:
        self.world.disk.save(self.board.everything(), self.agent.clock.now(), self.agent.clock.wall(), True, self.world.oracle.snapshot())
