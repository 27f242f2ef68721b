"""The drivers of a cluster and who speaks for each, from what agents say and, where none can be asked, from the slices. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podvitals.claim.resource import ResourceSlice


@dataclass(frozen=True, slots=True)
class DriverView:
    """One endpoint of one driver on one node. Times in Unix seconds, the lease in seconds. `state`: what is said of its connection."""

    driver: str
    node: str
    state: str
    devices: int = 0
    source: str = ""
    endpoint: str = ""
    since: float | None = None
    last_report: float | None = None
    smallest_lease: float | None = None
    versions: tuple[str, ...] = ()
    refusals: Mapping[str, int] = field(default_factory=dict)


def with_published(told: Iterable[DriverView], slices: Iterable[ResourceSlice]) -> tuple[DriverView, ...]:
    """`told` by agents, and those drivers of which only ResourceSlices tell."""
    views = list(told)
    known = {(view.driver, view.node) for view in views}
    counted: dict[tuple[str, str], int] = {}
    for published in slices:
        place = (published.spec.driver, published.spec.node_name or "")
        counted[place] = counted.get(place, 0) + len(published.spec.devices)
    views += [
        DriverView(driver, node, "no agent to ask", devices) for (driver, node), devices in counted.items() if (driver, node) not in known
    ]
    return tuple(sorted(views, key=lambda view: (view.driver, view.node, view.source, view.endpoint)))
