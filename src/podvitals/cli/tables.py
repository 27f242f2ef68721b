"""The tables `podvitals get` prints. No I/O here."""

from collections.abc import Iterable

from podvitals.claim.times import unix
from podvitals.cli.output import Table, age
from podvitals.device.health import Health
from podvitals.fleet.devices import DeviceView, NodeView
from podvitals.fleet.drivers import DriverView
from podvitals.fleet.inventory import PodView, Source, device_name
from podvitals.pod.cause import Verdict, statuses

_UNSEEN = "may not see"


def pods_table(views: Iterable[PodView], now: float, *, all_namespaces: bool) -> Table:
    header = ("NAMESPACE", "NAME", "STATUS", "RESTARTS", "HEALTH", "DEVICES", "WHY", "AGE", "NODE", "SOURCE")
    skip = 0 if all_namespaces else 1
    rows = [_pod_row(view, now)[skip:] for view in views]
    return Table(header[skip:], rows, wide_from=8 - skip, least=("AGE", "RESTARTS", "DEVICES"))


def _pod_row(view: PodView, now: float) -> tuple[str, ...]:
    meta = view.pod.metadata
    created = unix(meta.creation_timestamp)
    restarts = sum(status.restart_count for status in statuses(view.pod))
    return (
        meta.namespace,
        meta.name,
        pod_status(view),
        str(restarts),
        str(view.health) if view.health else "",
        _counted(view),
        _why(view),
        age(now - created) if created is not None else "",
        view.pod.spec.node_name,
        str(view.source),
    )


def pod_status(view: PodView) -> str:
    """What kubectl's STATUS column would say: the reason a container waits or ended with, else the phase."""
    if view.pod.metadata.deletion_timestamp:
        return "Terminating"
    for status in view.pod.status.init_container_statuses:
        reason = status.state.waiting.reason if status.state.waiting else ""
        if status.state.terminated and status.state.terminated.exit_code:
            reason = status.state.terminated.reason or "Error"
        if reason not in ("", "PodInitializing"):
            return f"Init:{reason}"
    for status in view.pod.status.container_statuses:
        if status.state.waiting and status.state.waiting.reason not in ("", "PodInitializing"):
            return status.state.waiting.reason
    for status in view.pod.status.container_statuses:
        if status.state.terminated and status.state.terminated.reason:
            return status.state.terminated.reason
    return view.pod.status.reason or view.pod.status.phase or "Pending"


def _counted(view: PodView) -> str:
    total = view.count()
    if not total:
        return "none said" if view.source is Source.NOBODY and view.pod.spec.resource_claims else ""
    worst = view.health or Health.UNKNOWN
    return f"{view.count(worst)} of {total}" if worst is not Health.HEALTHY and view.newer is None else str(total)


def _why(view: PodView) -> str:
    if view.newer is not None:
        return view.newer.message
    bad = [entry for entry in view.entries if entry.health is not Health.HEALTHY]
    # The one that is to blame is named first, and nobody else is called so.
    explained = [(cause.entry, cause.fault) for cause in view.causes if cause.verdict is Verdict.EXPLAINED]
    lasting = {device_name(entry) for entry, fault in explained if entry is not None and fault is not None and fault.until is None}
    if bad:
        entry = next((entry for entry in bad if device_name(entry) in lasting), bad[0])
        blame = " (explains the crash)" if device_name(entry) in lasting else ""
        return (f"{entry.device}: {entry.message}" if entry.message else entry.device) + blame
    for cause_of, fault in explained:
        if cause_of is not None and fault is not None:
            return f"{cause_of.device}: {fault.message or fault.health} (over now, explains the last crash)"
    return f"waits for a node: {view.unplaced}" if view.unplaced else ""


def devices_table(views: Iterable[DeviceView], now: float) -> Table:
    rows = [
        (
            str(view.key),
            view.node,
            str(view.health) if view.health else "nobody says",
            age(now - view.since) if view.since is not None else "",
            _UNSEEN if view.holders is None else ", ".join(view.holders),
            view.message,
            view.action,
            view.speaker,
        )
        for view in views
    ]
    return Table(("DEVICE", "NODE", "HEALTH", "FOR", "HELD BY", "WHY", "DO", "SOURCE"), rows, wide_from=6, least=("FOR", "NODE", "HELD BY"))


def nodes_table(views: Iterable[NodeView], now: float) -> Table:
    rows = [
        (
            view.name,
            {True: "Ready", False: "NotReady", None: ""}[view.ready],
            _agent(view, now),
            str(view.devices),
            str(view.broken),
            str(view.unknown),
            _UNSEEN if view.affected is None else str(view.affected),
            ", ".join(view.drivers),
        )
        for view in views
    ]
    header = ("NODE", "STATUS", "AGENT", "DEVICES", "UNHEALTHY", "UNKNOWN", "PODS AFFECTED", "DRIVERS")
    return Table(header, rows, least=("DRIVERS", "DEVICES", "STATUS"))


def _agent(view: NodeView, now: float) -> str:
    if view.agent.hidden:
        return _UNSEEN
    if view.agent.renewed is None:
        return "none"
    ago = age(now - view.agent.renewed)
    return f"alive {ago} ago" if view.agent.alive(now) else f"silent for {ago}"


def drivers_table(views: Iterable[DriverView], now: float) -> Table:
    """SOURCE is who speaks: the driver itself, or another source of health for its devices."""
    rows = [
        (
            view.driver,
            view.node,
            view.source or "itself",
            view.state,
            age(now - view.since) if view.since is not None else "",
            f"{age(now - view.last_report)} ago" if view.last_report is not None else "never" if view.endpoint else "",
            str(view.devices),
            f"{view.smallest_lease:g}s" if view.smallest_lease is not None else "",
            ", ".join(f"{count} {reason}" for reason, count in sorted(view.refusals.items())) or ("none" if view.endpoint else ""),
            ", ".join(view.versions),
            view.endpoint,
        )
        for view in views
    ]
    header = ("DRIVER", "NODE", "SOURCE", "STATE", "SINCE", "LAST REPORT", "DEVICES", "LEASE", "REFUSALS", "VERSIONS", "ENDPOINT")
    return Table(header, rows, wide_from=9, least=("SINCE", "DEVICES", "REFUSALS", "LEASE", "SOURCE"))
