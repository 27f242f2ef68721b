"""core/v1 Pod: which claims its containers name, and what became of the containers."""

from msgspec import field

from podvitals.claim.meta import Condition, ObjectMeta, Record


class ClaimReference(Record, frozen=True, kw_only=True):
    """An entry of a container's `resources.claims`: a claim of the pod, or one request of it."""

    name: str
    request: str = ""


class Resources(Record, frozen=True, kw_only=True):
    claims: tuple[ClaimReference, ...] = ()
    limits: dict[str, str | int] = field(default_factory=dict)
    """Quantities as the API writes them: `memory: 2Gi`."""


class ContainerSpec(Record, frozen=True, kw_only=True):
    name: str
    image: str = ""
    resources: Resources = Resources()
    restart_policy: str | None = None
    """`Always` on an init container makes it a sidecar."""


class PodClaim(Record, frozen=True, kw_only=True):
    """An entry of `spec.resourceClaims`: a claim by its own name, or one made from a template."""

    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class SchedulingGroup(Record, frozen=True, kw_only=True):
    pod_group_name: str | None = None


class PodSpec(Record, frozen=True, kw_only=True):
    node_name: str = ""
    restart_policy: str = "Always"
    containers: tuple[ContainerSpec, ...] = ()
    init_containers: tuple[ContainerSpec, ...] = ()
    ephemeral_containers: tuple[ContainerSpec, ...] = ()
    resource_claims: tuple[PodClaim, ...] = ()
    scheduling_group: SchedulingGroup | None = None


class Waiting(Record, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class Running(Record, frozen=True, kw_only=True):
    started_at: str | None = None


class Terminated(Record, frozen=True, kw_only=True):
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class ContainerState(Record, frozen=True, kw_only=True):
    """At most one of the three is set; none means the kubelet has not said anything yet."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ResourceHealth(Record, frozen=True, kw_only=True):
    """One device as the kubelet shows it. `resource_id` is for display, not a name (CONTRACT §4)."""

    resource_id: str = field(name="resourceID")
    health: str = "Unknown"
    message: str | None = None


class AllocatedResourceStatus(Record, frozen=True, kw_only=True):
    """`name`: claim:<pod claim>[/<request>], or the name of an extended resource."""

    name: str
    resources: tuple[ResourceHealth, ...] = ()


class ContainerStatus(Record, frozen=True, kw_only=True):
    name: str
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    container_id: str = field(name="containerID", default="")
    allocated_resources_status: tuple[AllocatedResourceStatus, ...] = ()


class ClaimStatus(Record, frozen=True, kw_only=True):
    """An entry of `status.resourceClaimStatuses`. No name: the pod turned out not to need a claim here."""

    name: str
    resource_claim_name: str | None = None


class RequestMapping(Record, frozen=True, kw_only=True):
    container_name: str
    resource_name: str
    request_name: str


class ExtendedResourceClaimStatus(Record, frozen=True, kw_only=True):
    """The claim made for the pod's DRA-backed extended resources."""

    resource_claim_name: str = ""
    request_mappings: tuple[RequestMapping, ...] = ()


class PodStatus(Record, frozen=True, kw_only=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    resource_claim_statuses: tuple[ClaimStatus, ...] = ()
    extended_resource_claim_status: ExtendedResourceClaimStatus | None = None
    start_time: str | None = None


class Pod(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ended(self) -> bool:
        """Every container has stopped for good: its devices are given back."""
        return self.status.phase in ("Succeeded", "Failed")

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.status.conditions if condition.type == kind), None)
