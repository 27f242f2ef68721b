"""The agent's end of one registration socket: what node/endpoint does, on virtual time."""

from typing import TYPE_CHECKING

from podvitals.node.endpoint import FIRST_WAIT, LONGEST_WAIT, REFUSED_WAIT
from podvitals.node.session import Event
from podvitals.node.told import Told
from tests.chaos.driver import LATENCY, Report

if TYPE_CHECKING:
    from tests.chaos.driver import Process, Socket
    from tests.chaos.node import Node


class Plug:
    """`opened`: its first report came, or it is known that none comes soon."""

    def __init__(self, node: "Node", number: int, socket: "Socket") -> None:
        self.node, self.agent, self.number, self.socket = node, node.agent, number, socket
        self.opened = False
        self.registered = False
        self._removed = self._connected = False
        self._wait = FIRST_WAIT
        self._serial = 0
        self._opened_at = 0.0

    @property
    def process(self) -> "Process":
        return self.socket.process

    def ask(self) -> None:
        """Asks who it is until it answers, then registers it."""
        if self._removed:
            return
        agent, process = self.agent, self.process
        if not process.alive or process.hung:
            self.opened = self.opened or not process.alive
            agent.later(self._pause(), self.ask)
            return
        now, wall = agent.clock.now(), agent.clock.wall()
        told = self.node.board.register(
            self.number, process.source, process.endpoint, self.socket.born, serves_health=process.style != "mute", now=now, wall=wall
        )
        if not isinstance(told, Told):
            self._refused(told)
            return
        self.registered = True
        agent.world.oracle.registered(self.number, process.source, self.socket.born)
        self.node.tell(told)
        self._wait = FIRST_WAIT
        self.connect()

    def _refused(self, why: object) -> None:
        """`why`: the number of the endpoint that has its place, or what else is in the way."""
        rival = self.node.plugs[why] if isinstance(why, int) else None
        if rival is not None and not rival.process.alive:
            self.node.drop(rival)
            self.ask()
        else:
            self.opened = True
            self.agent.later(REFUSED_WAIT, self.ask)

    def connect(self) -> None:
        if self._removed:
            return
        process, agent = self.process, self.agent
        if not process.alive:
            self.opened = True
            agent.later(self._pause(), self.connect)
            return
        self._connected = True
        self._opened_at = agent.clock.now()
        self.event(Event.CONNECT)
        self._serial += 1
        if process.style == "mute":
            self.opened = True
            process.open(lambda report: None, self._cutter(self._serial))
        else:
            process.open(self._hearer(self._serial), self._cutter(self._serial))

    def _hearer(self, serial: int):  # type: ignore[no-untyped-def]
        def hear(report: Report) -> None:
            self.agent.hear(self._heard, serial, report, self.agent.world.loop.now)

        return hear

    def _cutter(self, serial: int):  # type: ignore[no-untyped-def]
        def cut(in_order: bool) -> None:
            self.agent.hear(self._cut, serial, in_order)

        return cut

    def _heard(self, serial: int, report: Report, arrived: float) -> None:
        """A report that was read, at times after the end of its connection was."""
        agent, late = self.agent, serial != self._serial
        if late and self._connected:
            return  # the shell reads no older connection than the one it has
        self.opened = True
        now = agent.clock.now()
        counted = self.node.standstill.arrived(now, self._opened_at)
        agent.world.oracle.heard(self.number, report, arrived, agent.world.loop.now - (now - counted), late=late)
        self.node.tell(self.node.board.heard(self.number, report.raw, now, agent.clock.wall(), counted))

    def _cut(self, serial: int, in_order: bool) -> None:
        if self._removed or serial != self._serial:
            return
        self._serial += 1
        self._connected = False
        self.event(Event.STREAM_END if in_order else Event.DISCONNECT)
        self._wait = FIRST_WAIT
        self.agent.later(self._pause(), self.connect)

    def event(self, event: Event) -> None:
        agent = self.agent
        agent.world.oracle.event(self.number, event)
        self.node.tell(self.node.board.event(self.number, event, agent.clock.now(), agent.clock.wall()))

    def remove(self) -> None:
        self._removed = True
        self._serial += 1
        self.close()
        if self.registered:
            self.event(Event.REMOVE)

    def close(self) -> None:
        """The node side lets go of the stream."""
        stream = self.process.stream
        if stream is not None:
            stream.open = False
            self.process.stream = None

    def _pause(self) -> float:
        seconds, self._wait = self.agent.rng.uniform(self._wait / 2, self._wait), min(2 * self._wait, LONGEST_WAIT)
        return seconds + LATENCY
