"""A family whose devices are looked at not only each interval, but also when the kernel says that something became of one (uevents.py).

What the kernel says is a nudge: the family looks itself, and believes what it sees. So a uevent that somebody made up costs a look, and one
that was lost is made up for by the next check.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, aclosing, suppress
from functools import partial
from types import MappingProxyType
from typing import ClassVar, Self

from podvitals.detect import uevents
from podvitals.detect.detector import Device, Reading, Unreadable
from podvitals.detect.family import Family
from podvitals.detect.signal import Signal, Unread
from podvitals.detect.uevents import Uevent
from podvitals.detect.worker import Worker

REST = 0.2
"""Seconds between two looks at one device: one that changes a thousand times a second is looked at five times."""


class Nudges:
    """Which devices are to be looked at, by their handles: at once, but none more often than each `rest` seconds. Pure."""

    def __init__(self, rest: float = REST) -> None:
        self._rest = rest
        self._due: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def add(self, handle: str, now: float) -> None:
        self._due.setdefault(handle, max(now, self._last.get(handle, -math.inf) + self._rest))

    def take(self, now: float) -> list[str]:
        """Those whose time has come, which are looked at now."""
        ripe = [handle for handle, at in self._due.items() if at <= now]
        for handle in ripe:
            del self._due[handle]
            self._last[handle] = now
        return ripe

    def next(self) -> float | None:
        return min(self._due.values(), default=None)


class Nudged(Family):
    """`subsystems`: whose uevents are listened to. Of these `meant` names a device, and `glance` looks at it."""

    subsystems: ClassVar[tuple[str, ...]]
    _by_handle: Mapping[str, tuple[Device, ...]] = MappingProxyType({})

    def meant(self, event: Uevent) -> str:
        """The handle of the device that a uevent is about, or ''."""
        return event.name

    def glance(self, device: Device) -> Iterable[Signal]:
        """What may have changed. In a worker thread, perhaps beside read()."""
        return self.read(device)

    def said(self, event: Uevent) -> Iterable[Signal]:
        """What a uevent says that cannot be looked up."""
        return ()

    # --- for the frame ---------------------------------------------------------------------------------------------------------------

    def devices(self) -> Iterable[Device]:
        found = tuple(super().devices())
        by_handle: dict[str, tuple[Device, ...]] = {}
        for device in found:  # one that is gone, and one that has its place now, bear one handle
            by_handle[device.handle] = (*by_handle.get(device.handle, ()), device)
        self._by_handle = by_handle
        return found

    async def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        async with aclosing(self.pushed()) as pushed:
            async for device, signals in pushed:
                # All of one look together: none of them must look like a recovery that it is not.
                yield device.name, self.judge.take(str(self), device.name, signals)
                self.judge.save_if_due()

    @property
    def watches(self) -> bool:
        return True

    async def pushed(self) -> AsyncGenerator[tuple[Device, tuple[Signal, ...]], None]:
        """Devices as the kernel tells of them, with all that one look found."""
        nudges = Nudges()
        with ExitStack() as closing:
            kernel = self._listen(closing)
            looks = closing.enter_context(_Looks(f"{self} watch", self.timeout))
            while True:
                events, lost = await self._some(kernel, nudges.next())
                now = self.clock.now()
                for event in events:
                    for device in self._by_handle.get(self.meant(event), ()):
                        nudges.add(device.handle, now)
                        if signals := tuple(self.said(event)):
                            yield device, signals
                for handle in self._by_handle if lost else ():
                    nudges.add(handle, now)
                for device in [device for handle in nudges.take(now) for device in self._by_handle.get(handle, ())]:
                    if signals := await looks.at(device, self.glance):
                        yield device, signals

    def _listen(self, closing: ExitStack) -> uevents.Uevents:
        try:
            return closing.enter_context(uevents.listening(*self.subsystems))
        except OSError as error:
            why = f"the kernel's uevents cannot be heard ({error.strerror or error})"
            raise Unreadable(f"{why}: what changes is seen at the next check, within {self.interval:g} s") from None

    async def _some(self, kernel: uevents.Uevents, until: float | None) -> tuple[tuple[Uevent, ...], bool]:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if until is None else max(0.0, until - self.clock.now())):
                return await kernel.some()
        return (), False


class _Looks:
    """Looks at devices in a worker thread. One whose look hangs is left alone until it ends, the others are looked at in a new thread."""

    def __init__(self, name: str, timeout: float) -> None:
        self._name, self._timeout = name, timeout
        self._worker = Worker(name)
        self._hung: set[str] = set()

    async def at(self, device: Device, glance: Callable[[Device], Iterable[Signal]]) -> tuple[Signal, ...]:
        if device.name in self._hung:
            return ()
        look = self._worker.call(lambda: tuple(glance(device)))
        try:
            await asyncio.wait({look}, timeout=self._timeout)
        except asyncio.CancelledError:
            look.cancel()
            raise
        if look.done():
            # What cannot be read is the next check's to tell: it reads all, and so knows when a doubt is over.
            return () if look.exception() is not None else tuple(one for one in look.result() if not isinstance(one, Unread))
        self._hung.add(device.name)
        look.add_done_callback(partial(self._returned, device.name))
        self._worker.end()
        self._worker = Worker(self._name)
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.end()

    def _returned(self, name: str, look: "asyncio.Future[tuple[Signal, ...]]") -> None:
        self._hung.discard(name)
        if not look.cancelled():
            look.exception()
