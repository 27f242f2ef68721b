"""A verdict as it crosses the pipe from a world to whoever prints it."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """`took`, `settled`, `stalled`: seconds. `kept`: where the logs of a failed round are."""

    seed: int
    acts: list[str] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    kept: str = ""
    took: float = 0.0
    settled: float = 0.0
    changes: int = 0
    delivered: int = 0
    due: int = 0
    claims: int = 0
    blips: list[float] = field(default_factory=list)
    stalled: float = 0.0
