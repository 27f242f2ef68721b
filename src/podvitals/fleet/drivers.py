"""The drivers of a cluster and who speaks for each, from what agents say and, where none can be asked, from the slices. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from podvitals.claim.resource import ResourceSlice
from podvitals.fleet.inventory import Agents, AgentView


class Voice(StrEnum):
    """What an endpoint is to its driver's health."""

    SPEAKS = "speaks"
    QUIET = "silent: its leases have ended"
    STANDBY = "standby"  # a newer endpoint speaks
    NOTHING_YET = "connected, no report yet"
    NO_HEALTH = "reports no health"  # it serves no health service
    GONE = "not connected"
    LEFT = "left to the kubelet"
    UNASKED = "agent not asked"  # it lives, and did not answer
    SILENT = "agent silent"
    NO_AGENT = "no agent"

    @property
    def well(self) -> bool:
        return self in (Voice.SPEAKS, Voice.STANDBY, Voice.LEFT)


@dataclass(frozen=True, slots=True)
class DriverView:
    """One endpoint of one driver on one node. Times in Unix seconds, the lease in seconds. `trouble`: why it is not connected. `source`:
    who else speaks for its devices, "" for the driver itself."""

    driver: str
    node: str
    voice: Voice
    devices: int = 0
    source: str = ""
    endpoint: str = ""
    since: float | None = None
    last_report: float | None = None
    smallest_lease: float | None = None
    versions: tuple[str, ...] = ()
    refusals: Mapping[str, int] = field(default_factory=dict)
    trouble: str = ""

    @property
    def state(self) -> str:
        return f"{self.voice}: {self.trouble}" if self.trouble and self.voice is Voice.GONE else str(self.voice)


def voice(*, connected: bool, speaks: bool, left: bool, serves: bool, anybody: bool, lapsed: bool) -> Voice:
    """`serves`: it has a health service. `anybody`: some endpoint of the same source speaks. `lapsed`: no lease of its devices runs."""
    if left:
        return Voice.LEFT
    if not connected:
        return Voice.GONE
    if speaks:
        return Voice.QUIET if lapsed else Voice.SPEAKS
    if not serves:
        return Voice.NO_HEALTH
    return Voice.STANDBY if anybody else Voice.NOTHING_YET


def with_published(told: Iterable[DriverView], slices: Iterable[ResourceSlice], agents: Agents, now: float) -> tuple[DriverView, ...]:
    """`told` by agents, and those drivers of which only ResourceSlices tell."""
    views = list(told)
    known = {(view.driver, view.node) for view in views}
    counted: dict[tuple[str, str], int] = {}
    for published in slices:
        place = (published.spec.driver, published.spec.node_name or "")
        counted[place] = counted.get(place, 0) + len(published.spec.devices)
    views += [
        DriverView(driver, node, _unheard(agents.of(node), now), devices)
        for (driver, node), devices in counted.items()
        if (driver, node) not in known
    ]
    return tuple(sorted(views, key=lambda view: (view.driver, view.node, view.source, view.endpoint)))


def _unheard(agent: AgentView, now: float) -> Voice:
    if agent.alive(now):
        return Voice.UNASKED
    return Voice.NO_AGENT if agent.renewed is None else Voice.SILENT
