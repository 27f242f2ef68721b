"""The same views for machines: what -o json and -o yaml print. Field names stay from one release to the next; times are RFC 3339, UTC."""

from datetime import datetime
from typing import Any

from podvitals.cli.output import stamp
from podvitals.fleet.devices import DeviceView, NodeView
from podvitals.fleet.drivers import DriverView
from podvitals.fleet.inventory import PodView, device_name
from podvitals.pod.cause import Cause
from podvitals.pod.entry import DeviceEntry, FaultEntry

Document = dict[str, Any]


def pod_document(view: PodView) -> Document:
    return {
        "kind": "PodVitals",
        "namespace": view.pod.metadata.namespace,
        "name": view.pod.metadata.name,
        "uid": view.pod.metadata.uid,
        "node": view.pod.spec.node_name,
        "phase": view.pod.status.phase,
        "health": str(view.health) if view.health else None,
        "source": str(view.source),
        "agent": {"node": view.agent.node, "lastSeen": _time(view.agent.renewed), "silent": view.silent},
        "kubeletField": str(view.agreement),
        "devices": [entry_document(entry) for entry in view.entries],
        "omitted": {"healthy": view.omitted.healthy, "unknown": view.omitted.unknown, "unhealthy": view.omitted.unhealthy},
        "exits": [_cause_document(cause) for cause in view.causes],
    }


def entry_document(entry: DeviceEntry) -> Document:
    return {
        "name": device_name(entry),
        "container": entry.container,
        "claim": entry.claim,
        "request": entry.request,
        "driver": entry.driver,
        "pool": entry.pool,
        "device": entry.device,
        "health": str(entry.health),
        "message": entry.message,
        "action": entry.action,
        "since": _time(entry.since),
        "faults": [fault_document(fault) for fault in entry.faults],
    }


def fault_document(fault: FaultEntry) -> Document:
    return {
        "health": str(fault.health),
        "message": fault.message,
        "action": fault.action,
        "from": _time(fault.start),
        "to": _time(fault.until),
        "afterEnd": fault.after_end,
    }


def _cause_document(cause: Cause) -> Document:
    return {
        "container": cause.exit.container,
        "exitCode": cause.exit.code,
        "reason": cause.exit.reason,
        "finishedAt": _time(cause.exit.finished),
        "verdict": str(cause.verdict),
        "device": device_name(cause.entry) if cause.entry else None,
        "fault": fault_document(cause.fault) if cause.fault else None,
        "why": cause.why,
    }


def device_document(view: DeviceView) -> Document:
    return {
        "kind": "DeviceVitals",
        "name": str(view.key),
        "driver": view.key.driver,
        "pool": view.key.pool,
        "device": view.key.device,
        "node": view.node,
        "health": str(view.health) if view.health else None,
        "message": view.message,
        "action": view.action,
        "since": _time(view.since),
        "holders": None if view.holders is None else list(view.holders),
        "published": view.published,
        "attributes": dict(view.attributes),
        "faults": [fault_document(fault) for fault in view.faults],
        "source": view.speaker,
    }


def driver_document(view: DriverView) -> Document:
    return {
        "kind": "DriverVitals",
        "driver": view.driver,
        "node": view.node,
        "state": str(view.voice),
        "trouble": view.trouble,
        "source": view.source,
        "endpoint": view.endpoint,
        "versions": list(view.versions),
        "since": _time(view.since),
        "lastReport": _time(view.last_report),
        "devices": view.devices,
        "smallestLeaseSeconds": view.smallest_lease,
        "refusals": dict(view.refusals),
    }


def node_document(view: NodeView, now: float) -> Document:
    return {
        "kind": "NodeVitals",
        "name": view.name,
        "ready": view.ready,
        "agent": {"lastSeen": _time(view.agent.renewed), "alive": view.agent.alive(now)},
        "drivers": list(view.drivers),
        "devices": view.devices,
        "unhealthy": view.broken,
        "unknown": view.unknown,
        "podsAffected": view.affected,
    }


def _time(moment: datetime | float | None) -> str | None:
    if moment is None:
        return None
    return stamp(moment.timestamp() if isinstance(moment, datetime) else moment)
