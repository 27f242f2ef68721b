"""Stories: what befalls the world, as steps at stated times. A story is made of a seed, told in words, and shortened by leaving out steps.

Each seed takes a few themes (and leaves out the others), so that what some of them do together is tried more often than everything at
once would.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tests.chaos.api import MODES
from tests.chaos.cast import DEVICES, KEYS, SLOTS

LEASES = (1.0, 2.0, 3.0, 5.0, 5.0, 15.0, 15.0, 0.0, 60.0, 60.0, 3600.0, -4.0, 1e12)


class Step(NamedTuple):
    """`at`: seconds after the story's begin."""

    at: float
    what: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:9.3f} s  {self.what}" + (f" {', '.join(map(str, self.args))}" if self.args else "")


@dataclass(frozen=True, slots=True)
class Story:
    seed: int
    steps: tuple[Step, ...]

    def without(self, dropped: set[int]) -> "Story":
        return replace(self, steps=tuple(step for index, step in enumerate(self.steps) if index not in dropped))

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


Maker = Callable[[random.Random], tuple[Any, ...]]


def _source(rng: random.Random) -> int:
    return rng.choice((0, 0, 0, 1, 2))


def _slot(rng: random.Random) -> int:
    return rng.choice((0, 0, 0, 1, 1, 2)) % SLOTS


def _devices(rng: random.Random) -> tuple[int, ...]:
    return tuple(sorted(rng.sample(range(len(KEYS)), rng.choice((1, 1, 1, 2, 2, 3)))))


def _start(rng: random.Random) -> tuple[Any, ...]:
    style = rng.choice(("heartbeat",) * 6 + ("ticking", "on change", "mute"))
    return _source(rng), _slot(rng), style, rng.choice(LEASES), rng.random() < 0.15


def _verdict(rng: random.Random) -> tuple[Any, ...]:
    health = rng.choice(("Healthy", "Healthy", "Unhealthy", "Unhealthy", "Unknown"))
    lease = rng.choice((None, None, None, *LEASES))
    return _source(rng), rng.randrange(len(DEVICES)), health, lease, rng.choice(("all",) * 6 + ("one", "quiet"))


def _create(rng: random.Random) -> tuple[Any, ...]:
    flavour = rng.choice(("template",) * 4 + ("named", "shared", "admin", "extended", "two", "none"))
    return rng.randrange(5), () if flavour == "none" else _devices(rng), flavour, rng.choice((0.0, 0.0, 0.0, 0.3, 3.0))


def _place(rng: random.Random) -> tuple[Any, ...]:
    return _source(rng), _slot(rng)


THEMES: dict[str, dict[str, tuple[float, Maker]]] = {
    "devices": {
        "verdict": (8, _verdict),
        "flap": (1.5, lambda r: (_source(r), r.randrange(len(DEVICES)), r.choice((0.02, 0.3, 2.0)), r.randrange(2, 6))),
    },
    "drivers": {
        "start driver": (3, _start),
        "kill driver": (2, lambda r: (*_place(r), r.random() < 0.4, r.choice(("read", "lost", "late")))),
        "roll driver": (1.5, lambda r: (_source(r), r.choice((0.0, 0.2, 4.0)), r.choice(LEASES))),
    },
    "streams": {
        "hang driver": (1.5, lambda r: (*_place(r), r.choice((0.5, 4.0, 20.0, 70.0)))),
        "end stream": (1.5, _place),
        "break connection": (2, lambda r: (*_place(r), r.choice(("read", "lost", "late")))),
        "blurt": (2, lambda r: (*_place(r), r.choice(("garbage", "empty", "subset", "twice", "stranger")))),
    },
    "pods": {
        "create pod": (5, _create),
        "finish pod": (2.5, lambda r: (r.randrange(5), r.choice(("Succeeded", "Failed", "Evicted")), r.choice((0.0, 0.05, 0.7)))),
        "delete pod": (1.5, lambda r: (r.randrange(5), r.choice((0.0, 0.0, 1.0)))),
        "recreate pod": (1.5, lambda r: (r.randrange(5), _devices(r), r.choice(("template", "named")))),
        "hand on": (1.5, lambda r: (r.randrange(5), r.randrange(5), r.choice(("Succeeded", "Failed")))),
        "restart container": (0.4, lambda r: (r.randrange(5),)),
    },
    "requests": {
        "API": (3, lambda r: (r.choice(MODES), r.choice((0.1, 2.0, 15.0, 40.0)))),
        "slow watch": (1, lambda r: (r.choice((0.3, 2.0, 10.0)), r.choice((1.0, 20.0)))),
        "break watch": (1, lambda r: (r.random() < 0.5,)),
    },
    "outage": {"API": (0.7, lambda r: ("gone", 600.0))},
    "writers": {
        "undo": (1.5, lambda r: (r.randrange(5), r.choice(("condition", "annotation", "both")))),
        "plant": (1.5, lambda r: (r.randrange(5), r.choice(("Healthy", "Unhealthy", "rubbish", "ended")))),
        "refuse pod": (1, lambda r: (r.randrange(5), r.choice(("annotation", "all", "strip")), r.choice((3.0, 50.0)))),
    },
    "agent": {
        "kill agent": (1.5, lambda r: (r.choice((0.0, 0.3, 5.0, 70.0)),)),
        "kill agent at write": (2, lambda r: (r.randrange(1, 6), r.choice((0.0, 0.3, 5.0, 70.0)))),
        "end agent": (1, lambda r: (r.choice((0.0, 0.3, 20.0)),)),
        "stop agent": (1, lambda r: (r.choice((0.5, 5.0, 35.0, 90.0)),)),
    },
    "disk": {
        "lose": (0.7, lambda r: (r.choice(("checkpoint", "memory", "both")), r.choice((0.0, 2.0)))),
        "full disk": (0.7, lambda r: (r.choice((2.0, 30.0)),)),
    },
    "machine": {
        "step wall clock": (1, lambda r: (r.choice((-3600.0, 3600.0)),)),
        "suspend": (1, lambda r: (r.choice((3.0, 100.0, 3600.0)),)),
        "reboot": (0.7, lambda r: (r.choice((5.0, 40.0)),)),
    },
}
GAPS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 0.7, 1.0, 2.0, 3.0, 5.0, 8.0)


def make(seed: int) -> Story:
    rng = random.Random(f"story {seed}")
    often = {"devices": 1.0, "pods": 0.9, "drivers": 0.6, "streams": 0.6}
    themes = [name for name in THEMES if rng.random() < often.get(name, 0.3)]
    chances = {what: chance for theme in themes for what, chance in THEMES[theme].items()}
    sources = [0] + [source for source, chance in ((1, 0.8), (2, 0.4)) if rng.random() < chance]
    steps = [Step(0.0, "start driver", (source, 0, "heartbeat", rng.choice(LEASES), False)) for source in sources]
    steps += [Step(0.0, "verdict", (source, device, "Healthy", None, "all")) for source in sources for device in range(len(DEVICES))]
    steps += [Step(0.5, "create pod", (slot, _devices(rng), "template", 0.0)) for slot in range(rng.randrange(1, 5))]
    at = 3.0
    names, weights = list(chances), [weight for weight, _ in chances.values()]
    for _ in range(rng.choice((15, 30, 30, 50, 80))):
        at += rng.choice(GAPS) * rng.uniform(0.5, 1.5) if rng.random() < 0.95 else rng.choice((12.0, 33.0, 61.0))
        what = rng.choices(names, weights)[0]
        steps.append(Step(round(at, 4), what, chances[what][1](rng)))
    return Story(seed, tuple(steps))
