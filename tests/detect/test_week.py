"""A week of a node with 8 GPUs, 8 NICs and 8 disks, as a recording that is replayed: 100,000 correctable events that mean nothing, and 20
faults that do."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from podvitals.detect.detector import Device
from podvitals.detect.family import PCI
from podvitals.detect.recording import Found, Heard, Named, Record, Taken, Writing, read_recording
from podvitals.detect.replay import Change, Replay
from podvitals.detect.rules.load import builtin
from podvitals.detect.signal import LIFE, Code, Count, Level, Signal, State
from podvitals.device.health import Health

POLL, WEEK, HOUR = 300.0, 7 * 86400.0, 3600.0
GPUS, NICS, DISKS = ([f"{kind}-{n}" for n in range(8)] for kind in ("gpu", "nic", "disk"))
ALL = (*GPUS, *NICS, *DISKS)
BUS = {name: f"0000:{bus:02x}:00.0" for bus, name in enumerate(ALL, 0x10)}
CORRECTABLE = 100_000


class Node:
    """The hardware as it stands: what a poll would read."""

    def __init__(self) -> None:
        pcie = dict.fromkeys((("pcie.aer_correctable", ""), ("pcie.aer_nonfatal", ""), ("pcie.aer_fatal", "")), 0)
        self.counts: dict[str, dict[tuple[str, str], int]] = {device: dict(pcie) for device in ALL}
        self.states: dict[str, dict[tuple[str, str], str]] = {device: {("pcie.presence", ""): "present"} for device in ALL}
        self.lanes = dict.fromkeys(ALL, 16.0)
        for gpu in GPUS:
            self.counts[gpu] |= {("amd.ras_ue", "umc"): 0, ("amd.ras_ce", "umc"): 0}
        for nic in NICS:
            self.counts[nic] |= {("rdma.symbol_error", "1"): 0, ("rdma.link_downed", "1"): 0}
            self.states[nic] |= {("rdma.state", "1"): "ACTIVE", ("net.carrier", ""): "1"}
        for disk in DISKS:
            self.states[disk] |= {("nvme.state", ""): "live", ("block.read_only", ""): "0"}

    def poll(self, device: str) -> Iterator[Signal]:
        yield from (Count(name, value, part) for (name, part), value in self.counts[device].items())
        yield from (State(name, value, part) for (name, part), value in self.states[device].items())
        yield from (Level("pcie.link_width", self.lanes[device]), Level("pcie.max_link_width", 16))


@dataclass(frozen=True)
class Fault:
    """`begin` breaks the hardware, or gives the line that its kernel writes; `end` mends it, and tells whether it was serviced. `within`:
    seconds in which its rule promises to notice; `lasts`: until it is mended, or until its rule forgets it."""

    device: str
    says: str
    within: float
    becomes: Health
    begin: Callable[[Node], str | None]
    end: Callable[[Node], bool]
    lasts: float = 2 * HOUR


def line(device: str, says: str, text: str, becomes: Health = Health.UNHEALTHY, lasts: float = 2 * HOUR) -> Fault:
    words = text.format(pci=BUS[device], bus=BUS[device].removesuffix(".0"))
    return Fault(device, says, 0.0, becomes, lambda _: words, lambda _: True, lasts)


def state(device: str, says: str, name: str, bad: str, good: str, part: str = "") -> Fault:
    def begin(node: Node) -> None:
        node.states[device][name, part] = bad

    def end(node: Node) -> bool:
        node.states[device][name, part] = good
        return False

    return Fault(device, says, POLL, Health.UNHEALTHY, begin, end)


def count(
    device: str, says: str, name: str, part: str = "", by: int = 1, becomes: Health = Health.UNHEALTHY, lasts: float = 2 * HOUR
) -> Fault:
    def begin(node: Node) -> None:
        node.counts[device][name, part] += by

    def end(node: Node) -> bool:
        node.counts[device][name, part] = 0  # a new one begins to count anew
        return True

    return Fault(device, says, POLL, becomes, begin, end, lasts)


def narrow(device: str, says: str) -> Fault:
    def begin(node: Node) -> None:
        node.lanes[device] = 8

    def end(node: Node) -> bool:
        node.lanes[device] = 16
        return False

    return Fault(device, says, 2 * POLL, Health.HEALTHY, begin, end)


XID = "NVRM: Xid (PCI:{bus}): "
FAULTS = (
    line("gpu-0", "Xid 79: GPU has fallen off the bus", XID + "79, GPU has fallen off the bus."),
    line("gpu-1", "Xid 48: Double-bit memory error", XID + "48, pid=1, name=a, DBE"),
    line("gpu-2", "Xid 119: GPU system processor does not answer", XID + "119, Timeout after 6s of waiting for RPC response"),
    line("gpu-3", "Xid 63: Row remapping", XID + "63, Row Remapper: New row marked for remapping", Health.HEALTHY),
    line("gpu-4", "Xid 4711: unknown to podvitals", XID + "4711, nobody knows", Health.HEALTHY, lasts=24 * HOUR),
    line("gpu-5", "the driver could not reset the GPU", "amdgpu {pci}: amdgpu: GPU reset end with ret = -110"),
    count("gpu-6", "uncorrectable errors in block umc", "amd.ras_ue", "umc"),
    count("gpu-7", "fatal PCIe errors (AER)", "pcie.aer_fatal"),
    narrow("gpu-0", "PCIe link is x8, it could be x16"),
    state("nic-0", "interface is down: no carrier", "net.carrier", "0", "1"),
    state("nic-1", "port 1 is DOWN, not ACTIVE", "rdma.state", "DOWN", "ACTIVE", "1"),
    count("nic-2", "port 1 lost its link", "rdma.link_downed", "1", lasts=0.25 * HOUR),
    count("nic-3", "port 1 has more than 120 symbol errors an hour", "rdma.symbol_error", "1", by=200, lasts=2 * HOUR),
    line(
        "nic-4", "the adapter's firmware reports a fatal error", "mlx5_core {pci}: poll_health:816:(pid 0): device's health compromised - x"
    ),
    count("nic-5", "3 or more uncorrectable PCIe errors an hour (AER)", "pcie.aer_nonfatal", by=3),
    state("disk-0", "controller is dead, not live", "nvme.state", "dead", "live"),
    state("disk-1", "disk became read-only", "block.read_only", "1", "0"),
    line("disk-2", "controller does not come back from a reset", "nvme nvme2: Disabling device after reset failure: -19"),
    count("disk-3", "uncorrectable PCIe errors, not fatal (AER)", "pcie.aer_nonfatal", becomes=Health.HEALTHY, lasts=2 * HOUR),
    state("disk-4", "device left the bus", "pcie.presence", "gone", "present"),
)


def begins(luck: random.Random) -> list[float]:
    """When each fault begins."""
    return [HOUR + number * (WEEK - 30 * HOUR) / len(FAULTS) + luck.uniform(0, HOUR) for number in range(len(FAULTS))]


def noise(luck: random.Random, node: Node, device: str, now: float) -> Iterator[Record]:
    """A correctable event: one more in a counter, or a line of the kernel log."""
    kinds = [("pcie.aer_correctable", "")] + ([("amd.ras_ce", "umc")] if device in GPUS else [])
    if luck.random() < 0.5:
        node.counts[device][luck.choice(kinds)] += 1
    else:
        yield Heard(now, "kmsg", f"pcieport {BUS[device]}: AER: Correctable error message received from {BUS[device]}")


def week(luck: random.Random, began: list[float]) -> Iterator[Record]:
    node, now = Node(), 0.0
    names = tuple((d, (("pci", BUS[d]), *([("nvme", f"nvme{d[-1]}")] if d in DISKS else ()))) for d in ALL)
    yield from (Found(0.0, "all", tuple(Device(name, {PCI: BUS[name]}) for name in ALL)), Named(0.0, "kmsg", names))
    happens = [(at, n, True) for n, at in enumerate(began)] + [(at + FAULTS[n].lasts, n, False) for n, at in enumerate(began)]
    events = sorted([*happens, *((luck.uniform(0, WEEK - POLL), -1, True) for _ in range(CORRECTABLE))], reverse=True)
    while now < WEEK:
        now += POLL
        while events and events[-1][0] <= now:
            at, number, beginning = events.pop()
            if number < 0:
                yield from noise(luck, node, luck.choice(ALL), at)
            elif not beginning:
                if FAULTS[number].end(node):
                    yield Taken(at, "kmsg", FAULTS[number].device, (Code(LIFE, "service"),), whole=False)
            elif (text := FAULTS[number].begin(node)) is not None:
                yield Heard(at, "kmsg", text)
        for device in ALL:
            if not now % HOUR:  # the log's listener says that it listens; what has ended by time alone is seen with that
                yield Taken(now, "kmsg", device, (Count("kmsg.lost", 0),), whole=True)
            yield Taken(now, "all", device, tuple(node.poll(device)), whole=True)


def record(path: Path, records: Iterator[Record]) -> None:
    writing = Writing("0.1.0")
    with path.open("w") as file:
        file.write(f"{writing.head}\n")
        file.writelines(f"{writing.line(one)}\n" for one in records)


def test_all_20_faults_of_a_week_are_found_in_time_and_100000_correctable_events_change_nothing(tmp_path: Path) -> None:
    began = begins(random.Random(4680))
    record(tmp_path / "week.jsonl", week(random.Random(4680), began))
    with (tmp_path / "week.jsonl").open() as file:
        changes = [change for change in Replay(builtin(), read_recording(file, "week.jsonl")).run() if change.before is not None]
    assert len(FAULTS) == 20
    left: dict[str, list[Change]] = {device: [one for one in changes if one.now.key.device == device] for device in ALL}
    for fault, at in zip(FAULTS, began, strict=True):
        first = next((one for one in left[fault.device] if one.now.message.startswith(fault.says)), None)
        assert first is not None, fault.says
        assert first.now.health is fault.becomes
        assert at - 0.001 <= first.at <= at + fault.within + 0.001, fault.says
        ended = next((one for one in left[fault.device] if one.at > first.at and not one.now.message), None)
        assert ended is not None, f"{fault.says}: it does not end"
        left[fault.device] = [one for one in left[fault.device] if one not in (first, ended)]
    assert {device: more for device, more in left.items() if more} == {}, "no other change"
