"""What an object must be to be stored: metadata, required fields, what may not change, by kind. Pure; sentences are upstream's.

Not all of upstream's rules: those a person's manifest or a client of the lab can break. What is not checked here is left to the
kubelet and scheduler.
"""

from collections.abc import Iterator
from typing import Any

from podvitals.lab.api import podrules, schema
from podvitals.lab.api.kinds import CLAIM_TEMPLATES, CLAIMS, EVENTS, LEASES, NAMESPACES, PODS, SLICES, Kind
from podvitals.lab.api.names import LABEL_NAME, NOT_A_KEY, NOT_A_LABEL_VALUE, NOT_A_SUBDOMAIN, SUBDOMAIN, name_fault
from podvitals.lab.api.refusal import Fault, forbidden, invalid, required
from podvitals.lab.api.schema import Body

STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
RESERVED_LIMIT = 256
ANNOTATIONS_LIMIT = 262_144
IMMUTABLE = "field is immutable"


def created(kind: Kind, data: Body) -> list[Fault]:
    faults = [*_metadata(kind, data["metadata"]), *_required(kind, data)]
    if kind is PODS:
        faults += podrules.spec(data.get("spec", {}))
    return [*faults, *_kind_rules(kind, data)]


def updated(kind: Kind, new: Body, old: Body, subresource: str) -> list[Fault]:
    """Objects stored earlier may be of a name that is refused now, so names are not looked at again."""
    faults = [*_labels(new["metadata"]), *_annotations(new["metadata"]), *_finalizers(new["metadata"])]
    faults += _new_finalizers(new["metadata"], old["metadata"])
    if kind is PODS and subresource == "status":
        return faults + podrules.status(new, old)
    if kind is PODS and subresource == "ephemeralcontainers":
        return faults + podrules.ephemeral(new["spec"], old["spec"])
    if kind is CLAIMS and subresource == "status":
        return [*faults, *_claim_status(new.get("status", {}), old.get("status", {}))]
    faults += [*_required(kind, new), *_kind_rules(kind, new)]
    if kind is PODS:
        return faults + podrules.updated_spec(new["spec"], old["spec"])
    return [*faults, *_immutable(kind, new, old)]


def warnings(kind: Kind, data: Body) -> list[str]:
    """What is allowed and still worth a word to whoever wrote it."""
    return podrules.warnings(data["spec"]) if kind is PODS else []


def _metadata(kind: Kind, meta: Body) -> Iterator[Fault]:
    name = meta.get("name", "")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif fault := name_fault("metadata.name", name, label=kind is NAMESPACES):
        yield fault
    yield from _labels(meta)
    yield from _annotations(meta)
    yield from _finalizers(meta)
    for at, owner in enumerate(meta.get("ownerReferences", ())):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield required(f"metadata.ownerReferences[{at}].{field}", "must not be empty")


def _labels(meta: Body) -> Iterator[Fault]:
    for key, value in meta.get("labels", {}).items():
        yield from _qualified("metadata.labels", key)
        if value and (len(value) > 63 or not LABEL_NAME.fullmatch(value)):
            yield invalid("metadata.labels", value, NOT_A_LABEL_VALUE)


