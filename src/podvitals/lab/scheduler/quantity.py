"""Kubernetes quantities (`40Gi`, `500m`) and semantic versions, as far as device selectors compare them. Pure."""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Union

from podvitals.errors import InvalidInput

_NUMBER = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


class NotAQuantity(InvalidInput, ValueError):
    """Not a Kubernetes quantity, or not a semantic version."""


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """In billionths, the finest that a suffix says, so that comparisons are exact."""

    nanos: int

    @classmethod
    def parse(cls, text: str) -> "Quantity":
        found = _NUMBER.fullmatch(text)
        if found is None:
            raise NotAQuantity(f"{text!r} is not a quantity such as 40Gi, 500m or 12")
        sign, digits, exponent, suffix = found.groups()
        whole, _, fraction = digits.partition(".")
        nanos = int((whole + fraction) or "0") * 10**9
        if suffix in _BINARY:
            nanos *= _BINARY[suffix]
            power = -len(fraction)
        else:
            power = (int(exponent[1:]) if exponent else _DECIMAL[suffix or ""]) - len(fraction)
        if abs(power) > 60:
            raise NotAQuantity(f"{text!r} is out of range for a quantity")
        nanos = nanos * 10**power if power >= 0 else -(-nanos // 10**-power)  # upstream rounds up what is finer than nano
        return cls(-nanos if sign == "-" else nanos)

    @property
    def value(self) -> float:
        return self.nanos / 10**9

    def integer(self) -> int:
        if self.nanos % 10**9:
            raise NotAQuantity("the quantity is not a whole number")
        return self.nanos // 10**9

    def plus(self, other: Union["Quantity", int]) -> "Quantity":
        return Quantity(self.nanos + (other.nanos if isinstance(other, Quantity) else int(other) * 10**9))

    def minus(self, other: Union["Quantity", int]) -> "Quantity":
        return Quantity(self.nanos - (other.nanos if isinstance(other, Quantity) else int(other) * 10**9))


@total_ordering
@dataclass(frozen=True, slots=True)
class Semver:
    """Ordered by precedence (semver.org 2.0.0, 11): a pre-release comes before its release; build metadata does not count."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Semver":
        found = _VERSION.fullmatch(text)
        if found is None:
            raise NotAQuantity(f"{text!r} is not a semantic version such as 1.2.3")
        return cls(int(found[1]), int(found[2]), int(found[3]), tuple(found[4].split(".")) if found[4] else ())

    def __lt__(self, other: "Semver") -> bool:
        return self._precedence() < other._precedence()

    def _precedence(self) -> tuple[object, ...]:
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.prerelease)
        return self.major, self.minor, self.patch, not self.prerelease, parts
