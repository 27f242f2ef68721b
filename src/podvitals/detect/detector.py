"""What the author of a detector writes: an inventory, and readings that are polled (`check`), pushed (`watch`), or both.

The frame (schedule.py) owns everything else: threads, timeouts, leases, failures, and devices that vanish.
"""

import inspect
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podvitals.device import verdict
from podvitals.device.health import Health
from podvitals.device.text import clean
from podvitals.errors import InvalidInput

ACTIONS = ("", *verdict.ACTIONS)
"""What a reading can ask for, nothing among them; machine-readable, so nothing else is accepted."""

LEAST_LEASE = 1.5
"""Intervals a reading must be believed at least."""


class Version(str):
    """A semantic version (`1.2.3`), published as such, so that CEL can compare it: `Device(..., attributes={"driver":
    Version("1.2.3")})`."""

    __slots__ = ()


Attribute = bool | int | str | Version


@dataclass(frozen=True)
class Device:
    """One device as it ought to be there.

    `name`: a DNS label, unique in the driver, and the same after a reboot. `attributes` and `capacity` (Kubernetes quantities: 80 *
    2**30, "80Gi") are published in the ResourceSlice, where a DeviceClass selects by them. `nodes`: device nodes a container is given.
    `env`: set in a container that is given the device. `handle`: what a program opens, a path or an interface; by default the first node,
    else the name.
    """

    name: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    capacity: Mapping[str, str | int] = field(default_factory=dict)
    nodes: Sequence[Path] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    handle: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(Path(node) for node in self.nodes))
        if not self.handle:
            object.__setattr__(self, "handle", str(self.nodes[0]) if self.nodes else self.name)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the hardware said. Make one with healthy(), unhealthy() or unknown().

    `message` is for a person and holds no times, so that the same state is the same text; it is made printable and cut at 1,024 bytes.
    """

    health: Health
    message: str = ""
    action: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", clean(str(self.message)))
        if self.action not in ACTIONS:
            raise InvalidInput(f"action {self.action!r} is none of {', '.join(filter(None, ACTIONS))}")

    @classmethod
    def healthy(cls, message: str = "") -> "Reading":
        """Works. A message tells that it is degraded, and how."""
        return cls(Health.HEALTHY, message)

    @classmethod
    def unhealthy(cls, message: str, *, action: str = "") -> "Reading":
        """Broken: `message` says what is wrong, `action` what a person should do (one of ACTIONS)."""
        return cls(Health.UNHEALTHY, message, action)

    @classmethod
    def unknown(cls, message: str) -> "Reading":
        """Could not be read: `message` says why not."""
        return cls(Health.UNKNOWN, message)


class Unreadable(Exception):
    """What check() may raise where the device cannot be read, and yet something is known that no reading would change (a reset that is
    still due): `still` is passed on, and its lease is not renewed."""

    def __init__(self, why: str, still: Reading | None = None) -> None:
        super().__init__(why)
        self.still = still


class Detector:
    """Finds devices and reads their health. Implement `devices`, and `check`, `watch` or both.

    `check` and `watch` of one detector look at the same thing: the newer reading counts. For two things, write two detectors: of those the
    worse counts. Sources of truth differ in speed: `interval` is the time between two checks and two inventories, `timeout` how long one
    call may take until its device is Unknown, `lease` how long a reading is believed (default 3 × interval). All in seconds.
    """

    interval: float = 5.0
    timeout: float = 2.0
    lease: float = 0.0
    settled: bool = True
    """False while a detector that watches is still busy with what was said before it began (a log's beginning)."""

    def devices(self) -> Iterable[Device]:
        """What ought to be there. Called in a worker thread, each interval; one that is not listed any more is a fault, not a removal."""
        raise NotImplementedError

    def check(self, device: Device) -> Reading:
        """Reads one device. Called in a worker thread; may block; an exception is Unknown with its text. One call of a detector at a time,
        except while another of them hangs: the others then go on beside it."""
        raise NotImplementedError

    def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        """Pushed readings: an async generator of (device name, reading), run in the event loop, so it must not block.

        The frame starts it anew when it ends or fails. Silence renews no lease: without a `check`, repeat readings within the lease."""
        raise NotImplementedError

    def join(self, others: Sequence["Detector"]) -> None:
        """Called once, before anything else, with the detectors that stand before this one in its driver."""

    def keep_in(self, directory: Path) -> None:
        """Called once, in a worker thread and before devices(): a directory of the driver's own, where a detector may keep what it must
        know after a restart. It need not be there yet."""

    def __str__(self) -> str:
        """The name used in messages and logs."""
        return type(self).__name__

    @property
    def checks(self) -> bool:
        return type(self).check is not Detector.check

    @property
    def watches(self) -> bool:
        return type(self).watch is not Detector.watch

    @property
    def lease_seconds(self) -> float:
        """Whole seconds, at least 1: the wire has no fractions."""
        return float(max(1, -(-(self.lease or 3 * self.interval) // 1)))


def check_detector(detector: object) -> Detector:
    """Refuses a detector that cannot work, before anything starts."""
    if not isinstance(detector, Detector):
        meant = f"; write {detector.__name__}()" if isinstance(detector, type) else ""
        raise InvalidInput(f"{detector!r:.80} is not a detector{meant}")
    if not (detector.checks or detector.watches):
        raise InvalidInput(f"detector {detector} has neither check() nor watch(): it would never say anything")
    if type(detector).devices is Detector.devices:
        raise InvalidInput(f"detector {detector} has no devices()")
    _check_kinds(detector)
    for name in ("interval", "timeout"):
        if not getattr(detector, name) > 0:
            raise InvalidInput(f"detector {detector}: {name} must be more than 0 seconds")
    if detector.lease < 0:
        raise InvalidInput(f"detector {detector}: lease must be more than 0 seconds (or 0: 3 × interval)")
    if detector.lease_seconds < detector.interval:
        raise InvalidInput(
            f"detector {detector}: its lease of {detector.lease_seconds:g} s ends before its next check in {detector.interval:g} s"
        )
    if detector.lease_seconds < LEAST_LEASE * detector.interval:
        # A check that is a few milliseconds later than the last would make its devices Unknown, each time.
        raise InvalidInput(
            f"detector {detector}: its lease of {detector.lease_seconds:g} s leaves no time for a check each {detector.interval:g} s "
            f"to be late: make it {LEAST_LEASE:g} × interval at least"
        )
    return detector


def _check_kinds(detector: Detector) -> None:
    """`devices` and `check` are called in a thread, `watch` is iterated in the event loop: the wrong kind of function would never speak."""
    for name in ("devices", "check"):
        function = getattr(detector, name)
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidInput(
                f"detector {detector}: {name}() is `async def`, but is called in a thread of its own, where it may block: "
                f"write a plain `def {name}`; readings that are pushed come from `async def watch`"
            )
    if inspect.iscoroutinefunction(detector.watch):
        raise InvalidInput(f"detector {detector}: watch() has no `yield`: it is an async generator of (device name, reading)")
