"""OpenAPI v3 of what is served: `kubectl apply` patches by its merge keys and learns of fieldValidation; `explain` lists fields. Pure."""

from functools import cache

from podvitals.lab.api import schema
from podvitals.lab.api.kinds import GROUPS, KINDS, Kind
from podvitals.lab.api.schema import Body

NOT_KEPT = "(the lab's API server keeps names and types of fields, not their descriptions)"
JSON_TYPES: dict[str, Body] = {
    "string": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "quantity": {"type": "string"},
    "intorstring": {"x-kubernetes-int-or-string": True},
    "int": {"type": "integer"},
    "number": {"type": "number"},
    "bool": {"type": "boolean"},
    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}
QUERY_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "pretty")


def paths(prefix: str) -> Body:
    """/openapi/v3: where the document of each group is."""
    names = ["api/v1", *(f"apis/{group}/v1" for group in GROUPS)]
    return {"paths": {name: {"serverRelativeURL": f"{prefix}/openapi/v3/{name}"} for name in names}}


@cache
def document(group: str) -> Body:
    """The document of one group, "" being the core."""
    kinds = [kind for kind in KINDS if kind.group == group]
    wanted = [kind.definition for kind in kinds]
    made: dict[str, Body] = {}
    while wanted:
        name = wanted.pop()
        if name not in made:
            made[name] = _definition(name, wanted)
    for kind in kinds:
        made[kind.definition]["x-kubernetes-group-version-kind"] = [_gvk(kind)]
    operations = {path: operation for kind in kinds for path, operation in _operations(kind).items()}
    info = {"title": "podvitals lab", "version": "v1.37.2"}
    components = {"schemas": {_full(name): body for name, body in made.items()}}
    return {"openapi": "3.0.0", "info": info, "paths": operations, "components": components}


def _gvk(kind: Kind) -> Body:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _full(name: str) -> str:
    if name.startswith("meta."):
        return f"io.k8s.apimachinery.pkg.apis.{name}"
    return f"io.k8s.api.{name}"


def _definition(name: str, wanted: list[str]) -> Body:
    fields = schema.fields(name)
    body: Body = {"type": "object", "description": NOT_KEPT, "properties": {key: _property(each, wanted) for key, each in fields.items()}}
    needed = [key for key, each in fields.items() if each.required]
    return body | ({"required": needed} if needed else {})


def _property(field: schema.Field, wanted: list[str]) -> Body:
    body = _type(field.shape, wanted)
    strategies = [word for word, on in (("merge", field.merge or field.merge_key), ("retainKeys", field.retain_keys)) if on]
    if strategies:
        body["x-kubernetes-patch-strategy"] = ",".join(strategies)
    if field.merge_key:
        body["x-kubernetes-patch-merge-key"] = field.merge_key
    return body


def _type(shape: schema.Shape, wanted: list[str]) -> Body:
    if shape.kind == "list" and shape.item:
        return {"type": "array", "items": _type(shape.item, wanted)}
    if shape.kind == "map" and shape.item:
        return {"type": "object", "additionalProperties": _type(shape.item, wanted)}
    if shape.kind == "struct":
        wanted.append(shape.name)
        return {"allOf": [{"$ref": f"#/components/schemas/{_full(shape.name)}"}]}
    return dict(JSON_TYPES[shape.kind])


def _operations(kind: Kind) -> dict[str, Body]:
    base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    collection = f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
    writes = {
        action: {"x-kubernetes-action": action, "x-kubernetes-group-version-kind": _gvk(kind), "parameters": _parameters(), "responses": {}}
        for action in ("post", "put", "patch")
    }
    reads = {"get": {"x-kubernetes-group-version-kind": _gvk(kind), "responses": {}}}
    one = {"get": reads["get"], "put": writes["put"], "patch": writes["patch"]}
    return {collection: {"get": reads["get"], "post": writes["post"]}, f"{collection}/{{name}}": one}


def _parameters() -> list[Body]:
    return [{"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in QUERY_PARAMETERS]
