"""Which rows there are, by name, and how large each is: `--only lease` is quick, and all of them together take less than ten minutes."""

from dataclasses import dataclass, field

PARTS = {
    "latency": "a lone change, changes 50 ms apart, and a burst, beside bare patches",
    "lease": "lease end → seen, one pod and all at once",
    "punctual": "lease end → the patch leaves",
    "where": "where the time of a lone change goes",
    "load": "4,096 devices at 10 reports/s: CPU per report",
    "taken": "what of that the node side's cores take",
    "restart": "agent killed → first correct status",
    "growth": "memory over 100,000 changes",
    "curve": "cost of one change against what else exists",
    "checkpoint": "writing and reading it",
    "startup": "processes until they are of use",
    "detectors": "what watching hardware costs, and how soon a fault is told",
    "allway": "a fault in the kernel → the pod's status, by stages (needs root)",
    "relay": "the relay: prepare beside the direct call, changes, ends of leases, restart, memory (CLUSTER=1: in the field too)",
}


@dataclass(frozen=True)
class Sizes:
    """`pairs` of change and bare patch for each way but bursts, of which there are `rounds`; `ends` of leases; `starts` of each process;
    `seconds` of each flood; `changes` that memory is watched over; `points`: changes for each point of a curve."""

    pairs: int = 200
    rounds: int = 12
    ends: int = 60
    lease_rounds: int = 6
    starts: int = 5
    seconds: float = 10.0
    changes: int = 100_000
    points: int = 40
    pods: int = 90
    devices: int = 4096
    growth_pods: int = 110
    growth_each: int = 256
    curve_devices: tuple[int, ...] = (1, 16, 256, 4096)
    curve_pods: tuple[int, ...] = (1, 10, 50, 110)
    times: int = 20


QUICK = Sizes(pairs=20, rounds=4, ends=10, lease_rounds=2, starts=1, seconds=3.0, changes=10_000, points=10, times=5)
TINY = Sizes(
    pairs=3, rounds=2, ends=2, lease_rounds=1, starts=1, seconds=0.5, changes=40, points=2, pods=3, devices=8, growth_pods=2, growth_each=4,
    curve_devices=(1, 2), curve_pods=(1,), times=2,
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    parts: frozenset[str] = field(default_factory=lambda: frozenset(PARTS))
    sizes: Sizes = Sizes()
    real: bool = False

    def wants(self, *parts: str) -> bool:
        return not self.parts.isdisjoint(parts)
