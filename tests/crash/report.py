"""What came of a round."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """`seed`: -1 for what is no round. `due`: faults that were looked for, on pods. `took`, `settled` (from the end of its last fault until
    everybody saw the truth), `blips`: seconds. `kept`: where the logs of a failed round are."""

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
    blips: list[float] = field(default_factory=list)


@dataclass(slots=True)
class NodeReport(Report):
    """Of a round of processes alone. `delivered`: faults that reached an agent."""

    delivered: int = 0
