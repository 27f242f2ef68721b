"""Family `kmsg`: what the kernel log says of devices. `kmsg[:PATTERN,...][,from=anybody]`.

PATTERN chooses devices by type (`gpu`, `accel`, `nvme`, `nic`, `ib`, `disk`), by PCI address, or by name (`pci-0000-3b-*`, `neuron0`,
`eth0`), as the other families name them, so that it can run beside them; without one it is all of these types, and Neuron devices.
Which lines mean something is said by the rules ([lines.NAME], in rules/lines.toml and in an operator's file). Only what the kernel itself
wrote is believed: any process that may open /dev/kmsg can write lines too, but not in the kernel's name; `from=anybody` believes those as
well (for trying things out). A recording has every line that names one of the devices, so that other patterns can be tried on it.

Kernel ABI: Documentation/ABI/testing/dev-kmsg. Records have sequence numbers, so reading goes on where it ended, also after a restart of
the driver; and records that were overwritten before they were read are counted (EPIPE, or a gap), never passed over in silence.
"""

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from podvitals.detect.detector import Device, Unreadable
from podvitals.detect.families import pcidev, subjects
from podvitals.detect.family import PCI, Family
from podvitals.detect.kernellog import FROM_KERNEL, Joiner, Reader, Record, parse
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Code, Count, Signal
from podvitals.detect.spec import Spec
from podvitals.detect.subject import Names

USUAL = ("gpu", "accel", "nvme", "nic", "ib", "disk", "neuron*")
LONGEST_RECORD = 8192
"""Bytes; the kernel's own limit is PRINTK_MESSAGE_MAX, 2048."""
PATIENCE = 1.0
"""Seconds that the first check waits for the log to be opened."""
BATCH = 64
"""Records read before somebody else is let in."""


class Log:
    """An open kernel log. `next`: the sequence number that is read next. `lost`: records that were overwritten before they were read."""

    def __init__(self, path: Path, next_one: int | None) -> None:
        self.lost = 0
        self.next = next_one
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)

    def records(self, most: int) -> tuple[list[Record], bool]:
        """The next records, `most` of them at most, and whether there may be more. Never blocks. Raises OSError."""
        found: list[Record] = []
        for _ in range(most):
            try:
                data = os.read(self._descriptor, LONGEST_RECORD)
            except BlockingIOError:
                return found, False
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten while the log was open: the gap in the numbers tells how many
                    continue
                raise
            if not data:
                return found, False
            try:
                record = parse(data)
            except ValueError:
                self.lost += 1
                continue
            if self._is_new(record.sequence):
                found.append(record)
        return found, True

    def _is_new(self, sequence: int) -> bool:
        if self.next is not None:
            if sequence < self.next:
                return False  # read before a restart
            self.lost += sequence - self.next
        self.next = sequence + 1
        return True


class Kmsg(Family):
    family, about = "kmsg", "what the kernel log says of devices"
    needs = "/dev/kmsg, and the right to read it (root or CAP_SYSLOG)"
    interval, timeout = 15.0, 2.0  # what is said is pushed; a check only tells that somebody listens

    def __init__(self, *patterns: str, from_anybody: bool = False) -> None:
        super().__init__(*patterns)
        self.settled = False
        self._from_anybody = from_anybody
        self._pci = pcidev.Chosen()
        self._joiner = Joiner()
        self._log: Log | None = None
        self._why_not = ""
        self._begun = threading.Event()
        self._told: int | None = None
        self._lost_before = 0
        self._devices: dict[str, Device] = {}
        self._names = Names()

    @classmethod
    def available(cls, roots: Roots) -> str:
        return cls.hindered(roots) or ("" if (roots.dev / "kmsg").exists() else f"{roots.dev}/kmsg is not there")

    @classmethod
    def hindered(cls, roots: Roots) -> str:
        path = roots.dev / "kmsg"
        try:
            # Its mode may allow what kernel.dmesg_restrict refuses.
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except FileNotFoundError:
            return ""
        except OSError as error:
            return _refused(path, error)
        return ""

    def find(self) -> Iterable[Device]:
        new = False
        for device, names in subjects.everything(self.roots, self._pci):
            if self._wanted(device):
                self._devices[device.name] = device
                new |= self._names.know(device.name, names)
        if new:
            self.judge.named(str(self), self._names.by_device())
        # The log says nothing about presence: a device that is gone stays, so that its last words are heard.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        # The first check and the listener start together: it is given a moment, once.
        if not self._begun.is_set() and not self._begun.wait(PATIENCE):
            self._begun.set()
        if (log := self._log) is None:
            raise Unreadable(self._why_not or "the kernel log is not being read")
        return [Count("kmsg.lost", self._lost_before + log.lost)]

    async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        readable, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            log = Log(self.roots.dev / "kmsg", self._told)  # opening a log does not block; in a thread it would be left open by a cancel
        except OSError as error:
            self._why_not = _refused(self.roots.dev / "kmsg", error)
            self._begun.set()
            raise Unreadable(self._why_not) from None
        loop.add_reader(log.fileno(), readable.set)
        self._log = log
        self._begun.set()
        try:
            while True:
                readable.clear()
                more = True
                while more:
                    records, more = log.records(BATCH)
                    for record in records:
                        for told in self._meant(record):
                            yield told
                    await asyncio.sleep(0)
                self.settled = True
                await readable.wait()
        finally:
            loop.remove_reader(log.fileno())
            self._log, self._lost_before = None, self._lost_before + log.lost
            log.close()

    def remember(self) -> Mapping[str, str]:
        return {} if self._told is None else {"next": str(self._told)}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        if same_boot and memory.get("next", "").isdecimal():
            self._told = int(memory["next"])

    def _wanted(self, device: Device) -> bool:
        words = (device.name, str(device.attributes.get("type", "")), str(device.attributes.get(PCI, "")))
        return any(fnmatchcase(word, pattern) for word in words for pattern in self.patterns or USUAL)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.judge.rules.lines.values())

    def _meant(self, record: Record) -> Iterator[tuple[str, Code]]:
        """What a record says, and of which of our devices. With the last of it the record counts as told, and not before."""
        found: list[tuple[str, Code]] = []
        if self._from_anybody or record.facility == FROM_KERNEL:
            record, age = self._joiner.whole(record), round(max(0.0, time.monotonic() - record.at), 3)
            if self.tap is not None and self._names.mentioned(record.text, record.keys):
                self.judge.heard(str(self), record, age)
            for said in self._reader.said(record):
                found += [(name, replace(said.code, age=age)) for name in self._names.devices(said.about, said.who)]
        yield from found[:-1]
        self._told = record.sequence + 1
        yield from found[-1:]


def _refused(path: Path, error: OSError) -> str:
    hint = ": run as root, or with CAP_SYSLOG" if isinstance(error, PermissionError) else ""
    return f"{path} cannot be read ({(error.strerror or str(error)).lower()}){hint}"


FAMILY = Kmsg


def from_spec(spec: Spec) -> Kmsg:
    spec.only("from")
    if spec.options.get("from", "kernel") not in ("kernel", "anybody"):
        raise spec.wrong("from= takes kernel (only its own lines are believed) or anybody")
    return Kmsg(*spec.what, from_anybody=spec.options.get("from") == "anybody")
