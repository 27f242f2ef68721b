"""What came of a round."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """`seed`: -1 for what is no round: a world that did not come up, and the end, when the last late pods have run. Times in seconds:
    `took`, `settled` (from the end of its last fault until everybody saw the truth), `stalled`, `starts` (of each pod that ran, from its
    making until then). `calls`: prepares and unprepares that drivers did. `excused`: prepares that failed within the limits. `due`:
    faults that were looked for, on pods."""

    seed: int
    acts: list[str] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    kept: str = ""
    took: float = 0.0
    settled: float = 0.0
    changes: int = 0
    claims: int = 0
    due: int = 0
    pods: int = 0
    starts: list[float] = field(default_factory=list)
    calls: int = 0
    excused: int = 0
    blips: list[float] = field(default_factory=list)
    stalled: float = 0.0
