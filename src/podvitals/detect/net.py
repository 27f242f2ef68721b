"""Family `net`: network interfaces, by rtnetlink. `net:PATTERN[,PATTERN...]`, such as `net:eth*,bond0`.

A name without wildcards is expected to be there; one that matched a pattern is expected from then on. Changes are pushed by the kernel.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from fnmatch import fnmatchcase

from podvitals.detect import rtnetlink
from podvitals.detect.detector import Attribute, Detector, Device, Reading
from podvitals.detect.inventory import device_name
from podvitals.detect.rtnetlink import Link
from podvitals.detect.spec import Spec

_WILD = "*?["
_WORDS = {"notpresent": "hardware not present", "dormant": "waiting, dormant", "testing": "in a test"}


def judged(link: Link) -> Reading:
    """What the state of an interface means. Pure."""
    where = f"(ifindex {link.index})"
    if not link.up:
        return Reading.unhealthy(f"interface {link.name} is down: set down by an administrator {where}")
    if link.operstate in _WORDS:
        return Reading.unhealthy(f"interface {link.name} is down: {_WORDS[link.operstate]} {where}")
    if link.operstate in ("down", "lowerlayerdown") or link.carrier is False:
        return Reading.unhealthy(f"interface {link.name} is down: no carrier {where}")
    # "unknown" is what drivers say that do not track it (tun, loopback): with a carrier, it works.
    return Reading.healthy()


class Net(Detector):
    interval, timeout = 5.0, 2.0

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        # What is expected, with its last known attributes: kept when the interface is gone.
        self._expected: dict[str, dict[str, Attribute]] = {name: {"ifname": name} for name in patterns if not any(c in name for c in _WILD)}
        self._indexes: dict[str, int] = {}

    def __str__(self) -> str:
        return f"net:{','.join(self.patterns)}"

    def devices(self) -> Iterable[Device]:
        for link in rtnetlink.dump():
            if self._ours(link):
                self._remember(link)
        for name, attributes in sorted(self._expected.items()):
            yield Device(device_name(name), dict(attributes), handle=name)

    def check(self, device: Device) -> Reading:
        link = rtnetlink.ask(name=device.handle)
        if link is None:
            return self._absent(device.handle)
        self._remember(link)
        return judged(link)

    async def watch(self) -> AsyncIterator[tuple[str, Reading]]:
        async with aclosing(rtnetlink.changes()) as changes:
            async for links in changes:
                everything = links is None
                present: set[str] = set()
                for link in await asyncio.to_thread(rtnetlink.dump) if links is None else links:
                    for name, reading in self._told(link):
                        yield device_name(name), reading
                    present.add(link.name)
                if everything:
                    for name in sorted(self._expected.keys() - present):
                        yield device_name(name), await asyncio.to_thread(self._absent, name)

    def _told(self, link: Link) -> Iterable[tuple[str, Reading]]:
        """What one change says: of the interface of that name, and of the one that had this index under another name."""
        # A copy in one step: check() adds to it in the worker thread while the loop goes through it.
        for name in [name for name, index in list(self._indexes.items()) if index == link.index and name != link.name]:
            if name in self._expected:
                yield name, _removed(name) if link.gone else _renamed(name, link)
            if link.gone:
                del self._indexes[name]
        if not self._ours(link):
            return
        if link.gone:
            self._indexes.pop(link.name, None)
            yield link.name, _removed(link.name)
        else:
            self._remember(link)
            yield link.name, judged(link)

    def _ours(self, link: Link) -> bool:
        if link.name in self._expected:
            return True
        return not link.loopback and any(fnmatchcase(link.name, pattern) for pattern in self.patterns)

    def _remember(self, link: Link) -> None:
        if link.gone:
            return
        self._indexes[link.name] = link.index
        attributes: dict[str, Attribute] = {"ifname": link.name, "mtu": link.mtu}
        attributes |= {name: value for name, value in (("mac", link.address), ("kind", link.kind)) if value}
        self._expected[link.name] = attributes

    def _absent(self, name: str) -> Reading:
        if (index := self._indexes.get(name)) is not None:
            link = rtnetlink.ask(index=index)
            if link is not None and link.name != name:
                return _renamed(name, link)
        return _removed(name)


def _renamed(name: str, link: Link) -> Reading:
    return Reading.unhealthy(f"interface {name} was renamed to {link.name} (ifindex {link.index})")


def _removed(name: str) -> Reading:
    return Reading.unhealthy(f"interface {name} does not exist")


def from_spec(spec: Spec) -> Detector:
    spec.only()
    if not spec.what:
        raise spec.wrong("net takes names or patterns of interfaces, such as net:eth*")
    for name in spec.what:
        if len(name) > 15 and not any(c in name for c in _WILD):
            raise spec.wrong(f"{name!r} is too long for an interface: 15 characters at most")
    return Net(*spec.what)
