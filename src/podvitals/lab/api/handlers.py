"""What each verb does, between the HTTP request and the registry. Knows bytes, headers and queries; the rules are elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from podvitals.lab.api import discovery, openapi, query, views
from podvitals.lab.api.deletion import Deletion
from podvitals.lab.api.kinds import CLAIM_TEMPLATES, CLAIMS, DEVICE_CLASSES, GROUPS, NAMESPACES, PODS, SERVICE_ACCOUNTS, SLICES
from podvitals.lab.api.listing import Lister
from podvitals.lab.api.refusal import Refusal, no_such_path, not_found
from podvitals.lab.api.registry import JSON_PATCH, MERGE, STRATEGIC, Options, Registry, Target
from podvitals.lab.api.schema import Body
from podvitals.lab.api.store import Item, encode
from podvitals.lab.api.views import View

# Whoever deletes one of these is answered with its last state, else with a Status (upstream's ReturnDeletedObject).
RETURNED = frozenset({PODS, SERVICE_ACCOUNTS, NAMESPACES, CLAIMS, CLAIM_TEMPLATES, SLICES, DEVICE_CLASSES})
PROTOBUF = "application/vnd.kubernetes.protobuf"
NO_PROTOBUF = (
    f"the lab's API server reads JSON, not protobuf bodies ({PROTOBUF}), which kubectl's generators (create namespace, …) send: write "
    "a manifest and use kubectl create -f or kubectl apply -f"
)
NO_APPLY = "the lab's API server keeps no field ownership, so it refuses server-side apply: use kubectl apply without --server-side"


@dataclass(frozen=True, slots=True)
class Call:
    """A request, read whole."""

    method: str
    target: Target
    query: Mapping[str, str]
    accept: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    code: int = 200
    content_type: str = "application/json"
    warnings: list[str] = field(default_factory=list)


class Handlers:
    def __init__(self, registry: Registry, wall: Callable[[], float]) -> None:
        self.registry = registry
        self.deletion = Deletion(registry)
        self._lister = Lister(registry.store)
        self._wall = wall

    def preload(self, namespaces: tuple[str, ...]) -> None:
        """What a fresh cluster has."""
        for name in namespaces:
            self._create(Target(NAMESPACES), {"metadata": {"name": name}}, Options())

    def answer(self, call: Call) -> Answer:
        """Everything but watches and logs, which stream."""
        target = call.target
        verb = self._verb(call)
        if verb not in target.kind.verbs and not target.subresource:
            message = f"the lab's API server does not allow {verb} on {target.kind.plural}"
            raise Refusal(405, message, reason="MethodNotAllowed")
        view = views.negotiate(call.accept, call.query.get("includeObject", ""))
        match verb:
            case "list":
                return self._list(call, view)
            case "get":
                return self._one(call, view, self.registry.read(target))
            case "create":
                return self._post(call, view)
            case "update":
                options = query.writing(call.query)
                item, created = self.registry.update(target, _json(call), options)
                return self._one(call, view, item, 201 if created else 200, options)
            case "patch":
                return self._patch(call, view)
            case "delete":
                return self._delete(call, view)
        return self._delete_collection(call, view)

    def _verb(self, call: Call) -> str:
        named, subresource = bool(call.target.name), call.target.subresource
        match call.method:
            case "GET":
                verb = "get" if named else "list"
            case "POST" if not named or subresource in ("binding", "eviction"):
                verb = "create"
            case "PUT" if named:
                verb = "update"
            case "PATCH" if named:
                verb = "patch"
            case "DELETE" if not subresource:
                verb = "delete" if named else "deletecollection"
            case _:
                verb = ""
        if not verb or (subresource and verb not in discovery.SUBRESOURCE_VERBS[subresource]):
            raise Refusal(405, "the server does not allow this method on the requested resource", reason="MethodNotAllowed")
        return verb

    def _one(self, call: Call, view: View, item: Item, code: int = 200, options: Options | None = None) -> Answer:
        body = views.one(view, call.target.kind, item, self._wall())
        return Answer(body, code, warnings=options.warnings if options else [])

    def _list(self, call: Call, view: View) -> Answer:
        page = self._lister.page(call.target, query.listing(call.target, call.query))
        return Answer(views.many(view, call.target.kind, page.items, page.meta, self._wall()))

    def _post(self, call: Call, view: View) -> Answer:
        target, options = call.target, query.writing(call.query)
        body = _json(call)
        if target.subresource == "binding":
            self.registry.bind(target, body, options)
            return Answer(_success(), 201)
        if target.subresource == "eviction":
            self.deletion.evict(target, query.deleting(call.query, body.get("deleteOptions")))
            return Answer(_success(), 201)
        if target.kind.namespaced and not target.namespace:
            raise Refusal(405, "the server does not allow this method on the requested resource", reason="MethodNotAllowed")
        return self._one(call, view, self._create(target, body, options), 201, options)

    def _create(self, target: Target, body: Body, options: Options) -> Item:
        item = self.registry.create(target, body, options)
        if target.kind is NAMESPACES and not options.dry_run:
            account = Target(SERVICE_ACCOUNTS, item.meta["name"])
            self.registry.create(account, {"metadata": {"name": "default"}}, Options())
        return item

    def _patch(self, call: Call, view: View) -> Answer:
        if "apply-patch" in call.content_type:
            raise Refusal(415, NO_APPLY)
        if call.content_type not in (MERGE, JSON_PATCH, STRATEGIC):
            message = f"the body of the request was in an unknown format - accepted media types include: {JSON_PATCH}, {MERGE}, {STRATEGIC}"
            raise Refusal(415, message)
        options = query.writing(call.query)
        patch = _decoded(call.body, "error decoding patch")
        return self._one(call, view, self.registry.patch(call.target, call.content_type, patch, options), 200, options)

    def _delete(self, call: Call, view: View) -> Answer:
        body = _json(call) if call.body else None
        outcome = self.deletion.delete(call.target, query.deleting(call.query, body))
        if outcome.gone and call.target.kind not in RETURNED:
            kind, meta = call.target.kind, outcome.item.meta
            details = {"name": meta["name"], "group": kind.group, "kind": kind.plural, "uid": meta["uid"]}
            return Answer(_success({name: value for name, value in details.items() if value}))
        return self._one(call, view, outcome.item)

    def _delete_collection(self, call: Call, view: View) -> Answer:
        body = _json(call) if call.body else None
        wish = query.deleting(call.query, body)
        page = self._lister.page(call.target, query.listing(call.target, call.query))
        for item in page.items:
            namespace, name = item.key
            if self.registry.store.get(call.target.kind, item.key) is not None:
                self.deletion.delete(Target(call.target.kind, namespace, name), wish)
        return Answer(views.many(view, call.target.kind, page.items, page.meta, self._wall()))


def about(words: tuple[str, ...], accept: str, prefix: str, address: str) -> Answer:
    """Discovery, health and version: every path that is not about objects."""
    wants_aggregated = "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace(" ", "") + ";"
    match words:
        case ("healthz" | "livez" | "readyz",):
            return Answer(b"ok", content_type="text/plain")
        case ("version",):
            return Answer(encode(discovery.VERSION))
        case ("api",) | ("apis",) if wants_aggregated:
            body = encode(discovery.aggregated(core=words[0] == "api"))
            return Answer(body, content_type=discovery.AGGREGATED)
        case ("api",):
            return Answer(encode(discovery.legacy_versions(address)))
        case ("apis",):
            return Answer(encode(discovery.groups()))
        case ("apis", group) if group in GROUPS:
            return Answer(encode({"kind": "APIGroup", "apiVersion": "v1"} | discovery.group(group)))
        case ("api", version) if found := discovery.resources("", version):
            return Answer(encode(found))
        case ("apis", group, version) if found := discovery.resources(group, version):
            return Answer(encode(found))
        case ("openapi", "v3"):
            return Answer(encode(openapi.paths(prefix)))
        case ("openapi", "v3", "api", "v1"):
            return Answer(encode(openapi.document("")))
        case ("openapi", "v3", "apis", group, "v1") if group in GROUPS:
            return Answer(encode(openapi.document(group)))
        case ("openapi", "v2"):
            raise not_found("openapi", "", "v2")
    raise no_such_path()


def _success(details: Body | None = None) -> bytes:
    body: Body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return encode(body | ({"details": details} if details else {"code": 201}))


def _json(call: Call) -> Body:
    if call.content_type == PROTOBUF:
        raise Refusal(415, NO_PROTOBUF)
    if call.content_type not in ("application/json", ""):
        raise Refusal(415, f"the lab's API server reads application/json, not {call.content_type}")
    body = _decoded(call.body, "the object provided is unrecognized")
    if not isinstance(body, dict) or not isinstance(body.get("metadata", {}), dict):
        raise Refusal(400, "the object provided is unrecognized: it is no JSON object with metadata")
    return body


def _decoded(body: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Refusal(400, f"{what}: {error}") from None
