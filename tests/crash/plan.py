"""A round as data: which fault begins when, how long it lasts, when which device breaks, what becomes of pods. Pure: a seed in, a plan out.

Each seed has one fault that it must have (so that as many rounds as there are kinds have them all) and some more, at other places or later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

KINDS: Mapping[str, tuple[str, float, float]] = {
    # kind: (the place that it takes, shortest, longest time it lasts)
    "agent-kill": ("agent", 0.0, 2.5),
    "agent-stop": ("agent", 0.3, 5.0),
    "agent-term": ("agent", 0.0, 1.0),
    "agent-twice": ("agent", 0.5, 1.0),
    "driver-kill": ("driver", 0.0, 4.0),
    "driver-stop": ("driver", 0.3, 4.5),
    "driver-term": ("driver", 0.0, 1.0),
    "driver-roll": ("driver", 1.0, 3.0),
    "driver-roll-fails": ("driver", 1.0, 3.0),
    "kubelet-kill": ("kubelet", 0.0, 2.0),
    "kubelet-stop": ("kubelet", 0.3, 3.0),
    "kubelet-term": ("kubelet", 0.0, 1.0),
    "disk-full": ("disk", 1.0, 5.0),
    "disk-full-restart": ("agent", 0.5, 2.0),
    "disk-read-only": ("agent", 1.0, 4.0),
    "disk-damage": ("agent", 0.0, 0.5),
    "disk-busy": ("agent", 1.0, 4.0),
    "net-delay": ("net", 1.0, 5.0),
    "net-reset": ("net", 1.0, 4.0),
    "net-truncate": ("net", 1.0, 4.0),
    "net-hold": ("net", 1.0, 9.0),
    "net-hold-reset": ("net", 1.0, 6.0),
    "net-refuse": ("net", 0.5, 5.0),
    "net-kubelet": ("net-kubelet", 1.0, 4.0),
    "api-restart": ("api", 0.2, 2.0),
    "api-restart-forgets": ("api", 0.2, 2.0),
    "api-errors": ("api", 1.0, 5.0),
    "api-refuses-pods": ("api", 2.0, 9.0),
    "api-loses-answers": ("api", 1.0, 4.0),
}
POD_ACTS = ("end", "end-and-reuse", "recreate", "reuse", "share", "delete-forced")
DRIVERS = ("short", "long")
DEVICES = ("s0", "s1", "s2", "s3", "l0", "l1")
"""Of driver short (leases of 2 s) and long (20 s)."""
WITNESS = "s1"


@dataclass(frozen=True, slots=True)
class Act:
    """`at` seconds after the round began; `driver`: which, where one is meant; `draw` 0 … 1 decides whatever else there is to decide."""

    at: float
    kind: str
    lasts: float
    driver: str = ""
    draw: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind}{':' + self.driver if self.driver else ''}"


@dataclass(frozen=True, slots=True)
class Change:
    """The device's file says so from `at` on."""

    at: float
    device: str
    health: str


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    acts: tuple[Act, ...]
    changes: tuple[Change, ...]
    pods: Act | None
    """What becomes of a pod meanwhile."""


def make(seed: int, must: str = "") -> Plan:
    """The same plan for the same seed and fault. `must`: a fault that is to be there, for as long as it ever is."""
    random = Random(f"podvitals crash {seed} {must}")
    first = must or tuple(KINDS)[seed % len(KINDS)]
    kinds = [first, *random.sample(tuple(KINDS), random.choice((0, 1, 1, 2, 3)))]
    busy: dict[str, float] = {}
    acts: list[Act] = []
    for kind in dict.fromkeys(kinds):
        place, shortest, longest = KINDS[kind]
        driver = random.choice(DRIVERS) if place == "driver" else ""
        # What takes a place twice in a round would be undone by the one that ends first.
        place = f"{place} {driver}"
        lasts = longest if kind == must else random.uniform(shortest, longest)
        at = busy.get(place, 0.0) + random.uniform(0.2, 2.5)
        busy[place] = at + lasts + 0.5
        acts.append(Act(at, kind, lasts, driver, random.random()))
    over = max(act.at + act.lasts for act in acts) + 0.3
    pods = Act(random.uniform(0.0, max(0.5, over - 2.0)), random.choice(POD_ACTS), random.uniform(0.5, 2.5), draw=random.random())
    begins = next(act.at for act in acts if act.kind == first)
    return Plan(seed, tuple(sorted(acts, key=lambda act: act.at)), tuple(_changes(random, over, begins)), pods)


def _changes(random: Random, over: float, begins: float) -> list[Change]:
    """Mostly a fault and its end, some very short, some that become another, some that last beyond the round. One device changes just after
    the fault that the round is about began, and then no more: whoever is cut off shows what it was before."""
    before, after = random.choice((("Healthy", "Unhealthy"), ("Healthy", "Unhealthy"), ("Unhealthy", "Healthy")))
    changes = [Change(0.05, WITNESS, before), Change(begins + 0.3, WITNESS, after)]
    for device in DEVICES:
        now, health = random.uniform(0.0, 1.5), "Healthy"
        while now < over and device != WITNESS:
            draw = random.random()
            if health == "Healthy":
                health = "Unhealthy" if draw < 0.85 else "Unknown"
                pause = random.uniform(0.08, 0.25) if random.random() < 0.25 else random.uniform(0.4, 3.0)
            else:
                health = "Healthy" if draw < 0.8 else "Unhealthy"
                pause = random.uniform(0.5, 4.0)
            changes.append(Change(now, device, health))
            now += pause
    return sorted(changes, key=lambda change: change.at)
