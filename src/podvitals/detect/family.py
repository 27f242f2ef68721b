"""What a family of devices implements on top of the SDK's Detector: it finds devices and reads signals; rules judge them.

    class Boards(Family):
        family, about, needs = "board", "boards of a kind", "/sys/class/board"
        def find(self): ...                       # Devices, named stably
        def read(self, device): ...               # Signals of one device, all that can be polled
        async def listen(self): ...               # (device name, Signal), pushed; optional

The frame keeps what was said (evidence.py), damps it, remembers over a restart what must be remembered, and gives Readings to the board.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

from podvitals.clock import SYSTEM, Clock, boot_id
from podvitals.detect.damping import Damping
from podvitals.detect.detector import Detector, Device, Reading, Unreadable
from podvitals.detect.inventory import device_name
from podvitals.detect.judge import Bench, Judge, Tap
from podvitals.detect.roots import Roots
from podvitals.detect.rules.load import builtin
from podvitals.detect.rules.rule import Rules
from podvitals.detect.signal import Signal, Unread

PCI = "resource.kubernetes.io/pciBusID"
"""Kubernetes' own attribute for the address of a PCI device, "0000:3b:00.0"; {pci} in messages."""


def pci_device(address: str) -> str:
    """The name of a PCI device, the same in every family, so that what several say of one device is put together."""
    return device_name(f"pci-{address}")


class Family(Detector):
    """`family`: the word before the colon in --detector; `patterns`: those behind it, which choose devices. `about`: what its devices are.
    `needs`: what must be there for it to work, for `podvitals detectors`. `roots` is set by the frame before anything is called."""

    family: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[str]
    roots: Roots = Roots()
    patterns: tuple[str, ...] = ()

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns

    def find(self) -> Iterable[Device]:
        """What ought to be there, as Detector.devices(). In a worker thread, each interval."""
        raise NotImplementedError

    def read(self, device: Device) -> Iterable[Signal]:
        """Everything that can be polled of one device, each time all of it: a state that is not among them any more has ended. In a worker
        thread. What cannot be read is Unread; where nothing at all can be read, raise. A family that only listens gives nothing, and raises
        where it does not listen: only what was read renews a lease."""
        raise NotImplementedError

    def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        """Pushed signals, an async generator in the event loop, as Detector.watch()."""
        raise NotImplementedError

    @classmethod
    def available(cls, roots: Roots) -> str:
        """Why the family can find nothing on this machine; empty where it can. Never raises, never starts a vendor's library."""
        return ""

    @classmethod
    def hindered(cls, roots: Roots) -> str:
        """Why the family cannot read what is there; empty where it can, and where there is nothing to read. Of what it returns, `available`
        says the same, and `podvitals check` that it left the family out."""
        return ""

    @classmethod
    def everything(cls) -> "Self | None":
        """The family looking at every device of its kind, for `podvitals check`; None where it has to be told what to look at."""
        return cls()

    def remember(self) -> Mapping[str, str]:
        """What the family itself wants to know after a restart (a place in a log, a boot id apart: the frame knows that)."""
        return {}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        """What it remembered. Called once, before anything else."""

    def chosen(self, *words: str) -> bool:
        """Whether the patterns choose a device that goes by these words; no pattern: all."""
        return not self.patterns or any(fnmatchcase(word, pattern) for word in words for pattern in self.patterns)

    def __str__(self) -> str:
        return f"{self.family}:{','.join(self.patterns)}" if self.patterns else self.family

    # --- Detector, for the frame: not for families to override -----------------------------------------------------------------------

    rules: Rules | None = None
    clock: Clock = SYSTEM
    tap: Tap | None = None
    damping: Damping | None = None
    _bench = Bench()

    @cached_property
    def judge(self) -> Judge:
        return Judge(builtin() if self.rules is None else self.rules, self.clock, self.tap, self.damping)

    def join(self, others: Sequence[Detector]) -> None:
        """Families of one driver that go by the same rules are judged together."""
        families = [other for other in others if isinstance(other, Family)]
        if (same := next((other for other in families if other.rules is self.rules), None)) is not None:
            self.judge, self._bench = same.judge, same._bench
        else:
            self._bench = Bench(len({id(other._bench) for other in families}))
        self._bench.families.add(str(self))

    def keep_in(self, directory: Path) -> None:
        remembered, same_boot = self.judge.keep(directory, str(self), self, boot_id(), self._bench)
        self.recall(remembered, same_boot=same_boot)

    def devices(self) -> Iterable[Device]:
        found = tuple(self.find())
        self.judge.know(str(self), found)
        return found

    def check(self, device: Device) -> Reading:
        self.judge.ask_service(str(self), device.name)
        since = self.clock.now()
        try:
            signals = tuple(self.read(device))
            unread = [signal for signal in signals if isinstance(signal, Unread)]
            if unread and len(unread) == len(signals):
                raise Unreadable("; ".join(dict.fromkeys(f"cannot read {signal.name}: {signal.why}" for signal in unread)))
        except Exception as error:  # whatever a vendor's library raises: the device cannot be read, what is known of it stays
            why = str(error) if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}".removesuffix(": ")
            raise Unreadable(why, self.judge.failed(str(self), device.name, why)) from error
        reading = self.judge.take(str(self), device.name, signals, since=since)
        self.judge.save_if_due()
        return reading

    async def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        async with aclosing(self.listen()) as told:  # type: ignore[type-var]
            async for name, signal in told:
                yield name, self.judge.take(str(self), name, (signal,))
                self.judge.save_if_due()

    @property
    def watches(self) -> bool:
        return type(self).listen is not Family.listen
