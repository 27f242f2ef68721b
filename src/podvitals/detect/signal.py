"""What hardware says, before anybody judged it. Pure.

A family turns sysfs, ioctls, netlink and the kernel log into signals; rules (rules/*.toml) turn signals into a verdict (evidence.py). A
signal never contains an opinion: "the state is not live" is a State, that this is fatal is a rule's.

`part` tells several instances on one device apart (an NVLink, a port, a RAS block, a sensor): each part is judged by itself.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """Something was said once: an event of a library, a line of the kernel log.

    `table` and `code` are what rules match, such as "xid" and "79". `text`: the words as they were said. `params`: details for messages,
    and for rules that match by them. `age`: seconds since it was said, where it was read later (a log read from its beginning)."""

    table: str
    code: str
    text: str = ""
    params: tuple[tuple[str, str], ...] = ()
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Count:
    """A counter as it stands. Its growth is worked out by evidence.py: the first value is a baseline, a lower one a new baseline."""

    name: str
    value: int
    part: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """A state as it stands, in the words of its source ("live", "ACTIVE", "yes"). `text`: more, for a person."""

    name: str
    value: str
    part: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """A measured value, in the unit its name promises: °C, lanes, GT/s, Mbit/s."""

    name: str
    value: float
    part: str = ""


@dataclass(frozen=True, slots=True)
class Unread:
    """A probe that failed: the device is Unknown as to this, never Unhealthy. `name` (and `part`): the signal that could not be read."""

    name: str
    why: str
    part: str = ""


Signal = Code | Count | State | Level | Unread

LIFE = "life"
"""The table of codes by which a family says what became of the device itself; they end verdicts that wait for it:
Code(LIFE, "reset"), Code(LIFE, "reboot") (as good as one), Code(LIFE, "service") (replaced, or mended by hand). A reboot is seen by the
frame."""
