"""The scheduler's view of the cluster, and what it may do to it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from podvitals.claim.cluster import Node
from podvitals.claim.resource import Consumer, DeviceClass, ResourceClaim, ResourceSlice
from podvitals.lab.pods import RunnablePod, WholeTemplate

POD_CLAIM_NAME = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"


class Name(NamedTuple):
    namespace: str
    name: str


@dataclass(slots=True)
class Cluster:
    """Objects by namespace and name."""

    pods: dict[Name, RunnablePod] = field(default_factory=dict)
    claims: dict[Name, ResourceClaim] = field(default_factory=dict)
    templates: dict[Name, WholeTemplate] = field(default_factory=dict)
    slices: dict[Name, ResourceSlice] = field(default_factory=dict)
    classes: dict[Name, DeviceClass] = field(default_factory=dict)
    nodes: dict[Name, Node] = field(default_factory=dict)

    def copy(self) -> "Cluster":
        """For another thread: objects are immutable, the tables are not."""
        return Cluster(*(dict(getattr(self, table)) for table in ("pods", "claims", "templates", "slices", "classes", "nodes")))

    def pods_by_uid(self) -> dict[str, RunnablePod]:
        return {pod.metadata.uid: pod for pod in self.pods.values()}

    def named_claims(self, pod: RunnablePod) -> Iterator[tuple[str, str | None]]:
        """Each claim of the pod with its ResourceClaim's name; None while it has none."""
        noted = {entry.name: entry.resource_claim_name for entry in pod.status.resource_claim_statuses}
        for entry in pod.spec.resource_claims:
            yield entry.name, entry.resource_claim_name or noted.get(entry.name)


@dataclass(frozen=True, slots=True)
class MakeClaim:
    """`body` has a generateName; the claim's name is the server's choice."""

    namespace: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NoteClaims:
    """Writes pod.status.resourceClaimStatuses: pod claim name → ResourceClaim name."""

    pod: RunnablePod
    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reserve:
    """Writes a claim's consumers, and its allocation where it had none."""

    claim: ResourceClaim
    consumers: tuple[Consumer, ...]
    allocation: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Takes consumers away; with none left, the allocation too."""

    claim: ResourceClaim
    consumers: tuple[Consumer, ...]


@dataclass(frozen=True, slots=True)
class Unprotect:
    """Takes the finalizer from a claim without allocation."""

    claim: ResourceClaim


@dataclass(frozen=True, slots=True)
class DropClaim:
    """A generated claim whose pod has ended or gone."""

    claim: ResourceClaim


@dataclass(frozen=True, slots=True)
class Bind:
    pod: RunnablePod
    node: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The pod stays Pending: condition PodScheduled=False with this reason, and (Unschedulable) an event FailedScheduling."""

    pod: RunnablePod
    reason: str
    message: str


Effect = MakeClaim | NoteClaims | Reserve | Release | Unprotect | DropClaim | Bind | Refuse
