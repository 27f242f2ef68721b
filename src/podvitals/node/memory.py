"""What one connection said last, as bytes. Pure.

A report that repeats the bytes of an earlier one is recognised by comparing bytes; one that differs in times and a few entries by its
layout; only others are read as a whole. What is kept is bounded.
"""

from dataclasses import dataclass

from podvitals.node.limits import Limits
from podvitals.node.outcome import Delivery
from podvitals.wire.report import Layout, Match

_FEW, _PART = 64, 8
"""Entries, or the part of all, that may differ: where more do, reading it all costs no more than comparing."""


@dataclass(slots=True)
class Heard:
    """A report as it came at `arrived` (boottime). `delivery` is None while it was not taken, because another endpoint spoke."""

    raw: bytes
    arrived: float
    delivery: Delivery | None
    layout: Layout | None = None


class Memory:
    """The last reports of one connection, oldest first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._heard: list[Heard] = []
        self._bytes = 0

    def find(self, raw: bytes) -> Heard | None:
        for heard in self._heard:
            if heard.raw == raw:
                return heard
        return None

    def match(self, raw: bytes) -> tuple[Heard, Match] | None:
        """The newest that `raw` says again, with other times or a few other entries."""
        for heard in reversed(self._heard):
            layout = heard.layout
            if layout is not None and (match := layout.match(raw, max(_FEW, len(layout) // _PART))) is not None:
                return heard, match
        return None

    def keep(self, heard: Heard, instead: Heard | None = None) -> None:
        """`instead`: what it says again."""
        known = self.find(heard.raw) if instead is None else instead
        if known is not None:
            self._drop(known)
        if len(heard.raw) > self._limits.remembered_bytes:
            return
        self._heard.append(heard)
        self._bytes += len(heard.raw)
        while len(self._heard) > self._limits.remembered_reports or self._bytes > self._limits.remembered_bytes:
            self._drop(self._heard[0])
        self._thin()

    def not_taken(self) -> list[Heard]:
        return [heard for heard in self._heard if heard.delivery is None]

    def clear(self) -> None:
        self._heard.clear()
        self._bytes = 0

    def _drop(self, heard: Heard) -> None:
        self._heard.remove(heard)
        self._bytes -= len(heard.raw)

    def _thin(self) -> None:
        """A layout is several times as large as the bytes it is of."""
        left = self._limits.devices_per_driver
        for heard in reversed(self._heard):
            left -= 0 if heard.layout is None else len(heard.layout)
            if left < 0:
                heard.layout = None
