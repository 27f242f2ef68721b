"""What `kubectl get` prints: the columns the server computes for each kind, as upstream's printers do. Pure."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from podvitals.lab.api.kinds import CLAIMS, CONFIG_MAPS, EVENTS, LEASES, NAMESPACES, NODES, PODS, SECRETS, SERVICES, SLICES, Kind
from podvitals.lab.api.podrow import pod_cells
from podvitals.lab.api.schema import Body

Cells = list[Any]

NONE = "<none>"
NAME = ("Name", "")
AGE = ("Age", "")
COLUMNS: dict[Kind, tuple[tuple[str, str], ...]] = {
    PODS: (
        NAME,
        ("Ready", ""),
        ("Status", ""),
        ("Restarts", ""),
        AGE,
        ("IP", "wide"),
        ("Node", "wide"),
        ("Nominated Node", "wide"),
        ("Readiness Gates", "wide"),
    ),
    NODES: (
        NAME,
        ("Status", ""),
        ("Roles", ""),
        AGE,
        ("Version", ""),
        ("Internal-IP", "wide"),
        ("External-IP", "wide"),
        ("OS-Image", "wide"),
        ("Kernel-Version", "wide"),
        ("Container-Runtime", "wide"),
    ),
    EVENTS: (
        ("Last Seen", ""),
        ("Type", ""),
        ("Reason", ""),
        ("Object", ""),
        ("Subobject", "wide"),
        ("Source", "wide"),
        ("Message", ""),
        ("First Seen", "wide"),
        ("Count", "wide"),
        ("Name", "wide"),
    ),
    NAMESPACES: (NAME, ("Status", ""), AGE),
    CLAIMS: (NAME, ("State", ""), AGE),
    SLICES: (NAME, ("Node", ""), ("Driver", ""), ("Pool", ""), AGE),
    LEASES: (NAME, ("Holder", ""), AGE),
    CONFIG_MAPS: (NAME, ("Data", ""), AGE),
    SECRETS: (NAME, ("Type", ""), ("Data", ""), AGE),
    SERVICES: (NAME, ("Type", ""), ("Cluster-IP", ""), ("External-IP", ""), ("Port(s)", ""), AGE, ("Selector", "wide")),
}


def definitions(kind: Kind) -> list[Body]:
    """Columns as TableColumnDefinitions; `wide` ones have priority 1."""
    return [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": 1 if width else 0,
        }
        for name, width in COLUMNS.get(kind, (NAME, AGE))
    ]


def row(kind: Kind, data: Body, now: float) -> Cells:
    """The cells of one object at Unix second `now`, wide columns included (kubectl leaves them out unless asked)."""
    meta = data["metadata"]
    age = since(meta.get("creationTimestamp"), now)
    if kind is PODS:
        return pod_cells(data, age, lambda when: since(when, now))
    if kind is EVENTS:
        return _event(data, now)
    make = MIDDLE.get(kind)
    middle = make(data) if make else []
    if kind is NODES:
        return [meta["name"], *middle[:2], age, *middle[2:]]
    if kind is SERVICES:
        return [meta["name"], *middle[:4], age, *middle[4:]]
    return [meta["name"], *middle, age]


def since(when: str | None, now: float) -> str:
    """The age of an RFC 3339 time as kubectl writes it: 45s, 3m12s, 5h, 2d4h."""
    if not when:
        return "<unknown>"
    try:
        begun = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return "<invalid>"
    return duration(int(now - begun))


def duration(seconds: int) -> str:
    """apimachinery's HumanDuration."""
    if seconds < 0:
        return "<invalid>" if seconds < -1 else "0s"
    minutes, hours = seconds // 60, seconds // 3600
    days = hours // 24
    steps = (
        (seconds < 120, f"{seconds}s"),
        (minutes < 10, _two(minutes, "m", seconds % 60, "s")),
        (minutes < 180, f"{minutes}m"),
        (hours < 8, _two(hours, "h", minutes % 60, "m")),
        (hours < 48, f"{hours}h"),
        (days < 8, _two(days, "d", hours % 24, "h")),
        (days < 730, f"{days}d"),
        (days < 365 * 8, _two(days // 365, "y", days % 365, "d")),
    )
    return next((text for applies, text in steps if applies), f"{days // 365}y")


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def _node(data: Body) -> Cells:
    status, labels = data.get("status", {}), data["metadata"].get("labels", {})
    ready = next((each["status"] for each in status.get("conditions", ()) if each["type"] == "Ready"), None)
    state = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    if data.get("spec", {}).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(
        {key.removeprefix(prefix) for key in labels if key.startswith(prefix) and key != prefix} | {labels.get("kubernetes.io/role", "")}
    )
    info = status.get("nodeInfo", {})
    kernel = info.get("kernelVersion") or "<unknown>"
    if info.get("architecture"):
        kernel += f" ({info['architecture']})"
    return [
        state,
        ",".join(role for role in roles if role) or NONE,
        info.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or "<unknown>",
        kernel,
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _address(status: Body, kind: str) -> str:
    return next((each["address"] for each in status.get("addresses", ()) if each["type"] == kind), NONE)


def _claim(data: Body) -> Cells:
    status, going = data.get("status", {}), "deletionTimestamp" in data["metadata"]
    states = ["deleted"] if going else []
    if "allocation" in status:
        states += ["allocated", *(["reserved"] if status.get("reservedFor") else [])]
    elif not going:
        states.append("pending")
    return [",".join(states)]


def _slice(data: Body) -> Cells:
    spec = data.get("spec", {})
    return [spec.get("nodeName", ""), spec.get("driver", ""), spec.get("pool", {}).get("name", "")]


def _service(data: Body) -> Cells:
    spec = data.get("spec", {})
    return [spec.get("type", "ClusterIP"), spec.get("clusterIP", NONE), NONE, NONE, NONE]


def _event(data: Body, now: float) -> Cells:
    series, source, about = data.get("series", {}), data.get("source", {}), data.get("involvedObject", {})
    first = since(data.get("firstTimestamp") or data.get("eventTime"), now)
    last = since(data.get("lastTimestamp"), now) if data.get("lastTimestamp") else first
    if series:
        last = since(series.get("lastObservedTime"), now)
    target = about.get("kind", "").lower() + (f"/{about['name']}" if about.get("name") else "")
    origin = [source.get("component") or data.get("reportingComponent", ""), source.get("host") or data.get("reportingInstance", "")]
    return [
        last,
        data.get("type", ""),
        data.get("reason", ""),
        target,
        about.get("fieldPath", ""),
        ", ".join(part for part in origin if part),
        data.get("message", "").strip(),
        first,
        series.get("count") or data.get("count") or 1,
        data["metadata"]["name"],
    ]


MIDDLE: dict[Kind, Callable[[Body], Cells]] = {
    NODES: _node,
    NAMESPACES: lambda data: [data.get("status", {}).get("phase", "")],
    CLAIMS: _claim,
    SLICES: _slice,
    LEASES: lambda data: [data.get("spec", {}).get("holderIdentity", "")],
    CONFIG_MAPS: lambda data: [len(data.get("data", {})) + len(data.get("binaryData", {}))],
    SECRETS: lambda data: [data.get("type", ""), len(data.get("data", {}))],
    SERVICES: _service,
}
