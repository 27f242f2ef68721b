"""A report on its way from bytes to the ledger. Pure. Reading a large one is done in steps, so that others are heard in between."""

import math

from podvitals.errors import PluginProtocolError
from podvitals.node.memory import Heard, Memory
from podvitals.node.record import SourceKey
from podvitals.wire.messages import Report
from podvitals.wire.report import Decoder, Match


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
    read; else it is read by `decoder`."""

    __slots__ = ("arrived", "decoder", "error", "match", "place", "raw", "said", "stream")

    def __init__(self, place: Place, raw: bytes) -> None:
        self.place, self.stream, self.raw, self.arrived = place, place.stream, raw, place.arrived
        self.said: Heard | None = None
        self.match: Match | None = None
        self.decoder: Decoder | None = None
        self.error = ""

    def step(self) -> bool:
        """Reads on; whether there is more to read."""
        try:
            return self.decoder is not None and not self.error and self.decoder.step()
        except PluginProtocolError as error:
            self.error = str(error)
            return False

    @property
    def report(self) -> Report | None:
        """What was read; None if it was no report."""
        return None if self.error or self.decoder is None else self.decoder.report
