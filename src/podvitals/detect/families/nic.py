"""Family `nic`: network interfaces: is the link up, how often was it lost, is it as fast as can be, what errors does it count.

`nic[:PATTERN,...]`, of interfaces' names; without one, all that are hardware, of which only those are expected to be up that were up
once: a server has ports that nobody plugged a cable into. What changes is pushed by the kernel (rtnetlink). Family `net` is the simpler
one, which only knows whether a link is up.

Kernel ABI: Documentation/ABI/testing/sysfs-class-net (flags, operstate, carrier, carrier_changes, speed), sysfs-class-net-statistics
(rx_crc_errors, ...); ethtool (ethtool.py).
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

from podvitals.detect import rtnetlink
from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import ethtool, pcidev, sysfs
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import Family
from podvitals.detect.inventory import device_name
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Count, Level, Signal, State, Unread
from podvitals.detect.spec import Spec

IFF_UP = 1
GOOD = ("up", "1", "unknown", "present")
COUNTERS = ("carrier_changes",)
STATISTICS = ("rx_crc_errors", "rx_frame_errors", "rx_missed_errors", "tx_carrier_errors")


class Nic(Family):
    family, about = "nic", "network interfaces: how well their links do"
    needs = "/sys/class/net; for the greatest speed and the driver's own counters, ethtool in the kernel"
    interval, timeout = 10.0, 2.0

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self._devices: dict[str, Device] = {}
        self._were_up: set[str] = set()

    def __str__(self) -> str:
        return f"nic:{','.join(self.patterns)}" if self.patterns else "nic"

    @classmethod
    def available(cls, roots: Roots) -> str:
        return "" if (roots.sys / "class/net").is_dir() else f"{roots.sys}/class/net is not there"

    @classmethod
    def everything(cls) -> Self:
        return cls()

    def find(self) -> Iterable[Device]:
        for name in sysfs.entries(self.roots.sys / "class/net"):
            if self._wanted(name):
                self._devices[device_name(name)] = self._device(name)
        # One that is gone stays listed: reading it says so.
        return [device for _, device in sorted(self._devices.items())]

    def read(self, device: Device) -> Iterable[Signal]:
        name = device.handle
        at = self.roots.sys / "class/net" / name
        if not at.exists():
            return self._absent(name)
        return self._present(at, name)

    async def listen(self) -> AsyncIterator[tuple[str, Signal]]:
        async with aclosing(rtnetlink.changes()) as changes:
            async for links in changes:
                for link in await asyncio.to_thread(rtnetlink.dump) if links is None else links:
                    device = self._devices.get(device_name(link.name))
                    if device is not None and device.handle == link.name:
                        for signal in self._told(link) if self.roots == Roots() else await asyncio.to_thread(self._looked, device):
                            yield device.name, signal

    def remember(self) -> Mapping[str, str]:
        return {"up": " ".join(sorted(self._were_up))}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        self._were_up = set(memory.get("up", "").split())

    def _wanted(self, name: str) -> bool:
        if not self.patterns:
            return (self.roots.sys / "class/net" / name / "device").exists()
        return name in self.patterns or (name != "lo" and any(fnmatchcase(name, pattern) for pattern in self.patterns))

    def _device(self, name: str) -> Device:
        found: dict[str, Attribute] = {"ifname": name}
        if address := pcidev.behind(self.roots.sys, self.roots.sys / "class/net" / name):
            described = pcidev.attributes(self.roots.sys, address)
            found |= {key: value for key, value in described.items() if "/" in key or key in ("vendor", "driver")}
        return Device(device_name(name), found, handle=name)

    def _absent(self, name: str) -> Iterator[Signal]:
        try:
            gone = name not in sysfs.entries(self.roots.sys / "class/net")
        except OSError as error:
            yield Unread("net.presence", sysfs.why(error))
            return
        yield State("net.presence", "gone" if gone else "present")

    def _present(self, at: Path, name: str) -> Iterator[Signal]:
        yield State("net.presence", "present")
        yield from tried("net.carrier", lambda: self._state(at, name))
        for counter in COUNTERS:
            yield from tried(f"net.{counter}", lambda c=counter: [Count(f"net.{c}", sysfs.number(at / c))])  # type: ignore[misc]
        for counter in STATISTICS:
            yield from tried(f"net.{counter}", lambda c=counter: [Count(f"net.{c}", sysfs.number(at / "statistics" / c))])  # type: ignore[misc]
        yield from tried("net.speed", lambda: self._speed(at, name))
        if self.roots == Roots():  # an ioctl is answered by this machine's kernel, whatever tree is being read
            yield from tried("net.wire_errors", lambda: [Count("net.wire_errors", n, part) for part, n in ethtool.errors(name).items()])

    def _told(self, link: rtnetlink.Link) -> Iterable[Signal]:
        if link.gone:
            return [State("net.presence", "gone")]
        states = self._states(link.name, up=link.up, operstate=link.operstate, carrier=link.carrier)
        return [*_worst_first(states), State("net.presence", "present")]

    def _looked(self, device: Device) -> Iterable[Signal]:
        """Where sysfs is mounted elsewhere (the host's, or another machine's tree) it tells what a change here is: this is but a nudge."""
        return _worst_first(signal for signal in self.read(device) if isinstance(signal, State))

    def _state(self, at: Path, name: str) -> Iterator[Signal]:
        up = bool(sysfs.number(at / "flags") & IFF_UP)
        carrier = None
        if up:
            carrier = sysfs.number(at / "carrier") == 1  # while it is set down the kernel refuses to say
        return iter(self._states(name, up=up, operstate=sysfs.word(at / "operstate"), carrier=carrier))

    def _states(self, name: str, *, up: bool, operstate: str, carrier: bool | None) -> list[State]:
        """Of what is wrong only the nearest cause: a link that was set down has neither carrier nor operational state to speak of."""
        down = operstate in ("down", "lowerlayerdown") or carrier is False
        if up and not down:
            self._were_up.add(name)
        elif not self.patterns and name not in self._were_up:
            return []
        return [
            State("net.admin", "up" if up else "down"),
            State("net.carrier", "1" if not up or not down else "0"),
            State("net.operstate", operstate if up and not down else "unknown"),
        ]

    def _speed(self, at: Path, name: str) -> Iterator[Signal]:
        try:
            speed = sysfs.number(at / "speed")
        except OSError as error:
            if error.errno == errno.EINVAL:  # the link is down, or the driver has no speed
                return
            raise
        if speed <= 0:
            return
        yield Level("net.speed", speed)
        if self.roots == Roots():
            with suppress(OSError):
                if best := ethtool.best_speed(name):
                    yield Level("net.max_speed", best)


def _worst_first(states: Iterable[State]) -> list[State]:
    """One change is several signals, and none of them must look like a recovery that it is not."""
    return sorted(states, key=lambda state: state.value in GOOD)


FAMILY = Nic


def from_spec(spec: Spec) -> Nic:
    spec.only()
    return Nic(*spec.what)
