"""The kinds the lab's API server keeps, as data: what discovery lists, what a path means, what a field selector may name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_VERBS = ("get", "list", "watch")


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """`subresources` are served, `refused` are known and refused by name, with why. `selectable`: what a field selector may name."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    selectable: tuple[str, ...] = ()
    schema: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def definition(self) -> str:
        return self.schema or f"{self.group.split('.')[0] or 'core'}.{self.version}.{self.kind}"


NO_PROXY = "it does not proxy to nodes and pods"
POD_REFUSED = {
    "exec": "it does not run commands in containers (kubectl exec)",
    "attach": "it does not attach to containers (kubectl attach)",
    "portforward": "it does not forward ports (kubectl port-forward): a lab pod is a process on this machine, reach its port directly",
    "proxy": NO_PROXY,
    "resize": "it does not resize pods",
}
POD_SELECTABLE = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)
EVENT_SELECTABLE = (
    *(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")),
    "reason",
    "reportingComponent",
    "source",
    "type",
)
DRA = "resource.k8s.io"

NAMESPACES = Kind("", "v1", "namespaces", "Namespace", False, ("ns",), subresources=("status",), selectable=("status.phase",))
NODES = Kind(
    "", "v1", "nodes", "Node", False, ("no",), subresources=("status",), refused={"proxy": NO_PROXY}, selectable=("spec.unschedulable",)
)
PODS = Kind(
    "",
    "v1",
    "pods",
    "Pod",
    short=("po",),
    categories=("all",),
    subresources=("status", "ephemeralcontainers", "binding", "eviction", "log"),
    refused=POD_REFUSED,
    selectable=POD_SELECTABLE,
)
EVENTS = Kind("", "v1", "events", "Event", short=("ev",), selectable=EVENT_SELECTABLE)
CONFIG_MAPS = Kind("", "v1", "configmaps", "ConfigMap", short=("cm",))
SECRETS = Kind("", "v1", "secrets", "Secret", selectable=("type",))
SERVICE_ACCOUNTS = Kind(
    "",
    "v1",
    "serviceaccounts",
    "ServiceAccount",
    short=("sa",),
    refused={"token": "it issues no tokens: it has one user, who is known by the secret path"},
)
# Read-only and empty: `kubectl cluster-info` and `kubectl get all` ask for it, and nothing in the lab would act on a Service.
SERVICES = Kind("", "v1", "services", "Service", short=("svc",), categories=("all",), verbs=READ_VERBS)
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease")
CLAIMS = Kind(DRA, "v1", "resourceclaims", "ResourceClaim", subresources=("status",))
CLAIM_TEMPLATES = Kind(DRA, "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
SLICES = Kind(DRA, "v1", "resourceslices", "ResourceSlice", False, selectable=("spec.driver", "spec.nodeName"))
DEVICE_CLASSES = Kind(DRA, "v1", "deviceclasses", "DeviceClass", False)

KINDS: tuple[Kind, ...] = (
    CONFIG_MAPS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    LEASES,
    DEVICE_CLASSES,
    CLAIMS,
    CLAIM_TEMPLATES,
    SLICES,
)
BY_PATH: dict[tuple[str, str, str], Kind] = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
GROUPS: tuple[str, ...] = tuple(sorted({kind.group for kind in KINDS if kind.group}))
