"""What the switchboard answers: devices that changed, what was refused, and lines for the log. Pure: effects as data."""

from dataclasses import dataclass
from enum import StrEnum

from podvitals.device.key import DeviceKey


class Reason(StrEnum):
    """What a driver said and was not taken, for counting."""

    REGISTRATION = "registration"
    STREAM = "stream"
    REPORT = "undecodable report"
    ENTRY = "invalid entry"
    DEVICES = "too many devices"
    ROOM = "too many registrations"


@dataclass(frozen=True, slots=True)
class Refused:
    """`number`: the endpoint that said it. `times`: how many things of this kind this one message held."""

    number: int
    reason: Reason
    text: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log: what happened, and to whom."""

    text: str
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    changed: frozenset[DeviceKey] = frozenset()
    refused: tuple[Refused, ...] = ()
    lines: tuple[Line, ...] = ()


NOTHING = Told()


class Telling:
    """A `Told` in the making."""

    __slots__ = ("_lines", "_refused", "changed")

    def __init__(self) -> None:
        self.changed: frozenset[DeviceKey] = frozenset()
        self._refused: list[Refused] = []
        self._lines: list[Line] = []

    def refuse(self, number: int, reason: Reason, text: str, times: int = 1) -> None:
        self._refused.append(Refused(number, reason, text, times))

    def say(self, text: str, **fields: str) -> None:
        self._lines.append(Line(text, tuple(fields.items())))

    def told(self) -> Told:
        if not (self.changed or self._refused or self._lines):
            return NOTHING
        return Told(self.changed, tuple(self._refused), tuple(self._lines))