def _annotations(meta: Body) -> Iterator[Fault]:
    annotations = meta.get("annotations", {})
    for key in annotations:
        yield from _qualified("metadata.annotations", key.lower())
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_LIMIT:
        yield Fault("metadata.annotations", f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes", "FieldValueTooLong")


def _qualified(path: str, key: str) -> Iterator[Fault]:
    prefix, _, name = key.rpartition("/")
    if prefix and not SUBDOMAIN.fullmatch(prefix):
        yield invalid(path, key, f"prefix part {NOT_A_SUBDOMAIN}")
    if len(name) > 63 or not LABEL_NAME.fullmatch(name):
        yield invalid(path, key, NOT_A_KEY)


def _new_finalizers(new: Body, old: Body) -> Iterator[Fault]:
    added = [name for name in new.get("finalizers", ()) if name not in old.get("finalizers", ())]
    if added and "deletionTimestamp" in new:
        shown = ", ".join(f'"{name}"' for name in added)
        why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
        yield forbidden("metadata.finalizers", why)


def _finalizers(meta: Body) -> Iterator[Fault]:
    for at, name in enumerate(meta.get("finalizers", ())):
        if "/" not in name and name not in STANDARD_FINALIZERS:
            yield invalid(f"metadata.finalizers[{at}]", name, "name is neither a standard finalizer name nor is it fully qualified")


def _required(kind: Kind, data: Body) -> Iterator[Fault]:
    """Fields upstream's OpenAPI calls required, in the spec only: a status is written by programs, whose zero values count."""
    field = schema.fields(kind.definition).get("spec")
    if field is None:
        return
    if field.required and "spec" not in data:
        yield required("spec")
    yield from _missing(field.shape, data.get("spec"), "spec")


def _missing(shape: schema.Shape, value: Any, path: str) -> Iterator[Fault]:
    if isinstance(value, dict) and shape.kind == "struct":
        for name, field in schema.fields(shape.name).items():
            if value.get(name, "") != "":
                yield from _missing(field.shape, value[name], f"{path}.{name}")
            elif field.required:
                yield required(f"{path}.{name}")
    elif isinstance(value, list) and shape.item:
        for at, part in enumerate(value):
            yield from _missing(shape.item, part, f"{path}[{at}]")
    elif isinstance(value, dict) and shape.item:
        for key, part in value.items():
            yield from _missing(shape.item, part, f"{path}[{key}]")


def _kind_rules(kind: Kind, data: Body) -> Iterator[Fault]:
    if kind is SLICES:
        yield from _slice(data.get("spec", {}))
    elif kind is CLAIMS:
        yield from _claim(data.get("spec", {}), "spec")
    elif kind is CLAIM_TEMPLATES:
        yield from _claim(data.get("spec", {}).get("spec", {}), "spec.spec")
    elif kind is LEASES and data.get("spec", {}).get("leaseDurationSeconds", 1) <= 0:
        yield invalid("spec.leaseDurationSeconds", data["spec"]["leaseDurationSeconds"], "must be greater than 0")
    elif kind is EVENTS:
        namespace = data.get("involvedObject", {}).get("namespace", "")
        if (namespace or "default") != data["metadata"].get("namespace") and not (
            not namespace and data["metadata"].get("namespace") == "kube-system"
        ):
            yield invalid("involvedObject.namespace", namespace, "does not match event.namespace")


def _slice(spec: Body) -> Iterator[Fault]:
    devices = spec.get("devices", ())
    if len(devices) > 128:
        yield Fault("spec.devices", f"Too many: {len(devices)}: must have at most 128 items", "FieldValueTooMany")
    if spec.get("driver") and (fault := name_fault("spec.driver", spec["driver"])):
        yield fault
    if sum(1 for name in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection") if spec.get(name)) != 1:
        yield required("spec", "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required")
    if spec.get("pool", {}).get("resourceSliceCount", 1) < 1:
        yield invalid("spec.pool.resourceSliceCount", spec["pool"]["resourceSliceCount"], "must be greater than zero")
    seen: set[str] = set()
    for at, device in enumerate(devices):
        name = device.get("name", "")
        if fault := name_fault(f"spec.devices[{at}].name", name, label=True):
            yield fault
        if name in seen:
            yield Fault(f"spec.devices[{at}]", f'Duplicate value: "{name}"', "FieldValueDuplicate")
        seen.add(name)


def _claim(spec: Body, path: str) -> Iterator[Fault]:
    names = [request.get("name", "") for request in spec.get("devices", {}).get("requests", ())]
    for at, request in enumerate(spec.get("devices", {}).get("requests", ())):
        here = f"{path}.devices.requests[{at}]"
        if names.index(names[at]) != at:
            yield Fault(here, f'Duplicate value: "{names[at]}"', "FieldValueDuplicate")
        if names[at] and (fault := name_fault(f"{here}.name", names[at], label=True)):
            yield fault
        if sum(1 for name in ("exactly", "firstAvailable") if request.get(name)) != 1:
            yield required(here, "exactly one of `exactly` or `firstAvailable` is required")


def _claim_status(new: Body, old: Body) -> Iterator[Fault]:
    if new.get("reservedFor") and "allocation" not in new:
        yield forbidden("status.reservedFor", "may not be specified when `allocated` is not set")
    if len(new.get("reservedFor", ())) > RESERVED_LIMIT:
        yield Fault(
            "status.reservedFor", f"Too many: {len(new['reservedFor'])}: must have at most {RESERVED_LIMIT} items", "FieldValueTooMany"
        )
    if "allocation" in old and "allocation" in new and new["allocation"] != old["allocation"]:
        yield invalid("status.allocation", "{…}", IMMUTABLE)


def _immutable(kind: Kind, new: Body, old: Body) -> Iterator[Fault]:
    if kind in (CLAIMS, CLAIM_TEMPLATES) and new.get("spec") != old.get("spec"):
        yield invalid("spec", "{…}", IMMUTABLE)
    if kind is SLICES:
        for path in (("nodeName",), ("driver",), ("pool", "name")):
            before, after = old["spec"], new["spec"]
            for step in path:
                before, after = (before or {}).get(step), (after or {}).get(step)
            if before != after:
                yield invalid(f"spec.{'.'.join(path)}", str(after), IMMUTABLE)
    if (
        kind.kind in ("ConfigMap", "Secret")
        and old.get("immutable")
        and any(new.get(part) != old.get(part) for part in ("data", "binaryData"))
    ):
        yield forbidden("data", "field is immutable when `immutable` is set")
