"""What one connection said last, as bytes. Pure.

A report that repeats the bytes of an earlier one is recognised by comparing bytes; only others are decoded. What is kept is bounded.
"""

from dataclasses import dataclass

from podvitals.node.ledger import Delivery
from podvitals.node.limits import Limits


@dataclass(slots=True)
class Heard:
    """A report as it came at `arrived` (boottime). `delivery` is None while it was not taken, because another endpoint spoke."""

    raw: bytes
    arrived: float
    delivery: Delivery | None


class Memory:
    """The last reports of one connection, oldest first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._heard: list[Heard] = []
        self._bytes = 0

    def find(self, raw: bytes) -> Heard | None:
        return next((heard for heard in self._heard if len(heard.raw) == len(raw) and heard.raw == raw), None)

    def keep(self, raw: bytes, arrived: float, delivery: Delivery | None) -> None:
        known = self.find(raw)
        if known is not None:
            self._drop(known)
        if len(raw) > self._limits.remembered_bytes:
            return
        self._heard.append(Heard(raw, arrived, delivery))
        self._bytes += len(raw)
        while len(self._heard) > self._limits.remembered_reports or self._bytes > self._limits.remembered_bytes:
            self._drop(self._heard[0])

    def not_taken(self) -> list[Heard]:
        return [heard for heard in self._heard if heard.delivery is None]

    def clear(self) -> None:
        self._heard.clear()
        self._bytes = 0

    def _drop(self, heard: Heard) -> None:
        self._heard.remove(heard)
        self._bytes -= len(heard.raw)
