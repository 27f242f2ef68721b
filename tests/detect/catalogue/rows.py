"""A row of the catalogue: the rule, what is read or told (seconds, signals), and the verdict that follows."""

from dataclasses import dataclass

from podvitals.detect.signal import Code, Count, Signal
from podvitals.device.health import Health

HEALTHY, UNKNOWN, UNHEALTHY = Health.HEALTHY, Health.UNKNOWN, Health.UNHEALTHY
PCI = " (PCI 0000:3b:00.0)"
ATTRIBUTES = {"resource.kubernetes.io/pciBusID": "0000:3b:00.0", "ifname": "eth0", "path": "/dev/accel0"}


@dataclass(frozen=True)
class Row:
    rule: str
    steps: tuple[tuple[float, tuple[Signal, ...]], ...]
    health: Health
    message: str
    action: str = ""


def at_once(rule: str, health: Health, message: str, action: str, *signals: Signal) -> Row:
    return Row(rule, ((0.0, signals),), health, message, action)


def after(rule: str, seconds: float, health: Health, message: str, action: str, *signals: Signal) -> Row:
    """The same, said again after some time."""
    return Row(rule, ((0.0, signals), (seconds, signals)), health, message, action)


def grew(rule: str, name: str, by: int, health: Health, message: str, action: str = "", part: str = "") -> Row:
    return Row(rule, ((0.0, (Count(name, 1000, part),)), (5.0, (Count(name, 1000 + by, part),))), health, message, action)


def line(code: str, **params: str) -> Code:
    return Code("kmsg", code, params=tuple(params.items()))
