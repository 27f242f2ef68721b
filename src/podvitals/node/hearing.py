"""A report on its way from bytes to the ledger. Pure. A large one is read and taken in steps, so that others are heard in between."""

import math
from collections.abc import Sequence

from podvitals.errors import PluginProtocolError
from podvitals.node.fact import Fact
from podvitals.node.lease import Batch
from podvitals.node.memory import Heard, Memory
from podvitals.node.outcome import Delivery, Outcome
from podvitals.node.record import SourceKey
from podvitals.wire.messages import DeviceReport, Report
from podvitals.wire.report import Decoder, Layout, Match


class Place:
    """One registered endpoint. `health`: it serves a health service. `heard`: Unix seconds of its last report, 0.0 for never.

    `stream`: which of its streams it is, so that what is read after the end of the one it came from is known to be late. `arrived`: when
    (boottime) the last report came on it. `speaks_since`: Unix seconds when it last got the floor."""

    __slots__ = ("arrived", "endpoint", "health", "heard", "memory", "number", "reports", "source", "speaks_since", "stream")

    def __init__(self, number: int, source: SourceKey, endpoint: str, health: bool, memory: Memory) -> None:
        self.number, self.source, self.endpoint, self.health = number, source, endpoint, health
        self.memory = memory
        self.reports = self.stream = 0
        self.heard = self.speaks_since = 0.0
        self.arrived = -math.inf

    def end_stream(self) -> None:
        self.memory.clear()
        self.stream += 1
        self.arrived = -math.inf


class Hearing:
    """`arrived`: boottime. `said`: the earlier report that it repeats, and how it differs (None: not at all), so that there is nothing to
    read; else it is read by `decoder` and taken in parts. `done`: nothing is left of it."""

    __slots__ = ("_read", "arrived", "decoder", "done", "error", "match", "place", "raw", "said", "stream", "taken")

    def __init__(self, place: Place, raw: bytes) -> None:
        self.place, self.stream, self.raw, self.arrived = place, place.stream, raw, place.arrived
        self.said: Heard | None = None
        self.match: Match | None = None
        self.decoder: Decoder | None = None
        self.error = ""
        self.taken: Taken | None = None
        self.done = self._read = False

    def step(self) -> bool:
        """Reads on; whether there is more to read."""
        if self.decoder is None or self._read:
            return False
        try:
            more = self.decoder.step()
        except PluginProtocolError as error:
            self.error, more = str(error), False
        self._read = not more
        return more

    @property
    def report(self) -> Report | None:
        """What was read; None if it was no report."""
        return None if self.error or self.decoder is None else self.decoder.report


class Taken:
    """What the ledger has taken of a report so far."""

    __slots__ = ("at", "entries", "facts", "layout", "parts", "refused", "whole")

    def __init__(self, entries: Sequence[DeviceReport], layout: Layout | None) -> None:
        self.entries, self.layout = entries, layout
        self.at = self.refused = 0
        self.parts: list[tuple[Batch, int]] = []
        self.facts: list[Fact] = []
        self.whole = True

    def add(self, outcome: Outcome, entries: int) -> None:
        self.at += entries
        self.refused += outcome.refused
        if outcome.delivery is None:
            self.whole = False
        else:
            self.parts += outcome.delivery.parts
            self.facts += outcome.delivery.facts

    def delivery(self, source: SourceKey, generation: int) -> Delivery | None:
        return Delivery(source, generation, tuple(self.parts), () if self.refused else self.facts) if self.whole else None
