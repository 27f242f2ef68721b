"""Model drivers: processes that may be started, killed, hung, and made to say anything. They speak real protobuf bytes.

A process has a table of what it believes of its devices. It sends the whole table when a stream begins and what changed when something
does; a process of style "heartbeat" also re-sends the table within its smallest lease, one of style "on change" never does.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from podvitals.device.health import Health
from podvitals.node.record import SourceKey
from podvitals.wire.convert import encode_report
from podvitals.wire.messages import DeviceReport
from tests.chaos.cast import DEVICES, POOL
from tests.chaos.loop import Timer

if TYPE_CHECKING:
    from tests.chaos.world import World

LATENCY = 0.0005


class Entry(NamedTuple):
    """One device of a report, as the driver means it. `lease` in seconds as asked."""

    device: str
    health: Health
    message: str
    action: str
    lease: float


class Report(NamedTuple):
    """`entries` is what the bytes mean; None for bytes that mean nothing."""

    raw: bytes
    entries: tuple[Entry, ...] | None


GARBAGE = Report(b"\xff\xff\xff no protobuf", None)
EMPTY = Report(b"", ())
_encoded: dict[tuple[tuple[Entry, ...], float], bytes] = {}


def spoken(entries: tuple[Entry, ...], checked: float = 0.0) -> Report:
    raw = _encoded.get((entries, checked))
    if raw is None:
        devices = [DeviceReport(POOL, one.device, one.health, checked, one.lease, one.message, one.action) for one in entries]
        (raw,) = encode_report(devices)
        if len(_encoded) > 4096:
            _encoded.clear()
        _encoded[entries, checked] = raw
    return Report(raw, entries)


class Socket:
    """A registration socket in the plugin directory; stays when its process is killed. `born` orders those of a source."""

    def __init__(self, path: str, process: "Process", born: int) -> None:
        self.path, self.process, self.born = path, process, born


class Stream:
    """A health stream as both ends have it. `hear` is the agent's end; `cut` tells it how the stream ended."""

    def __init__(self, hear: Callable[[Report], None], cut: Callable[[bool], None]) -> None:
        self.hear, self.cut = hear, cut
        self.open = True
        self.under_way: list[Timer] = []
        self.latest = 0.0


class Process:
    def __init__(self, world: "World", source: SourceKey, slot: int, endpoint: str, style: str, lease: float) -> None:
        self.world, self.source, self.slot, self.endpoint, self.style, self.lease = world, source, slot, endpoint, style, lease
        self.table: dict[str, Entry] = {}
        self.alive, self.hung, self.deaf = True, False, False
        self.stream: Stream | None = None
        self.waiting: list[Callable[[], None]] = []
        self._beat: Timer | None = None
        for device, known in world.hardware[source].items():
            self.table[device] = known._replace(lease=lease)

    # --- what it says ----------------------------------------------------------------------------------------------------------

    def open(self, hear: Callable[[Report], None], cut: Callable[[bool], None]) -> None:
        """A node side asks for its health; answered when it is awake."""
        self.stream = Stream(hear, cut)
        if self.hung:
            self.waiting.append(self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        self.say(self.whole())
        self._again()

    def whole(self) -> Report:
        checked = float(int(self.world.machine.wall())) if self.style == "ticking" else 0.0
        return spoken(tuple(self.table.values()), checked)

    def say(self, report: Report) -> None:
        stream = self.stream
        if stream is not None and stream.open and self.alive and not self.hung and not self.world.machine.asleep:
            stream.under_way = [timer for timer in stream.under_way if timer.live]
            # In the order in which it was sent, and never at the very instant at which another process is heard.
            self.world.messages += 1
            arrives = max(stream.latest + 1e-6, self.world.loop.now + LATENCY * (1.0 + (self.world.messages % 97) / 97))
            stream.latest = arrives
            timer = self.world.loop.at(arrives, self._arrive, stream, report)
            stream.under_way.append(timer)

    def _arrive(self, stream: Stream, report: Report) -> None:
        if stream.under_way:
            stream.under_way.pop(0)
        stream.hear(report)

    def learn(self, entry: Entry, *, tell: bool = True) -> None:
        self.table[entry.device] = entry
        if tell and self.alive and not self.hung:
            self.say(spoken((entry,)) if len(entry.message) % 2 else self.whole())
            self._again()

    def _again(self) -> None:
        """Within the smallest lease, three times."""
        if self._beat is not None:
            self._beat.cancel()
        if self.style != "on change" and self.stream is not None and self.stream.open and self.table:
            smallest = min(min(86400.0, max(1.0, one.lease)) if one.lease > 0 else 30.0 for one in self.table.values())
            self._beat = self.world.loop.after(min(smallest / 3, 20.0), self._heartbeat)

    def _heartbeat(self) -> None:
        self._beat = None
        if self.alive and not self.hung:
            self.say(self.whole())
            self._again()

    # --- what becomes of it ----------------------------------------------------------------------------------------------------

    def end_stream(self) -> None:
        """In order: what was sent is read first. The connection stays."""
        self._cut(True, "read")

    def break_connection(self, under_way: str) -> None:
        """`under_way`: what becomes of messages that were sent: read, lost, or late (they reach a node side that has seen the end)."""
        self._cut(False, under_way)

    def _cut(self, in_order: bool, under_way: str) -> None:
        stream, self.stream = self.stream, None
        if stream is None or not stream.open:
            return
        stream.open = False
        timers, stream.under_way = [timer for timer in stream.under_way if timer.live], []
        if under_way == "lost":
            for timer in timers:
                timer.cancel()
        for timer in timers if under_way == "late" else ():
            timer.cancel()
            self.world.loop.after(0.01, stream.hear, timer.args[1])
        ends = max(self.world.loop.now, stream.latest) if under_way == "read" else self.world.loop.now
        self.world.loop.at(ends, stream.cut, in_order)

    def kill(self, under_way: str = "lost") -> None:
        self.alive = False
        self.break_connection(under_way)

    def hang(self) -> None:
        self.hung = True

    def wake(self) -> None:
        if not self.hung:
            return
        self.hung = False
        waiting, self.waiting = self.waiting, []
        for begin in waiting:
            if self.alive:
                begin()
        if not waiting and self.alive:
            self.say(self.whole())
            self._again()


def devices_of(source: SourceKey) -> tuple[str, ...]:
    return DEVICES
