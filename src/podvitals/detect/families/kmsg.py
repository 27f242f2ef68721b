"""Family `kmsg`: what the kernel log says of devices. `kmsg[:PATTERN,...][,lines=FILE][,from=anybody]`.

PATTERN chooses devices by their names (`gpu-*`, `nvme-*`, `neuron0`, `eth0`), as the other families name them, so that it can run beside
them. `lines=FILE` adds lines of one's own to the built-in table (lines.toml). Only what the kernel itself wrote is believed: any process
that may open /dev/kmsg can write lines too, but not in the kernel's name; `from=anybody` believes those as well (for trying things out).

Kernel ABI: Documentation/ABI/testing/dev-kmsg. Records have sequence numbers, so reading goes on where it ended, also after a restart of
the driver; and records that were overwritten before they were read are counted (EPIPE, or a gap), never passed over in silence.
"""

import asyncio
import errno
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path

from podvitals.detect.detector import Device
from podvitals.detect.families import subjects, sysfs
from podvitals.detect.families.kernellog import FROM_KERNEL, Joiner, Lines, Record, Said, parse
from podvitals.detect.family import Family
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Code, Count, Signal
from podvitals.detect.spec import Spec
from podvitals.errors import InvalidInput

LONGEST_RECORD = 8192
"""Bytes; the kernel's own limit is PRINTK_MESSAGE_MAX, 2048."""
BATCH = 64
"""Records read before somebody else is let in."""
MOST_WAITING = 256
"""Codes kept for one device until they are asked for."""


@cache
def builtin_lines() -> Lines:
    """The table in lines.toml. Blocks the first time."""
    return Lines.parse((files("podvitals.detect.families") / "lines.toml").read_text(), "lines.toml")


class Place:
    """An open kernel log. `next`: the sequence number that is read next. `lost`: records that were overwritten before they were read."""

    def __init__(self, path: Path, next_one: int | None) -> None:
        self.lost = 0
        self.next = next_one
        self._descriptor = -1
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def records(self, most: int) -> tuple[list[Record], bool]:
        """The next records, `most` of them at most, and whether there may be more. Raises OSError."""
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
    interval, timeout = 5.0, 2.0

    def __init__(self, *patterns: str, lines: Lines | None = None, from_anybody: bool = False) -> None:
        self.patterns = patterns
        self._joiner = Joiner(lines or builtin_lines())
        self._from_anybody = from_anybody
        self._place: Place | None = None
        self._resume: int | None = None
        self._devices: dict[str, Device] = {}
        self._names: dict[subjects.Subject, set[str]] = {}
        self._waiting: dict[str, deque[tuple[int, Code]]] = {}
        self._turn = threading.Lock()

    def __str__(self) -> str:
        return f"kmsg:{','.join(self.patterns)}" if self.patterns else "kmsg"

    @classmethod
    def available(cls, roots: Roots) -> str:
        path = roots.dev / "kmsg"
        if not path.exists():
            return f"{path} is not there"
        return "" if os.access(path, os.R_OK) else f"{path} cannot be read: run as root"

    def find(self) -> Iterable[Device]:
        for device, names in subjects.everything(self.roots):
            if self._wanted(device.name):
                self._devices[device.name] = device
                for subject in names:
                    self._names.setdefault(subject, set()).add(device.name)
        # The log says nothing about presence: a device that is gone stays, so that its last words are heard.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        self._drain()
        with self._turn:
            codes = [code for _, code in self._waiting.pop(device.name, ())]
            lost = self._place.lost if self._place is not None else 0
        return [*codes, Count("kmsg.lost", lost)]

    async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        readable, loop = asyncio.Event(), asyncio.get_running_loop()
        place = await asyncio.to_thread(self._opened)
        loop.add_reader(place.fileno(), readable.set)
        try:
            while True:
                readable.clear()
                more = True
                while more:
                    more = self._drain_once()
                    for name, code in self._taken():
                        yield name, code
                    await asyncio.sleep(0)
                await readable.wait()
        finally:
            loop.remove_reader(place.fileno())

    def remember(self) -> Mapping[str, str]:
        with self._turn:
            if self._place is None or self._place.next is None:
                return {}
            # What waits was read but not told: after a restart it has to be read again.
            return {"next": str(min([self._place.next, *(number for codes in self._waiting.values() for number, _ in codes)]))}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        if same_boot and memory.get("next", "").isdecimal():
            self._resume = int(memory["next"])

    def _wanted(self, name: str) -> bool:
        if not self.patterns:
            return name.partition("-")[0] in ("gpu", "accel", "nvme", "nic", "ib") or name.startswith("neuron")
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def _opened(self) -> Place:
        with self._turn:
            if self._place is None:
                self._place = Place(self.roots.dev / "kmsg", self._resume)
            return self._place

    def _drain(self) -> None:
        while self._drain_once():
            pass

    def _drain_once(self) -> bool:
        """Whether there may be more. Raises OSError."""
        place = self._opened()
        with self._turn:
            records, more = place.records(BATCH)
            uptime = time.monotonic()
            for record in records:
                if self._from_anybody or record.facility == FROM_KERNEL:
                    for said in self._joiner.said(record):
                        self._keep(said, max(0.0, uptime - said.at))
        return more

    def _keep(self, said: Said, age: float) -> None:
        for name in self._names.get((said.about, subjects.normal(said.about, said.who)), ()):
            waiting = self._waiting.setdefault(name, deque(maxlen=MOST_WAITING))
            waiting.append((said.sequence, replace(said.code, age=round(age, 3))))

    def _taken(self) -> list[tuple[str, Code]]:
        with self._turn:
            taken = [(name, code) for name, codes in self._waiting.items() for _, code in codes]
            self._waiting.clear()
        return taken


def from_spec(spec: Spec) -> Kmsg:
    spec.only("lines", "from")
    if spec.options.get("from", "kernel") not in ("kernel", "anybody"):
        raise spec.wrong("from= takes kernel (only its own lines are believed) or anybody")
    lines = builtin_lines()
    if path := spec.options.get("lines"):
        try:
            lines = lines.and_also(Lines.parse(sysfs.raw(Path(path), 1 << 20).decode(errors="replace"), path))
        except OSError as error:
            raise spec.wrong(f"cannot read {path}: {error.strerror}") from None
        except InvalidInput as error:
            raise spec.wrong(str(error)) from None
    return Kmsg(*spec.what, lines=lines, from_anybody=spec.options.get("from") == "anybody")
