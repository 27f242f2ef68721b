"""One pod as a case looks at it: how it shows a device, since when, and for how long."""

import asyncio
import time
from collections.abc import Callable

from podvitals.testing.conformance.case import Failed, Finding, passed
from podvitals.testing.conformance.node.gallery import Gallery
from podvitals.testing.conformance.node.puppet import Puppet
from podvitals.testing.conformance.node.reading import Object, Shown, shown
from podvitals.testing.conformance.node.settings import NodeSettings
from podvitals.testing.conformance.rawreport import UNHEALTHY

EVENTUALLY = 3.0
"""Seconds within which a change is shown where how soon is not what is tried: a kubelet's pod worker takes one a second."""
_EARLY = 0.15
"""Seconds a lease may seem to end too early: it begins when the report arrives, and is told when it was sent."""

_BEGIN = "let first-report pass: nothing else can be seen before a pod shows its devices at all"

Test = Callable[[Shown | None], bool]


class Sight:
    def __init__(self, gallery: Gallery, settings: NodeSettings, name: str) -> None:
        self.name = name
        self._gallery, self._settings = gallery, settings

    @property
    def newest(self) -> Object:
        return self._gallery.newest(self.name)

    def shown(self, puppet: Puppet, device: str) -> Shown | None:
        return shown(self.newest, self._settings.reads, puppet.ids(device))

    async def until(self, found: Callable[[Object], object], within: float) -> bool:
        """Whether something became so within so many seconds, or was."""
        return await self._gallery.first(self.name, time.monotonic(), found, time.monotonic() + within) is not None

    async def due(
        self,
        puppet: Puppet,
        device: str,
        wanted: str | Test,
        *,
        since: float,
        after: float = 0.0,
        late: float | None = None,
        what: str = "",
    ) -> Finding:
        """Shown so at the earliest `after` seconds from `since`, and at most `late` later (default: the settings' `soon`, which
        where it is more than 1 s stretches `late` too). Waits longer than that, to tell how late.
        `what`: a name for what is wanted, where it is more than a health."""
        test: Test = (lambda found: found is not None and found.health == wanted) if isinstance(wanted, str) else wanted
        reads, ids = self._settings.reads, puppet.ids(device)
        soon = self._settings.soon
        late = soon if late is None else late * max(1.0, soon)
        until = since + after + late + self._settings.patience
        what = what or (wanted if isinstance(wanted, str) else "what was wanted")
        first = await self._gallery.first(self.name, since, lambda pod: test(shown(pod, reads, ids)) or None, until)
        if first is None:
            raise Failed(f"{device} is not shown {what} {until - since:.0f} s later, but {self.shown(puppet, device) or 'not at all'}")
        took = first[0] - since
        ms = (took - after) * 1000
        if took < after - _EARLY:
            raise Failed(f"{device} was shown {what} {after - took:.1f} s too early", ms=ms)
        if took > after + late:
            raise Failed(f"{device} was shown {what} {took - after:.1f} s late", ms=ms)
        return passed(f"{device} {what}" + (f", {after:g} s" if after else "") + f" + {max(0.0, ms):.0f} ms", max(0.0, ms))

    async def breaks(self, puppet: Puppet, device: str = "d0", *, late: float = EVENTUALLY) -> Finding:
        """Its driver says that the device is broken, and the pod shows it."""
        return await self.due(puppet, device, "Unhealthy", since=puppet.say(device, UNHEALTHY, b"broken"), late=late)

    async def ready(self, puppet: Puppet, device: str, wanted: str | Test) -> None:
        """Waits for a state that a case begins with. Failed where it never comes: then nothing can be tried."""
        try:
            await self.due(puppet, device, wanted, since=time.monotonic(), late=self._settings.begins)
        except Failed as failed:
            do = _BEGIN if self.shown(puppet, device) is None else ""
            raise Failed(f"it could not be tried: {failed.seen}", do) from None

    async def stays(self, puppet: Puppet, device: str, wanted: str, *, since: float, seconds: float) -> None:
        """Shown so all the time, from `since` until `seconds` from now."""
        await asyncio.sleep(seconds)
        for at, pod in self._gallery.states(self.name, since):
            found = shown(pod, self._settings.reads, puppet.ids(device))
            if found is None or found.health != wanted:
                raise Failed(f"{device} was shown {found or 'not at all'}, {at - since:.1f} s after it was {wanted}")

    def states(self, since: float) -> list[tuple[float, Object]]:
        return self._gallery.states(self.name, since)
