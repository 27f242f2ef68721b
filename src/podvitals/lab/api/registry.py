"""The rules of a write: create, update, patch, bind. Pure but for the wall clock and the source of uids, which it is given.

A write is: decode (unknown fields) → carry over what this path may not touch → defaults → validate → store, unless nothing changed or
it is a dry run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from podvitals.lab.api import defaults, jsonpatch, schema, strategic, validate
from podvitals.lab.api.kinds import EVENTS, LEASES, NAMESPACES, PODS, Kind
from podvitals.lab.api.refusal import Fault, Refusal, already_exists, conflict, invalid, not_found, unprocessable
from podvitals.lab.api.schema import Body
from podvitals.lab.api.store import Item, Key, Store, encode

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
CREATE_ON_UPDATE = frozenset({LEASES, EVENTS})
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


@dataclass(slots=True)
class Options:
    """Of one request. `validation` is fieldValidation: Strict refuses unknown fields, Warn collects `warnings`, Ignore drops them."""

    dry_run: bool = False
    validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)


def timestamp(wall: float) -> str:
    """RFC 3339, UTC, whole seconds: metav1.Time."""
    return datetime.fromtimestamp(int(wall), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Registry:
    """`finish` is asked when a write takes the last finalizer of an object marked for deletion: True: it went instead of being written."""

    def __init__(self, store: Store, wall: Callable[[], float], new_uid: Callable[[], str], choose: Callable[[str], str]) -> None:
        self.store = store
        self.wall = wall
        self._new_uid = new_uid
        self._choose = choose
        self.created: Callable[[Kind, Item], None] = lambda kind, item: None
        self.finish: Callable[[Kind, Item], bool] = lambda kind, item: False

    def read(self, target: Target) -> Item:
        item = self.store.get(target.kind, target.key)
        if item is None:
            raise not_found(target.kind.plural, target.kind.group, target.name)
        return item

    def create(self, target: Target, body: Body, options: Options) -> Item:
        kind = target.kind
        data = self._decode(kind, body, options)
        meta = self._place(target, data)
        if "name" not in meta and meta.get("generateName"):
            meta["name"] = meta["generateName"][:58] + "".join(self._choose(SUFFIX_LETTERS) for _ in range(5))
        for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink", "managedFields"):
            meta.pop(name, None)
        meta["uid"], meta["creationTimestamp"] = self._new_uid(), timestamp(self.wall())
        defaults.fill(kind, data)
        defaults.start(kind, data)
        self._refuse(kind, meta.get("name", ""), validate.created(kind, data))
        self._namespace_is_open(target, meta["name"])
        key = Key(meta.get("namespace", ""), meta["name"])
        if self.store.get(kind, key) is not None:
            raise already_exists(kind.plural, kind.group, key.name)
        options.warnings.extend(validate.warnings(kind, data))
        if options.dry_run:
            return Item(data, 0, encode(data))
        item = self.store.put(kind, data)
        self.created(kind, item)
        return item

    def update(self, target: Target, body: Body, options: Options) -> tuple[Item, bool]:
        """PUT: the object as stored, and whether it was created (leases and events are, by upstream's rule)."""
        data = self._decode(target.kind, body, options)
        meta = self._place(target, data)
        old = self.store.get(target.kind, target.key)
        if old is None:
            if target.kind not in CREATE_ON_UPDATE or target.subresource:
                raise not_found(target.kind.plural, target.kind.group, target.name)
            return self.create(target, data, options), True
        uid = meta.get("uid", "")
        if uid not in ("", old.meta["uid"]):
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.meta['uid']}"
            raise conflict(target.kind.plural, target.kind.group, target.name, why)
        if not meta.get("resourceVersion") and target.kind is LEASES:
            fault = invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise unprocessable(target.kind.plural, target.kind.group, target.name, [fault])
        return self._write(target, old, data, options), False

    def patch(self, target: Target, content_type: str, patch: Any, options: Options) -> Item:
        old = self.read(target)
        patched = self._patched(target.kind, old.copy(), content_type, patch)
        if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
            raise Refusal(400, "the patch leaves no object")
        data = self._decode_patched(target, patched, options)
        self._place(target, data)
        if data["metadata"].get("uid") != old.meta["uid"]:
            self._refuse(target.kind, target.name, [invalid("metadata.uid", data["metadata"].get("uid", ""), "field is immutable")])
        return self._write(target, old, data, options)

    def _patched(self, kind: Kind, data: Body, content_type: str, patch: Any) -> Any:
        if content_type == JSON_PATCH:
            return jsonpatch.apply(data, patch)
        if not isinstance(patch, dict):
            raise Refusal(400, "error decoding patch: a merge patch is a JSON object")
        return jsonpatch.merge(data, patch) if content_type == MERGE else strategic.apply(kind.definition, data, patch)

    def bind(self, target: Target, body: Body, options: Options) -> None:
        """pods/binding: the scheduler's word, which may be given once."""
        decoded = self._decode(target.kind, body, options, definition="core.v1.Binding")
        if decoded["metadata"].get("name") != target.name:
            raise Refusal(400, "name in URL does not match name in Binding object")
        old, node = self.read(target), decoded.get("target", {})
        if not node.get("name") or node.get("kind", "Node") != "Node":
            raise Refusal(422, f'Binding "{target.name}" is invalid: target.name: Required value: the name of a Node')
        why = ""
        if old.meta.get("deletionTimestamp"):
            why = f"pod {target.name} is being deleted, cannot be assigned to a host"
        elif old.data["spec"].get("nodeName"):
            why = f'pod {target.name} is already assigned to node "{old.data["spec"]["nodeName"]}"'
        elif old.data["spec"].get("schedulingGates"):
            why = f"pod {target.name} has non-empty .spec.schedulingGates"
        if why:
            raise conflict("pods/binding", "", target.name, why)
        data = old.copy()
        data["spec"]["nodeName"] = node["name"]
        if annotations := decoded["metadata"].get("annotations"):
            data["metadata"]["annotations"] = data["metadata"].get("annotations", {}) | annotations
        conditions = [each for each in data["status"].get("conditions", ()) if each["type"] != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp(self.wall())}
        data["status"]["conditions"] = [*conditions, {name: value for name, value in scheduled.items() if value}]
        if not options.dry_run:
            self.store.put(PODS, data)

    def _decode(self, kind: Kind, body: Body, options: Options, *, definition: str = "") -> Body:
        expected = definition.rsplit(".", 1)[-1] or kind.kind
        if body.get("kind", expected) != expected or (not definition and body.get("apiVersion", kind.api_version) != kind.api_version):
            found = f"{body.get('kind')} in version {body.get('apiVersion')}"
            raise Refusal(400, f"the object provided is a {found}, and this path takes a {kind.kind} in version {kind.api_version}")
        decoded = schema.decode(definition or kind.definition, body)
        head = f'{expected} in version "{kind.version}" cannot be handled as a {expected}'
        if decoded.wrong:
            raise Refusal(400, f"{head}: json: {'; '.join(decoded.wrong)}")
        if decoded.unknown and options.validation == "Strict":
            raise Refusal(400, f"{head}: strict decoding error: {_unknown(decoded.unknown)}")
        if options.validation == "Warn":
            options.warnings.extend(f'unknown field "{path}"' for path in decoded.unknown)
        return _normal(kind, decoded.value)

    def _decode_patched(self, target: Target, patched: Body, options: Options) -> Body:
        decoded = schema.decode(target.kind.definition, patched)
        if decoded.wrong:
            raise Refusal(422, f' "" is invalid: patch: Invalid value: {"; ".join(decoded.wrong)}')
        if decoded.unknown and options.validation == "Strict":
            raise unprocessable("", "", "", [Fault("patch", f"Invalid value: strict decoding error: {_unknown(decoded.unknown)}")])
        if options.validation == "Warn":
            options.warnings.extend(f'unknown field "{path}"' for path in decoded.unknown)
        return _normal(target.kind, decoded.value)

    def _place(self, target: Target, data: Body) -> Body:
        """Name and namespace of the path and of the object must agree; the path's namespace is taken where the object has none."""
        meta: Body = data["metadata"]
        if target.kind.namespaced:
            if meta.setdefault("namespace", target.namespace) != target.namespace:
                raise Refusal(400, "the namespace of the provided object does not match the namespace sent on the request")
        else:
            meta.pop("namespace", None)
        if target.name and meta.setdefault("name", target.name) != target.name:
            raise Refusal(400, f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})")
        return meta

    def _namespace_is_open(self, target: Target, name: str) -> None:
        if not target.kind.namespaced:
            return
        namespace = self.store.get(NAMESPACES, Key("", target.namespace))
        if namespace is None:
            raise not_found("namespaces", "", target.namespace)
        if namespace.meta.get("deletionTimestamp"):
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            raise Refusal(403, f'{target.kind.plural} "{name}" is forbidden: {why}')

    def _write(self, target: Target, old: Item, data: Body, options: Options) -> Item:
        kind, meta = target.kind, data["metadata"]
        if meta.get("resourceVersion", old.meta["resourceVersion"]) != old.meta["resourceVersion"]:
            raise conflict(kind.plural, kind.group, target.name)
        for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation"):
            if name in old.meta:
                meta[name] = old.meta[name]
            else:
                meta.pop(name, None)
        defaults.fill(kind, data)
        defaults.carry(kind, data, old.data, target.subresource)
        self._refuse(kind, target.name, validate.updated(kind, data, old.data, target.subresource))
        if data == old.data:
            return old
        if options.dry_run:
            return Item(data, old.version, encode(data))
        ends = "deletionTimestamp" in meta and not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds")
        if ends and self.finish(kind, old):
            return Item(data, old.version, encode(data))
        return self.store.put(kind, data)

    def _refuse(self, kind: Kind, name: str, faults: list[Fault]) -> None:
        if faults:
            raise unprocessable(kind.kind, kind.group, name, faults)


def _unknown(paths: tuple[str, ...]) -> str:
    return ", ".join(f'unknown field "{path}"' for path in paths)


def _normal(kind: Kind, value: Body) -> Body:
    """apiVersion and kind first, as people expect to read it; managedFields are not kept."""
    value.setdefault("metadata", {}).pop("managedFields", None)
    head = {"apiVersion": kind.api_version, "kind": kind.kind}
    return {**head, **{name: part for name, part in value.items() if name not in head}}
