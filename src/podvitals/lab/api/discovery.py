"""What the server says it has: /api, /apis (aggregated where the client asks for that), /version. Pure, computed once."""

from podvitals.lab.api.kinds import GROUPS, KINDS, Kind
from podvitals.lab.api.schema import Body

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
SERVED_VERSION = "v1.37.2"
SUBRESOURCE_VERBS = {
    "status": ("get", "patch", "update"),
    "ephemeralcontainers": ("get", "patch", "update"),
    "log": ("get",),
    "binding": ("create",),
    "eviction": ("create",),
}
SUBRESOURCE_KINDS = {"binding": ("", "v1", "Binding"), "eviction": ("policy", "v1", "Eviction")}
VERSION: Body = {
    "major": "1",
    "minor": "37",
    "gitVersion": f"{SERVED_VERSION}+podvitals-lab",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux",
}


def legacy_versions(address: str) -> Body:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group(name: str) -> Body:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def groups() -> Body:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(name) for name in GROUPS]}


def resources(name: str, version: str) -> Body | None:
    """APIResourceList of one group, "" being the core; None where there is none."""
    kinds = [kind for kind in KINDS if kind.group == name and kind.version == version]
    if not kinds:
        return None
    listed = [entry for kind in kinds for entry in (_resource(kind), *(_subresource(kind, each) for each in kind.subresources))]
    group_version = f"{name}/{version}" if name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _resource(kind: Kind) -> Body:
    entry: Body = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short:
        entry["shortNames"] = list(kind.short)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    return entry


def _subresource(kind: Kind, name: str) -> Body:
    group_, version, answers = SUBRESOURCE_KINDS.get(name, ("", "", kind.kind))
    entry: Body = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": answers,
        "verbs": list(SUBRESOURCE_VERBS[name]),
    }
    return entry | ({"group": group_, "version": version} if version else {})


def aggregated(*, core: bool) -> Body:
    """APIGroupDiscoveryList v2 of the core (`/api`) or of all other groups (`/apis`)."""
    items = [_group_discovery(name) for name in ([""] if core else GROUPS)]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _group_discovery(name: str) -> Body:
    found = [_resource_discovery(kind) for kind in KINDS if kind.group == name]
    meta = {"creationTimestamp": None} | ({"name": name} if name else {})
    return {"metadata": meta, "versions": [{"version": "v1", "resources": found, "freshness": "Current"}]}


def _resource_discovery(kind: Kind) -> Body:
    entry: Body = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short:
        entry["shortNames"] = list(kind.short)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    below = [_subresource_discovery(kind, name) for name in kind.subresources]
    return entry | ({"subresources": below} if below else {})


def _subresource_discovery(kind: Kind, name: str) -> Body:
    group_, version, answers = SUBRESOURCE_KINDS.get(name, (kind.group, kind.version, kind.kind))
    response = {"group": group_, "version": version, "kind": answers}
    return {"subresource": name, "responseKind": response, "verbs": list(SUBRESOURCE_VERBS[name])}
