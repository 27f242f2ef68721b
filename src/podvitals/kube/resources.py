"""The kinds of objects podvitals reads and writes: where each lives in the API and which struct it becomes."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from podvitals.claim.cluster import Event, Lease, Namespace, Node
from podvitals.claim.pod import Pod
from podvitals.claim.resource import DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resource(Generic[T]):
    """`group` is empty for the core API. `struct` is what an object decodes to."""

    group: str
    version: str
    plural: str
    kind: str
    struct: type[T]
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def name(self) -> str:
        """As errors and permissions spell it: `pods`, `resourceclaims.resource.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Below the server's URL. No namespace: all of them (or a kind that has none)."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        return "/".join(part for part in (*parts, name, subresource) if part)

    def untyped(self) -> "Resource[dict[str, Any]]":
        """The same objects whole, as plain dicts: for those who print or copy an object rather than read a few fields."""
        return Resource(self.group, self.version, self.plural, self.kind, dict[str, Any], self.namespaced)


_DRA = "resource.k8s.io"

PODS = Resource("", "v1", "pods", "Pod", Pod, True)
NODES = Resource("", "v1", "nodes", "Node", Node, False)
EVENTS = Resource("", "v1", "events", "Event", Event, True)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", Namespace, False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", Lease, True)
CLAIMS = Resource(_DRA, "v1", "resourceclaims", "ResourceClaim", ResourceClaim, True)
CLAIM_TEMPLATES = Resource(_DRA, "v1", "resourceclaimtemplates", "ResourceClaimTemplate", ResourceClaimTemplate, True)
SLICES = Resource(_DRA, "v1", "resourceslices", "ResourceSlice", ResourceSlice, False)
DEVICE_CLASSES = Resource(_DRA, "v1", "deviceclasses", "DeviceClass", DeviceClass, False)
