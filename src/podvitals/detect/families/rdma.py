"""Family `rdma`: InfiniBand and RoCE adapters: their ports' state and error counters. `rdma[:PATTERN,...]`, of the kernel's names
(`mlx5_*`), PCI addresses or devices' names; without one, all. That one went is pushed (uevents).

Kernel ABI: Documentation/ABI/stable/sysfs-class-infiniband (ports/N/{state,phys_state,link_layer,rate}, counters/*, hw_counters/*).

Trap kept in mind: reading the counters of a function that may not (a VF, a container) makes some drivers write a line to the kernel log
each time. So a counter that failed is asked for ever more rarely.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from podvitals.detect.detector import Attribute, Device
from podvitals.detect.families import pcidev, sysfs
from podvitals.detect.families.listed import Listed
from podvitals.detect.families.sysfs import tried
from podvitals.detect.family import pci_device
from podvitals.detect.inventory import device_name
from podvitals.detect.signal import Count, Signal, State, Unread

COUNTERS = (
    "link_downed",
    "symbol_error",
    "link_error_recovery",
    "excessive_buffer_overrun_errors",
    "local_link_integrity_errors",
    "port_rcv_errors",
)
HARDWARE_COUNTERS = ("rnr_nak_retry_err", "local_ack_timeout_err", "packet_seq_err", "out_of_sequence")
MOST_PORTS = 64
LONGEST_PAUSE = 64
"""Rounds between two attempts to read counters that cannot be read."""


class Rdma(Listed):
    family, about = "rdma", "InfiniBand and RoCE adapters"
    needs = "/sys/class/infiniband"
    interval, timeout = 5.0, 2.0
    place, presence = "class/infiniband", "rdma.presence"
    subsystems = ("infiniband",)

    def __init__(self, *patterns: str) -> None:
        super().__init__(*patterns)
        self._pauses: dict[Path, tuple[int, int, str]] = {}

    def listed(self) -> Iterator[Device]:
        for at in self.entries():
            name, address = self.name_at(at), pcidev.behind(self.roots.sys, at)
            if self.chosen(at.name, address, name):
                yield Device(name, self._attributes(at, address), handle=at.name)

    def name_at(self, at: Path) -> str:
        """By its slot; a part of an adapter (a subfunction, mlx5_core.sf.2) by the kernel's name for it besides."""
        if not (address := pcidev.behind(self.roots.sys, at)):
            return device_name(at.name)
        return pci_device(address) if pcidev.owner(at).name == address else device_name(f"{pci_device(address)}-{at.name}")

    def present(self, device: Device, at: Path) -> Iterator[Signal]:
        return self._read(at)

    def glimpse(self, device: Device, at: Path) -> Iterator[Signal]:
        """Whether it is there, and its ports' states: nothing that counts rounds, or may flood the log."""
        return self._read(at, counters=False)

    def _attributes(self, at: Path, address: str) -> dict[str, Attribute]:
        described = pcidev.attributes(self.roots.sys, address) if address else {}
        found: dict[str, Attribute] = {"type": "ib", **described, "ibdev": pcidev.fits(at.name)}
        texts = (
            ("guid", "node_guid"),
            ("firmware", "fw_ver"),
            ("board", "board_id"),
            ("link", "ports/1/link_layer"),
            ("rate", "ports/1/rate"),
        )
        for attribute, file in texts:
            if value := pcidev.fits(sysfs.optional(at / file, 128)):
                found[attribute] = value
        return found

    def _read(self, at: Path, *, counters: bool = True) -> Iterator[Signal]:
        yield State("rdma.presence", "present")
        try:
            ports = sysfs.entries(at / "ports")[:MOST_PORTS]
        except OSError as error:
            yield Unread("rdma.state", sysfs.why(error))
            return
        for port in ports:
            yield from _states(at / "ports" / port, port)
            for folder, names in (("counters", COUNTERS), ("hw_counters", HARDWARE_COUNTERS)) if counters else ():
                yield from self._counters(at / "ports" / port / folder, port, names)

    def _counters(self, folder: Path, port: str, names: Iterable[str]) -> Iterator[Signal]:
        pause, left, why = self._pauses.get(folder, (0, 0, ""))
        if left > 0:
            self._pauses[folder] = (pause, left - 1, why)
            yield Unread(f"rdma.{folder.name}", why, port)
            return
        for name in names:
            try:
                yield Count(f"rdma.{name}", sysfs.number(folder / name), port)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                pause = min(max(1, pause * 2), LONGEST_PAUSE)
                self._pauses[folder] = (pause, pause, sysfs.why(error))
                yield Unread(f"rdma.{folder.name}", sysfs.why(error), port)
                return
        self._pauses.pop(folder, None)


def _states(at: Path, port: str) -> Iterator[Signal]:
    """`4: ACTIVE` and `5: LinkUp`, as their words."""
    for name, file in (("rdma.state", "state"), ("rdma.phys_state", "phys_state")):
        yield from tried(name, lambda n=name, f=file: [State(n, sysfs.word(at / f).rpartition(": ")[2], port)])  # type: ignore[misc]


FAMILY = Rdma
