"""What the API server fills in: upstream's defaults, and what a new or changed object starts from. Pure; changes the object given."""

import base64

from podvitals.lab.api.kinds import CLAIMS, DEVICE_CLASSES, NAMESPACES, NODES, PODS, SECRETS, SLICES, Kind
from podvitals.lab.api.schema import Body

GENERATED = frozenset({PODS, SLICES, DEVICE_CLASSES})
"""Kinds with a metadata.generation that counts changes of their spec."""

POD_DEFAULTS: Body = {
    "dnsPolicy": "ClusterFirst",
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "serviceAccount": "default",
    "serviceAccountName": "default",
    "terminationGracePeriodSeconds": 30,
}
PROBES = frozenset({"livenessProbe", "readinessProbe", "startupProbe"})
PROBE_DEFAULTS: Body = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
CONTAINER_STATUS_DEFAULTS: Body = {"ready": False, "restartCount": 0, "image": "", "imageID": "", "state": {}, "lastState": {}}
# Admission gives every pod five minutes on a node that goes away.
TOLERATIONS: tuple[Body, ...] = tuple(
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in ("not-ready", "unreachable")
)
CONTAINER_DEFAULTS: Body = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}


def fill(kind: Kind, data: Body) -> None:
    """Defaults that every write of an object gets, so that an unchanged manifest stays unchanged."""
    if kind is PODS:
        _fill_pod(data.setdefault("spec", {}))
        _fill_pod_status(data.get("status", {}))
    elif kind is NODES and data.get("status", {}).get("capacity"):
        data["status"].setdefault("allocatable", data["status"]["capacity"])
    elif kind is SECRETS:
        _fill_secret(data)
    elif kind is SLICES:
        data.get("spec", {}).get("pool", {}).setdefault("generation", 0)
    elif kind is CLAIMS:
        _fill_requests(data.get("spec", {}))
    elif kind.kind == "ResourceClaimTemplate":
        _fill_requests(data.get("spec", {}).get("spec", {}))
    elif kind.kind == "Event":
        data.setdefault("source", {})
        data.setdefault("reportingComponent", "")
        data.setdefault("reportingInstance", "")


def _fill_pod(spec: Body) -> None:
    if "serviceAccountName" in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    for name, value in POD_DEFAULTS.items():
        spec.setdefault(name, value.copy() if isinstance(value, dict) else value)
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ()), *spec.get("ephemeralContainers", ())]:
        for name, value in CONTAINER_DEFAULTS.items():
            container.setdefault(name, value.copy() if isinstance(value, dict) else value)
        image = container.get("image", "")
        latest = "@" not in image and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest"))
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        limits = container["resources"].get("limits")
        if limits:
            container["resources"]["requests"] = limits | container["resources"].get("requests", {})
        for port in container.get("ports", ()):
            port.setdefault("protocol", "TCP")
        for probe in PROBES & container.keys():
            container[probe] = PROBE_DEFAULTS | container[probe]


def _fill_pod_status(status: Body) -> None:
    for part in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for at, container in enumerate(status.get(part, ())):
            status[part][at] = CONTAINER_STATUS_DEFAULTS | container


def _fill_secret(data: Body) -> None:
    data.setdefault("type", "Opaque")
    for name, text in data.pop("stringData", {}).items():
        data.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()


def _fill_requests(spec: Body) -> None:
    for request in spec.get("devices", {}).get("requests", ()):
        for wanted in [*([request["exactly"]] if "exactly" in request else []), *request.get("firstAvailable", ())]:
            wanted.setdefault("allocationMode", "ExactCount")
            if wanted["allocationMode"] == "ExactCount":
                wanted.setdefault("count", 1)
            for toleration in wanted.get("tolerations", ()):
                toleration.setdefault("operator", "Equal")


def start(kind: Kind, data: Body) -> None:
    """A new object: whatever status the client sent is dropped, as upstream does (nodes keep theirs: a kubelet registers with it)."""
    if kind is PODS:
        data["status"] = {"phase": "Pending", "qosClass": qos_class(data["spec"])}
        tolerated = {each.get("key") for each in data["spec"].get("tolerations", ())}
        missing = [dict(each) for each in TOLERATIONS if each["key"] not in tolerated]
        data["spec"]["tolerations"] = [*data["spec"].get("tolerations", ()), *missing]
    elif kind is NAMESPACES:
        data["status"] = {"phase": "Active"}
        data["spec"] = {"finalizers": ["kubernetes"]}
        data["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = data["metadata"]["name"]
    elif kind is CLAIMS:
        data["status"] = {}
    elif kind is NODES:
        data.setdefault("spec", {})
        data.setdefault("status", {})
    if kind in GENERATED:
        data["metadata"]["generation"] = 1


def carry(kind: Kind, new: Body, old: Body, subresource: str) -> None:
    """An update: what this path may not change comes from the stored object. Each subresource writes only its half."""
    if subresource == "status":
        _carry_for_status(kind, new, old)
    elif subresource == "ephemeralcontainers":
        _carry_for_ephemeral(new, old)
    elif "status" in kind.subresources:
        _keep(new, old, "status")
        if kind is NAMESPACES:
            _keep(new, old, "spec")
    if kind is PODS:
        new.setdefault("status", {}).setdefault("qosClass", old.get("status", {}).get("qosClass", "BestEffort"))
    if kind in GENERATED:
        changed = new.get("spec") != old.get("spec")
        new["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


def _keep(new: Body, old: Body, name: str) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def _carry_for_status(kind: Kind, new: Body, old: Body) -> None:
    _keep(new, old, "spec")
    if kind is PODS:
        # Old kubelets corrupted owner references here; labels, annotations and finalizers may be changed with a status (as upstream).
        _keep(new["metadata"], old["metadata"], "ownerReferences")
        for name in ("resourceClaimStatuses", "extendedResourceClaimStatus"):
            kept = old.get("status", {}).get(name)
            if kept is not None and name not in new.setdefault("status", {}):
                new["status"][name] = kept
    elif kind is CLAIMS:
        for name in ("labels", "annotations", "finalizers", "ownerReferences"):
            _keep(new["metadata"], old["metadata"], name)


def _carry_for_ephemeral(new: Body, old: Body) -> None:
    wanted = new.get("spec", {}).get("ephemeralContainers")
    kept = {name: value for name, value in old["spec"].items() if name != "ephemeralContainers"}
    new["metadata"], new["spec"] = dict(old["metadata"]), kept | ({"ephemeralContainers": wanted} if wanted else {})
    _keep(new, old, "status")


def qos_class(spec: Body) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory of all containers."""
    containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    guaranteed, some = True, False
    for container in containers:
        resources = container.get("resources", {})
        limits, requests = resources.get("limits", {}), resources.get("requests", {})
        some = some or any(name in limits or name in requests for name in ("cpu", "memory"))
        guaranteed = guaranteed and all(name in limits and requests.get(name, limits[name]) == limits[name] for name in ("cpu", "memory"))
    return ("Guaranteed" if guaranteed else "Burstable") if some else "BestEffort"
