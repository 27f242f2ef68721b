"""GET /state: everything this agent knows, as JSON, for people and for tools on the node. Pure.

    node, version, started   which agent this is; since when it runs
    ready, waiting           whether it has heard node and API; if not, what it waits for
    lease                    {name, renewedSecondsAgo}: what tells readers that it is alive
    drivers                  who speaks for each driver and source: endpoint, connected, since, speaks, speaksSince, lastReport, devices,
                             smallestLeaseSeconds, healthVersion, reports, refusals, trouble
    devices                  each device: health, message, action, since, checkedAt, leaseEndsInSeconds, faults, holders
    pods                     each pod with devices: how many, the worst health, ended
    unwritten                pods whose status waits to be written

Times are RFC 3339 in UTC, null for never; durations are called …Seconds; lists are sorted. Fields may be added.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState
from podvitals.node.watch import DriverView
from podvitals.pod.book import Book
from podvitals.pod.entry import FaultEntry, moment
from podvitals.pod.status import fault_entry


class Holder(msgspec.Struct, frozen=True, order=True):
    namespace: str
    pod: str
    container: str


class DeviceView(msgspec.Struct, frozen=True, rename="camel"):
    driver: str
    pool: str
    device: str
    health: Health
    message: str
    action: str
    since: datetime | None
    checked_at: datetime | None
    lease_ends_in_seconds: float | None
    faults: tuple[FaultEntry, ...]
    holders: tuple[Holder, ...]


class EndpointView(msgspec.Struct, frozen=True, rename="camel"):
    """One endpoint of a driver, as node/watch.py explains it (its DriverView)."""

    driver: str
    source: str
    endpoint: str
    connected: bool
    speaks: bool
    since: datetime | None
    speaks_since: datetime | None
    last_report: datetime | None
    devices: int
    smallest_lease_seconds: float | None
    versions: tuple[str, ...]
    health_version: str
    reports: int
    refusals: dict[str, int]
    trouble: str
    left: bool


class PodView(msgspec.Struct, frozen=True):
    namespace: str
    pod: str
    uid: str
    devices: int
    health: Health
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent's own part of the answer."""

    node: str
    version: str
    started: float
    waiting: tuple[str, ...]
    lease: str
    lease_renewed: float | None
    unwritten: int


def state(agent: Agent, book: Book, states: Mapping[DeviceKey, DeviceState], drivers: Iterable[DriverView], now: float) -> bytes:
    """The answer's bytes. `now`: boottime; so is `lease_renewed`."""
    renewed = None if agent.lease_renewed is None else round(now - agent.lease_renewed, 3)
    document: dict[str, Any] = {
        "node": agent.node,
        "version": agent.version,
        "started": moment(agent.started),
        "ready": not agent.waiting,
        "waiting": agent.waiting,
        "lease": {"name": agent.lease, "renewedSecondsAgo": renewed},
        "unwritten": agent.unwritten,
        "drivers": [_endpoint(view) for view in drivers],
        "devices": [_device(states[key], book, now) for key in sorted(states)],
        "pods": sorted(_pods(book), key=lambda pod: (pod.namespace, pod.pod, pod.uid)),
    }
    return msgspec.json.encode(document)


def _device(device: DeviceState, book: Book, now: float) -> DeviceView:
    holders = sorted(
        Holder(record.pod.metadata.namespace, record.pod.metadata.name, holding.container)
        for record in book.holders(device.key)
        if record.final is None
        for holding in record.holdings
        if holding.key == device.key
    )
    left = None if device.deadline is None else round(device.deadline - now, 3)
    since, checked = _time(device.since), _time(device.checked_at)
    faults = tuple(fault_entry(fault) for fault in device.faults)
    return DeviceView(*device.key, device.health, device.message, device.action, since, checked, left, faults, tuple(holders))


def _endpoint(view: DriverView) -> EndpointView:
    return EndpointView(
        driver=view.driver,
        source=view.source,
        endpoint=view.endpoint,
        connected=view.connected,
        speaks=view.speaks,
        since=_time(view.since),
        speaks_since=_time(view.speaks_since),
        last_report=_time(view.last_report),
        devices=view.devices,
        smallest_lease_seconds=view.smallest_lease,
        versions=view.versions,
        health_version=view.health_version,
        reports=view.reports,
        refusals=dict(view.refusals),
        trouble=view.trouble,
        left=view.left,
    )


def _time(unix: float) -> datetime | None:
    return moment(unix) if unix > 0 else None


def _pods(book: Book) -> Iterable[PodView]:
    for record in book:
        meta = record.pod.metadata
        said = book.devices(meta.uid)
        if said is not None:
            worst = Health.worst(entry.health for entry in said.entries)
            yield PodView(meta.namespace, meta.name, meta.uid, len(record.keys), worst, said.ended)
