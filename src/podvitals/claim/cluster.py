"""Node and Event of core/v1, Lease of coordination.k8s.io/v1, Namespace."""

from msgspec import field

from podvitals.claim.meta import Condition, ObjectMeta, ObjectReference, Record


class Taint(Record, frozen=True, kw_only=True):
    key: str
    effect: str
    value: str = ""


class NodeSpec(Record, frozen=True, kw_only=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeInfo(Record, frozen=True, kw_only=True):
    kubelet_version: str = ""
    boot_id: str = field(name="bootID", default="")


class NodeAddress(Record, frozen=True, kw_only=True):
    type: str
    address: str


class NodeStatus(Record, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    node_info: NodeInfo = NodeInfo()
    addresses: tuple[NodeAddress, ...] = ()


class Node(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ready(self) -> bool:
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.status.conditions)


class LeaseSpec(Record, frozen=True, kw_only=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    """RFC 3339 with microseconds (MicroTime), as is `renew_time`."""
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: LeaseSpec = LeaseSpec()


class EventSource(Record, frozen=True, kw_only=True):
    component: str = ""
    host: str = ""


class EventSeries(Record, frozen=True, kw_only=True):
    count: int = 0
    last_observed_time: str | None = None


class Event(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    """Normal or Warning."""
    count: int = 0
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    series: EventSeries | None = None
    source: EventSource = EventSource()
    reporting_component: str = ""
    reporting_instance: str = ""
    action: str = ""


class NamespaceStatus(Record, frozen=True, kw_only=True):
    phase: str = ""


class Namespace(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    status: NamespaceStatus = NamespaceStatus()
