"""What the relay says of itself: GET /state for people and tools on the node, and /metrics. Pure.

version, started     which relay this is; since when it runs
pluginDir, kubeletDir
waiting              what readiness waits for; nothing when ready
keeper               whether one holds the relay's sockets (keeping.py)
drivers              each driver that registered here:
  kubelet            registered | offered | refused: REASON | away, withdrawn in N s | withdrawn
  standIns           endpoint, versions, registered: what the kubelet sees in its place
  endpoints          the driver's own: endpoint, versions, connected, speaks, since, lastReport, trouble, refusals
  watchers           health streams that are open on its stand-ins
  devices, smallestLeaseSeconds
  calls              passed, held (now), failed (held in vain)

Times are RFC 3339 in UTC, null for never, as in the agent's /state.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from podvitals.claim.times import rfc3339
from podvitals.node.watch import DriverView
from podvitals.relay.standing import Answer, StandIn, Standing

PREFIX = "podvitals_relay_"


class StandInView(msgspec.Struct, frozen=True, rename="camel"):
    endpoint: str
    versions: tuple[str, ...]
    registered: bool


class EndpointView(msgspec.Struct, frozen=True, rename="camel"):
    """`source`: "" for the driver itself, else an auxiliary source's name."""

    source: str
    endpoint: str
    versions: tuple[str, ...]
    connected: bool
    speaks: bool
    since: str | None
    last_report: str | None
    trouble: str
    refusals: dict[str, int]


class CallsView(msgspec.Struct, frozen=True):
    passed: int = 0
    held: int = 0
    failed: int = 0


class RelayedView(msgspec.Struct, frozen=True, rename="camel"):
    driver: str
    kubelet: str
    stand_ins: tuple[StandInView, ...]
    endpoints: tuple[EndpointView, ...]
    watchers: int
    devices: int
    smallest_lease_seconds: float | None
    calls: CallsView


class RelayView(msgspec.Struct, frozen=True, rename="camel"):
    version: str
    started: str
    plugin_dir: str
    kubelet_dir: str
    waiting: tuple[str, ...]
    keeper: bool
    drivers: tuple[RelayedView, ...]


@dataclass(frozen=True, slots=True)
class Towards:
    """A driver's front as it stands. `endpoints`: of its stand-ins, by number."""

    standing: Standing
    endpoints: dict[int, str]
    watchers: int
    calls: CallsView


def relayed(driver: str, towards: Towards | None, own: Iterable[DriverView], now: float) -> RelayedView:
    views = [view for view in own if view.endpoint]
    leases = [view.smallest_lease for view in views if view.smallest_lease is not None]
    return RelayedView(
        driver=driver,
        kubelet="no endpoint of it was connected yet" if towards is None else standing_text(towards.standing, now),
        stand_ins=() if towards is None else tuple(_stand_in(one, towards) for one in towards.standing.stand_ins),
        endpoints=tuple(map(_endpoint, views)),
        watchers=0 if towards is None else towards.watchers,
        devices=max((view.devices for view in views), default=0),
        smallest_lease_seconds=min(leases, default=None),
        calls=CallsView() if towards is None else towards.calls,
    )


def standing_text(standing: Standing, now: float) -> str:
    """How a driver stands with the kubelet, in a few words."""
    withdrawn = standing.next_deadline()
    match standing.answer:
        case _ if not standing.stand_ins:
            return "withdrawn"
        case _ if withdrawn is not None:
            return f"driver away, withdrawn in {max(0.0, withdrawn - now):.0f} s"
        case Answer(registered=False, error=error):
            return f"refused: {error}"
        case _ if standing.registered is not None:
            return "registered" if standing.newest is None else "registered, other versions offered"
        case _:
            return "offered"


def _endpoint(view: DriverView) -> EndpointView:
    since, heard = _time(view.since), _time(view.last_report)
    return EndpointView(
        view.source, view.endpoint, view.versions, view.connected, view.speaks, since, heard, view.trouble, dict(view.refusals)
    )


def _time(unix: float) -> str | None:
    return rfc3339(unix) if unix > 0 else None


def _stand_in(one: StandIn, towards: Towards) -> StandInView:
    return StandInView(towards.endpoints.get(one.number, ""), one.versions, one == towards.standing.registered)


def metrics(view: RelayView) -> bytes:
    """Prometheus' text format; written here, since its library would cost a process that should be small a tenth of its size."""
    rows: list[tuple[str, str, str, list[tuple[str, float]]]] = [
        ("registered", "gauge", "Whether the kubelet has taken the relay's stand-in", [(_of(one), _taken(one)) for one in view.drivers]),
        ("connected", "gauge", "Connected endpoints of the driver", [(_of(one), _connected(one)) for one in view.drivers]),
        ("watchers", "gauge", "Open health streams of the driver's stand-ins", [(_of(one), one.watchers) for one in view.drivers]),
        ("devices", "gauge", "Devices the driver reports", [(_of(one), one.devices) for one in view.drivers]),
        ("calls_passed_total", "counter", "Calls the driver answered", [(_of(one), one.calls.passed) for one in view.drivers]),
        ("calls_held", "gauge", "Calls that wait for the driver", [(_of(one), one.calls.held) for one in view.drivers]),
        ("calls_failed_total", "counter", "Calls held in vain", [(_of(one), one.calls.failed) for one in view.drivers]),
        (
            "refusals_total",
            "counter",
            "What drivers said and was not taken",
            [
                (f'{_of(one)},reason="{_escaped(reason)}"', count)
                for one in view.drivers
                for reason, count in sorted(_refusals(one).items())
            ],
        ),
        ("build_info", "gauge", "1, with the relay's version", [(f'version="{_escaped(view.version)}"', 1)]),
        ("keeper", "gauge", "Whether a keeper holds the relay's sockets", [("", view.keeper)]),
        ("ready", "gauge", "Whether the plugin directory has been read", [("", not view.waiting)]),
    ]
    lines = []
    for name, kind, text, samples in rows:
        lines += [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} {kind}"]
        lines += [f"{PREFIX}{name}{f'{{{labels}}}' if labels else ''} {float(value):g}" for labels, value in samples]
    return "\n".join((*lines, "")).encode()


def _of(one: RelayedView) -> str:
    return f'driver="{_escaped(one.driver)}"'


def _taken(one: RelayedView) -> float:
    return any(stand_in.registered for stand_in in one.stand_ins)


def _connected(one: RelayedView) -> float:
    return sum(endpoint.connected for endpoint in one.endpoints)


def _refusals(one: RelayedView) -> dict[str, int]:
    total: dict[str, int] = {}
    for endpoint in one.endpoints:
        for reason, count in endpoint.refusals.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
