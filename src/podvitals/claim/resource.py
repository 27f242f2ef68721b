"""resource.k8s.io/v1: claims and what they were given, the slices drivers publish, device classes."""

from typing import Any

from msgspec import field

from podvitals.claim.meta import Condition, ObjectMeta, Record


class DeviceResult(Record, frozen=True, kw_only=True):
    """One device allocated for one request. `request` is `name` or, for a prioritized list, `name/sub-request`."""

    request: str
    driver: str
    pool: str
    device: str
    admin_access: bool = False
    share_id: str | None = field(name="shareID", default=None)


class DeviceAllocation(Record, frozen=True, kw_only=True):
    results: tuple[DeviceResult, ...] = ()
    config: tuple[dict[str, Any], ...] = ()


class AllocationResult(Record, frozen=True, kw_only=True):
    devices: DeviceAllocation = DeviceAllocation()


class Consumer(Record, frozen=True, kw_only=True):
    """Whom a claim is reserved for: a pod (`resource` "pods"), or a group of pods ("podgroups" of scheduling.k8s.io)."""

    resource: str
    name: str
    uid: str
    api_group: str = ""


class AllocatedDeviceStatus(Record, frozen=True, kw_only=True):
    """What a driver says of a device it prepared (KEP-4817)."""

    driver: str
    pool: str
    device: str
    share_id: str | None = field(name="shareID", default=None)
    conditions: tuple[Condition, ...] = ()


class ResourceClaimStatus(Record, frozen=True, kw_only=True):
    allocation: AllocationResult | None = None
    reserved_for: tuple[Consumer, ...] = ()
    devices: tuple[AllocatedDeviceStatus, ...] = ()


class CelSelector(Record, frozen=True, kw_only=True):
    expression: str = ""


class DeviceSelector(Record, frozen=True, kw_only=True):
    cel: CelSelector | None = None


class DeviceToleration(Record, frozen=True, kw_only=True):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class SubRequest(Record, frozen=True, kw_only=True):
    """One alternative of a prioritized list; also what `exactly` holds."""

    name: str = ""
    device_class_name: str = ""
    selectors: tuple[DeviceSelector, ...] = ()
    allocation_mode: str = "ExactCount"
    count: int = 0
    """0: not given, which means 1 in mode ExactCount."""
    admin_access: bool = False
    tolerations: tuple[DeviceToleration, ...] = ()
    capacity: dict[str, Any] | None = None
    """A share of a device's capacity (KEP-5075)."""


class DeviceRequest(Record, frozen=True, kw_only=True):
    name: str
    exactly: SubRequest | None = None
    first_available: tuple[SubRequest, ...] = ()


class DeviceConstraint(Record, frozen=True, kw_only=True):
    requests: tuple[str, ...] = ()
    match_attribute: str | None = None
    distinct_attribute: str | None = None


class DeviceClaim(Record, frozen=True, kw_only=True):
    requests: tuple[DeviceRequest, ...] = ()
    constraints: tuple[DeviceConstraint, ...] = ()
    config: tuple[dict[str, Any], ...] = ()


class ResourceClaimSpec(Record, frozen=True, kw_only=True):
    devices: DeviceClaim = DeviceClaim()


class ResourceClaim(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: ResourceClaimSpec = ResourceClaimSpec()
    status: ResourceClaimStatus = ResourceClaimStatus()


class ResourceClaimTemplateSpec(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: ResourceClaimSpec = ResourceClaimSpec()


class ResourceClaimTemplate(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: ResourceClaimTemplateSpec = ResourceClaimTemplateSpec()


class Attribute(Record, frozen=True, kw_only=True):
    """Exactly one is set."""

    integer: int | None = field(name="int", default=None)
    boolean: bool | None = field(name="bool", default=None)
    string: str | None = None
    version: str | None = None


class Capacity(Record, frozen=True, kw_only=True):
    value: str


class DeviceTaint(Record, frozen=True, kw_only=True):
    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class SliceDevice(Record, frozen=True, kw_only=True):
    name: str
    attributes: dict[str, Attribute] = field(default_factory=dict)
    capacity: dict[str, Capacity] = field(default_factory=dict)
    node_name: str | None = None
    all_nodes: bool | None = None
    node_selector: dict[str, Any] | None = None
    taints: tuple[DeviceTaint, ...] = ()
    allow_multiple_allocations: bool = False


class Pool(Record, frozen=True, kw_only=True):
    name: str
    generation: int = 0
    resource_slice_count: int = 1


class ResourceSliceSpec(Record, frozen=True, kw_only=True):
    driver: str
    pool: Pool
    node_name: str | None = None
    all_nodes: bool | None = None
    node_selector: dict[str, Any] | None = None
    per_device_node_selection: bool | None = None
    devices: tuple[SliceDevice, ...] = ()


class ResourceSlice(Record, frozen=True, kw_only=True):
    spec: ResourceSliceSpec
    metadata: ObjectMeta = ObjectMeta()


class DeviceClassSpec(Record, frozen=True, kw_only=True):
    selectors: tuple[DeviceSelector, ...] = ()
    config: tuple[dict[str, Any], ...] = ()
    extended_resource_name: str | None = None


class DeviceClass(Record, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: DeviceClassSpec = DeviceClassSpec()
