"""A week of a node with 8 GPUs, 8 NICs and 8 disks: 100,000 correctable events that mean nothing, and 20 faults that do."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from podvitals.detect.evidence import Evidence
from podvitals.detect.rules.load import builtin
from podvitals.detect.rules.rule import Class
from podvitals.detect.signal import Code, Count, Level, Signal, State

POLL, WEEK, HOUR = 120.0, 7 * 86400.0, 3600.0
GPUS, NICS, DISKS = ([f"{kind}-{n}" for n in range(8)] for kind in ("gpu", "nic", "disk"))
CORRECTABLE = 100_000


class Node:
    """The hardware as it stands: what a poll would read."""

    def __init__(self) -> None:
        pcie = dict.fromkeys((("pcie.aer_correctable", ""), ("pcie.aer_nonfatal", ""), ("pcie.aer_fatal", "")), 0)
        self.counts: dict[str, dict[tuple[str, str], int]] = {device: dict(pcie) for device in (*GPUS, *NICS, *DISKS)}
        self.states: dict[str, dict[tuple[str, str], str]] = {device: {("pcie.presence", ""): "present"} for device in self.counts}
        self.lanes = dict.fromkeys(self.counts, 16.0)
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

    def grow(self, device: str, name: str, part: str = "", by: int = 1) -> None:
        self.counts[device][name, part] += by

    def set(self, device: str, name: str, value: str, part: str = "") -> None:
        self.states[device][name, part] = value


@dataclass(frozen=True)
class Fault:
    """`begin` breaks the hardware, or gives what is told of it; `end` mends it. `within`: seconds in which its rule promises to notice."""

    device: str
    rule: str
    within: float
    becomes: Class
    begin: Callable[[Node], Code | None]
    end: Callable[[Node], Code | None]
    lasts: float = 2 * HOUR


def told(device: str, rule: str, table: str, code: str, becomes: Class = Class.FATAL, lasts: float = 2 * HOUR) -> Fault:
    return Fault(device, rule, 0.0, becomes, lambda _: Code(table, code), lambda _: Code("life", "service"), lasts)


def state(device: str, rule: str, name: str, bad: str, good: str, part: str = "") -> Fault:
    return Fault(device, rule, POLL, Class.FATAL, lambda n: n.set(device, name, bad, part), lambda n: n.set(device, name, good, part))


def count(device: str, rule: str, name: str, part: str = "", by: int = 1, becomes: Class = Class.FATAL, lasts: float = 2 * HOUR) -> Fault:
    def end(node: Node) -> Code:
        node.counts[device][name, part] = 0  # a new one begins to count anew
        return Code("life", "service")

    return Fault(device, rule, POLL, becomes, lambda n: n.grow(device, name, part, by), end, lasts)


def narrow(device: str) -> Fault:
    def width(node: Node, lanes: float) -> None:
        node.lanes[device] = lanes

    return Fault(device, "pcie.link-width", 2 * POLL, Class.DEGRADED, lambda n: width(n, 8), lambda n: width(n, 16))


FAULTS = (
    told("gpu-0", "xid.79", "xid", "79"),
    told("gpu-1", "xid.48", "xid", "48"),
    told("gpu-2", "xid.119", "xid", "119"),
    told("gpu-3", "xid.63", "xid", "63", Class.DEGRADED),
    told("gpu-4", "xid.nvlink5", "xid", "145", Class.DEGRADED, lasts=24 * HOUR),
    told("gpu-5", "amd.reset-failed", "kmsg", "amdgpu-reset-failed"),
    count("gpu-6", "amd.uncorrectable-count", "amd.ras_ue", "umc"),
    count("gpu-7", "pcie.aer-fatal", "pcie.aer_fatal"),
    narrow("gpu-0"),
    state("nic-0", "net.carrier", "net.carrier", "0", "1"),
    state("nic-1", "rdma.state", "rdma.state", "DOWN", "ACTIVE", "1"),
    count("nic-2", "rdma.link-downed", "rdma.link_downed", "1", lasts=0.25 * HOUR),
    count("nic-3", "rdma.symbol-errors", "rdma.symbol_error", "1", by=200, lasts=2 * HOUR),
    told("nic-4", "rdma.fatal", "kmsg", "mlx5-health"),
    count("nic-5", "pcie.aer-nonfatal", "pcie.aer_nonfatal", by=3),
    state("disk-0", "block.nvme-state", "nvme.state", "dead", "live"),
    state("disk-1", "block.read-only", "block.read_only", "1", "0"),
    told("disk-2", "block.controller-dead", "kmsg", "nvme-disabled"),
    count("disk-3", "pcie.aer-nonfatal", "pcie.aer_nonfatal", becomes=Class.DEGRADED, lasts=2 * HOUR),
    state("disk-4", "pcie.gone", "pcie.presence", "gone", "present"),
)


def week(luck: random.Random) -> tuple[Evidence, dict[int, float], int]:
    """The evidence afterwards, when each fault began, and how many correctable events there were."""
    node, evidence = Node(), Evidence(builtin())
    begins = {number: HOUR + number * (WEEK - 30 * HOUR) / len(FAULTS) + luck.uniform(0, HOUR) for number in range(len(FAULTS))}
    events = sorted([(at, n, "begin") for n, at in begins.items()] + [(at + FAULTS[n].lasts, n, "end") for n, at in begins.items()])
    noise = [(luck.choice(GPUS + NICS + DISKS), luck.uniform(0, WEEK - POLL)) for _ in range(CORRECTABLE)]
    noise.sort(key=lambda one: one[1], reverse=True)
    correctable, now = 0, 0.0
    while now < WEEK:
        while noise and noise[-1][1] <= now:
            device = noise.pop()[0]
            kinds = [("pcie.aer_correctable", "")] + ([("amd.ras_ce", "umc")] if device in GPUS else [])
            node.grow(device, *luck.choice(kinds))
            correctable += 1
        while events and events[0][0] <= now + POLL:
            at, number, what = events.pop(0)
            said = getattr(FAULTS[number], what)(node)
            if said is not None:
                evidence.take(FAULTS[number].device, [said], at, whole=False)
        now += POLL
        for device in (*GPUS, *NICS, *DISKS):
            evidence.take(device, list(node.poll(device)), now)
    return evidence, begins, correctable


def test_all_20_faults_of_a_week_are_found_in_time_and_100000_correctable_events_change_nothing() -> None:
    evidence, begins, correctable = week(random.Random(4680))
    assert len(FAULTS) == 20
    assert correctable == CORRECTABLE
    transitions = {device: list(evidence.transitions(device)) for device in (*GPUS, *NICS, *DISKS)}
    for number, fault in enumerate(FAULTS):
        found = transitions[fault.device]
        first = next((one for one in found if one.because[0].rule == fault.rule and one.now == fault.becomes.rank), None)
        assert first is not None, fault.rule
        assert begins[number] <= first.at <= begins[number] + fault.within, fault.rule
        found.remove(first)
        ended = next((one for one in found if one.at > first.at and one.now == 0), None)
        assert ended is not None, f"{fault.rule} does not end"
        found.remove(ended)
    assert {device: left for device, left in transitions.items() if left} == {}, "no other transition"
