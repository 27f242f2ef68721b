"""What came of a round on a cluster."""

from dataclasses import dataclass, field

from tests.crash.report import Report


@dataclass(slots=True)
class ClusterReport(Report):
    """No rounds are a world that did not come up, and the end, when the last late pods have run. `starts`: seconds from each pod's making
    until it ran. `calls`: prepares and unprepares that drivers did. `excused`: prepares that failed within the limits."""

    pods: int = 0
    starts: list[float] = field(default_factory=list)
    calls: int = 0
    excused: int = 0
