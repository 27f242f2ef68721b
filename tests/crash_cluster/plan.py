"""A round as data: which fault begins when, which device breaks, which pods start, run and end meanwhile. Pure: a seed in, a plan out."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from tests.crash import plan
from tests.crash.plan import Change

KINDS: Mapping[str, tuple[str, float, float, int]] = {
    # kind: (the part it takes, shortest, longest time it lasts, how often of all)
    "agent-kill": ("agent", 0.0, 3.0, 6),
    "agent-stop": ("agent", 0.3, 5.0, 6),
    "driver-kill": ("driver", 0.0, 6.0, 9),
    "driver-stop": ("driver", 0.3, 8.0, 9),
    "driver-roll": ("driver", 0.5, 3.0, 5),
    "driver-kill-long": ("driver", 20.0, 28.0, 2),
    "driver-stop-long": ("driver", 20.0, 28.0, 2),
    "relay-kill": ("relay", 0.0, 2.0, 9),
    "relay-stop": ("relay", 0.3, 6.0, 9),
    "relay-roll": ("relay", 0.0, 2.0, 5),
    "relay-stop-long": ("relay", 20.0, 21.0, 2),
    "keeper-kill": ("keeper", 0.0, 2.0, 3),
    "keeper-stop": ("keeper", 0.3, 4.0, 3),
    "kubelet-kill": ("kubelet", 0.0, 2.0, 8),
    "kubelet-stop": ("kubelet", 0.3, 6.0, 8),
}
DRIVERS = ("sdk", "go")
"""podvitals' own, and one by the upstream helper in Go."""
DEVICES = 10
CHANGING = 4
"""Of each driver's devices those that break and recover: the scheduler gives the first ones first."""
ENDS = ("exits", "fails", "deleted", "deleted-early")
USES = ("sdk", "go", "both")

SHORT: Mapping[int, frozenset[str]] = {
    35: frozenset({"kubelet-stop", "agent-stop"}),
    1256: frozenset({"driver-kill", "relay-roll"}),
    1983: frozenset({"keeper-kill", "relay-kill"}),
    2239: frozenset({"driver-stop", "relay-kill"}),
    2784: frozenset({"agent-kill", "kubelet-kill"}),
}
"""Of the shortest rounds those that between them kill and stop every part, by seed (tests/cluster/test_crash_rounds.py)."""


class Act(plan.Act):
    @property
    def part(self) -> str:
        return f"{KINDS[self.kind][0]}{':' + self.driver if self.driver else ''}"


@dataclass(frozen=True, slots=True)
class PodAct:
    """`uses`: devices of which drivers; `ends`: how it does, `lasts` seconds after it ran (`deleted-early`: after it was made)."""

    at: float
    uses: str
    ends: str
    lasts: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    acts: tuple[Act, ...]
    changes: tuple[Change, ...]
    pods: tuple[PodAct, ...]


def make(seed: int, must: str = "") -> Plan:
    """The same plan for the same seed and fault. `must`: a fault that is to be there alone, for as long as it ever is."""
    random = Random(f"podvitals crash cluster {seed} {must}")
    count = 1 if must else random.choice((1, 1, 2, 3))
    kinds = [must] if must else random.choices(tuple(KINDS), weights=[each[3] for each in KINDS.values()], k=count)
    acts: dict[str, Act] = {}
    for kind in kinds:
        place, shortest, longest, _ = KINDS[kind]
        driver = random.choice(DRIVERS) if place == "driver" else ""
        lasts = longest if kind == must else random.uniform(shortest, longest)
        act = Act(random.uniform(0.3, 3.0), kind, lasts, driver)
        acts.setdefault(act.part, act)
    over = max(act.at + act.lasts for act in acts.values()) + 0.5
    first = next(iter(acts.values()))
    pods = sorted((_pod(random, first, over) for _ in range(random.randint(2, 4))), key=lambda pod: pod.at)
    return Plan(seed, tuple(sorted(acts.values(), key=lambda act: act.at)), tuple(_changes(random, over, first.at)), tuple(pods))


def _pod(random: Random, first: Act, over: float) -> PodAct:
    """Most start around the beginning of the fault or in it, the others whenever."""
    at = random.uniform(max(0.0, first.at - 0.5), first.at + min(first.lasts, 4.0)) if random.random() < 0.7 else random.uniform(0.0, over)
    return PodAct(at, random.choice(USES), random.choice(ENDS), random.uniform(0.1, 3.0))


def _changes(random: Random, over: float, begins: float) -> list[Change]:
    """Mostly a fault and its end. The first device of each driver changes just after the first fault began, and then no more: whoever is
    cut off shows what it was before."""
    changes: list[Change] = []
    for driver in DRIVERS:
        before, after = random.choice((("Healthy", "Unhealthy"), ("Healthy", "Unhealthy"), ("Unhealthy", "Healthy")))
        changes += [Change(0.05, device_name(driver, 0), before), Change(begins + 0.3, device_name(driver, 0), after)]
        for number in range(1, CHANGING):
            now, health = random.uniform(0.0, 2.0), "Healthy"
            while now < min(over, 12.0):
                health = "Unhealthy" if health == "Healthy" or random.random() < 0.2 else "Healthy"
                changes.append(Change(now, device_name(driver, number), health))
                now += random.uniform(0.1, 0.5) if random.random() < 0.25 else random.uniform(1.0, 5.0)
    return sorted(changes, key=lambda change: change.at)


def device_name(driver: str, number: int) -> str:
    return f"{driver[0]}{number}"


def driver_of(device: str) -> str:
    return next(driver for driver in DRIVERS if device.startswith(driver[0]))
