"""Family `nic`: network interfaces: is the link up, how often was it lost, is it as fast as can be, what errors does it count.

`nic[:PATTERN,...]`, of interfaces' names; without one, all that are hardware, of which only those are expected to be up that were up
once: a server has ports that nobody plugged a cable into. What changes is pushed by the kernel (rtnetlink). Family `net` is the simpler
one, which only knows whether a link is up.

Kernel ABI: Documentation/ABI/testing/sysfs-class-net (flags, operstate, carrier, carrier_changes, speed), sysfs-class-net-statistics
(rx_crc_errors, ...); ethtool (ethtool.py).
"""

import asyncio
import errno
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path

from podvitals.detect import rtnetlink
from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import ethtool, pcidev, sysfs
from podvitals.detect.families.listed import Listed
from podvitals.detect.families.sysfs import tried
from podvitals.detect.inventory import device_name
from podvitals.detect.roots import Roots
from podvitals.detect.signal import Count, Level, Signal, State

IFF_UP = 1
COUNTERS = ("carrier_changes",)
STATISTICS = ("rx_crc_errors", "rx_frame_errors", "rx_missed_errors", "tx_carrier_errors")


class Nic(Listed):
    family, about = "nic", "network interfaces: how well their links do"
    needs = "/sys/class/net; for the greatest speed and the driver's own counters, ethtool in the kernel"
    interval, timeout = 10.0, 2.0
    place, presence = "class/net", "net.presence"

    def __init__(self, *patterns: str) -> None:
        super().__init__(*patterns)
        self._were_up: set[str] = set()

    def listed(self) -> Iterator[Device]:
        for name in sysfs.entries(self.roots.sys / self.place):
            if self._wanted(name):
                yield self._device(name)

    async def pushed(self) -> AsyncGenerator[tuple[Device, tuple[Signal, ...]], None]:
        async with aclosing(rtnetlink.changes()) as changes:
            async for links in changes:
                for link in await asyncio.to_thread(rtnetlink.dump) if links is None else links:
                    for device in self._by_handle.get(link.name, ()):
                        yield device, self._told(link) if self._is_here else await asyncio.to_thread(self._looked, device)

    def remember(self) -> Mapping[str, str]:
        return {"up": " ".join(sorted(self._were_up))}

    def recall(self, memory: Mapping[str, str], *, same_boot: bool) -> None:
        self._were_up = set(memory.get("up", "").split())

    def _wanted(self, name: str) -> bool:
        if not self.patterns:
            return (self.roots.sys / "class/net" / name / "device").exists()
        return name in self.patterns or (name != "lo" and self.chosen(name))

    def _device(self, name: str) -> Device:
        found: dict[str, Attribute] = {"ifname": name}
        if address := pcidev.behind(self.roots.sys, self.roots.sys / "class/net" / name):
            described = pcidev.attributes(self.roots.sys, address)
            found |= pcidev.place(described) | {key: described[key] for key in ("vendor", "driver") if key in described}
        return Device(device_name(name), found, handle=name)

    @property
    def _is_here(self) -> bool:
        """Whether what is read is this machine's: of another's tree, or the host's, sysfs alone can tell."""
        return self.roots == Roots()

    def present(self, device: Device, at: Path) -> Iterator[Signal]:
        name = device.handle
        yield State("net.presence", "present")
        yield from tried("net.carrier", lambda: self._state(at, name))
        for counter in COUNTERS:
            yield from tried(f"net.{counter}", lambda c=counter: [Count(f"net.{c}", sysfs.number(at / c))])  # type: ignore[misc]
        for counter in STATISTICS:
            yield from tried(f"net.{counter}", lambda c=counter: [Count(f"net.{c}", sysfs.number(at / "statistics" / c))])  # type: ignore[misc]
        yield from tried("net.speed", lambda: self._speed(at, name))
        if self._is_here:  # an ioctl is answered by this machine's kernel
            yield from tried("net.wire_errors", lambda: [Count("net.wire_errors", n, part) for part, n in ethtool.errors(name).items()])

    def _told(self, link: rtnetlink.Link) -> tuple[Signal, ...]:
        if link.gone:
            return (State("net.presence", "gone"),)
        states = self._states(link.name, up=link.up, operstate=link.operstate, carrier=link.carrier)
        return (*states, State("net.presence", "present"))

    def _looked(self, device: Device) -> tuple[Signal, ...]:
        """Of a tree that is not this machine's a change here is but a nudge."""
        return tuple(signal for signal in self.read(device) if isinstance(signal, State))

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
        if self._is_here:
            with suppress(OSError):
                if best := ethtool.best_speed(name):
                    yield Level("net.max_speed", best)


FAMILY = Nic
