"""A verdict: what a driver says of one device, and for how long that may be believed."""

from dataclasses import dataclass

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey

DEFAULT_LEASE = 30.0
"""Seconds a report stays good where it does not say (DeviceHealth.health_check_timeout_seconds absent or <= 0)."""
SHORTEST_LEASE = 1.0
LONGEST_LEASE = 24 * 3600.0
"""A larger one overflows the kubelet's duration (CONTRACT: clamp at 24 h)."""

ACTIONS = ("restart-app", "reset-gpu", "reboot", "power-cycle", "service")
"""What a person can be asked to do. Each does what those before it do, so that of several the last is asked for."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`checked_at`: Unix seconds when the hardware was last read, never when the message was built. `lease`: seconds from its arrival
    during which a report is believed. `action`: one of ACTIONS, or ''; a driver of others may ask for something else."""

    key: DeviceKey
    health: Health
    message: str = ""
    action: str = ""
    checked_at: float = 0.0
    lease: float = DEFAULT_LEASE


def lease_seconds(requested: float) -> float:
    """Seconds a report stays good. `requested` <= 0 means the default, 30 s; otherwise clamped to 1 s ... 24 h."""
    if requested <= 0:
        return DEFAULT_LEASE
    return min(max(requested, SHORTEST_LEASE), LONGEST_LEASE)
