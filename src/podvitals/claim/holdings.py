"""Which container of a pod holds which device, from the pod and the claims it names (CONTRACT §4). Pure.

The rule above all others: never show one pod's device on another pod. A claim made from a template must be controlled by this very
pod (its uid) or by the pod's group; a claim that is reserved must be reserved for this pod or its group. In doubt nothing is held.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Literal

from podvitals.claim.pod import ContainerSpec, ExtendedResourceClaimStatus, Pod
from podvitals.claim.resource import DeviceResult, ResourceClaim
from podvitals.device.key import DeviceKey

Kind = Literal["container", "init", "sidecar", "ephemeral"]

_GROUP_API = "scheduling.k8s.io"


@dataclass(frozen=True, slots=True)
class Holding:
    """One device as one entry of one container's `allocatedResourcesStatus`.

    `entry` is that entry's name: `claim:<claim>`, `claim:<claim>/<request>` or an extended resource. `claim` is the name inside the
    pod (empty for an extended resource), `claim_name` the ResourceClaim's. `request` is the allocation result's, sub-request included.
    """

    container: str
    kind: Kind
    entry: str
    claim: str
    claim_name: str
    request: str
    key: DeviceKey
    admin: bool = False
    share_id: str | None = None

    def __lt__(self, other: "Holding") -> bool:
        """A total order although `share_id` may be None: identical pods must give identical bytes downstream."""
        return self._order < other._order

    @property
    def _order(self) -> tuple[str | bool | DeviceKey, ...]:
        share = self.share_id or ""
        return (self.container, self.kind, self.entry, self.claim, self.claim_name, self.request, self.key, self.admin, share)


def claim_names(pod: Pod) -> frozenset[str]:
    """The ResourceClaims (of the pod's namespace) that must be known to say what the pod holds."""
    names = set(_claims(pod).values())
    if (extended := pod.status.extended_resource_claim_status) is not None:
        names.add(extended.resource_claim_name)
    return frozenset(names - {""})


def names_claims(pod: Pod) -> bool:
    """Whether the pod asks for devices at all, be their claims made yet or not."""
    needless = {status.name for status in pod.status.resource_claim_statuses if status.resource_claim_name is None}
    asks = any(claim.name not in needless for claim in pod.spec.resource_claims)
    return asks or pod.status.extended_resource_claim_status is not None


def settled(pod: Pod, claims: Mapping[str, ResourceClaim]) -> bool:
    """Whether what `holdings` tells stays so, be it nothing: each claim that a container uses is allocated and this pod's. One that nobody
    has reserved may still be allocated anew."""
    used = {reference.name for container, _ in _containers(pod) for reference in container.resources.claims}
    made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
    asked = [
        (claim.resource_claim_name or made.get(claim.name, ""), claim.resource_claim_name is None)
        for claim in pod.spec.resource_claims
        if claim.name in used
    ]
    if (extended := pod.status.extended_resource_claim_status) is not None:
        asked.append((extended.resource_claim_name, True))
    return all(_is_given(pod, claims.get(name), owned=owned) for name, owned in asked if name is not None)


def holdings(pod: Pod, claims: Mapping[str, ResourceClaim]) -> tuple[Holding, ...]:
    """Everything the pod's containers hold, sorted. `claims` by name; one that is missing, unallocated or another pod's holds nothing."""
    held: set[Holding] = set()
    from_template = {claim.name for claim in pod.spec.resource_claims if claim.resource_claim_name is None}
    results: dict[str, tuple[str, tuple[DeviceResult, ...]]] = {}
    for claim, claim_name in _claims(pod).items():
        results[claim] = claim_name, _allocated(pod, claims.get(claim_name), owned=claim in from_template)
    for container, kind in _containers(pod):
        for reference in container.resources.claims:
            claim_name, devices = results.get(reference.name, ("", ()))
            entry = f"claim:{reference.name}/{reference.request}" if reference.request else f"claim:{reference.name}"
            for device in devices:
                if not reference.request or _base(reference.request) == _base(device.request):
                    held.add(_holding(container.name, kind, entry, reference.name, claim_name, device))
    if (extended := pod.status.extended_resource_claim_status) is not None:
        held.update(_extended(pod, extended, claims))
    return tuple(sorted(held))


def _claims(pod: Pod) -> dict[str, str]:
    """The pod's claim name → the ResourceClaim's name, without those that are not generated yet or turned out not to be needed."""
    generated = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
    named = {claim.name: claim.resource_claim_name or generated.get(claim.name) for claim in pod.spec.resource_claims}
    return {claim: name for claim, name in named.items() if name}


def _containers(pod: Pod) -> Iterator[tuple[ContainerSpec, Kind]]:
    for container in pod.spec.init_containers:
        yield container, "sidecar" if container.restart_policy == "Always" else "init"
    for container in pod.spec.containers:
        yield container, "container"
    for container in pod.spec.ephemeral_containers:
        yield container, "ephemeral"


def _extended(pod: Pod, extended: ExtendedResourceClaimStatus, claims: Mapping[str, ResourceClaim]) -> Iterator[Holding]:
    """Devices that stand for extended resources: their one claim belongs to the pod and is not in its spec."""
    devices = _allocated(pod, claims.get(extended.resource_claim_name), owned=True)
    kinds: dict[str, Kind] = {container.name: kind for container, kind in _containers(pod)}
    for mapping in extended.request_mappings:
        for device in devices:
            if mapping.container_name in kinds and _base(mapping.request_name) == _base(device.request):
                kind = kinds[mapping.container_name]
                yield _holding(mapping.container_name, kind, mapping.resource_name, "", extended.resource_claim_name, device)


def _holding(container: str, kind: Kind, entry: str, claim: str, claim_name: str, device: DeviceResult) -> Holding:
    # The same few words thousands of times on a full node, each decoded anew: one string each is enough.
    key = DeviceKey(intern(device.driver), intern(device.pool), device.device)
    return Holding(container, kind, entry, claim, claim_name, intern(device.request), key, device.admin_access, device.share_id)


def _allocated(pod: Pod, claim: ResourceClaim | None, *, owned: bool) -> tuple[DeviceResult, ...]:
    if claim is None or claim.status.allocation is None or not _serves(pod, claim, owned=owned):
        return ()
    return claim.status.allocation.devices.results


def _is_given(pod: Pod, claim: ResourceClaim | None, *, owned: bool) -> bool:
    if claim is None or claim.status.allocation is None or not claim.status.reserved_for:
        return False
    return _serves(pod, claim, owned=owned)


def _serves(pod: Pod, claim: ResourceClaim, *, owned: bool) -> bool:
    if claim.metadata.namespace != pod.metadata.namespace or (owned and not _controlled(pod, claim)):
        return False
    return _reserved(pod, claim)


def _controlled(pod: Pod, claim: ResourceClaim) -> bool:
    """As upstream's resourceclaim.IsForPod: the pod by its uid, or its group by name, since a pod does not know its group's uid."""
    owner = claim.metadata.controller
    if owner is None:
        return False
    if owner.uid == pod.metadata.uid:
        return bool(owner.uid)
    return owner.kind == "PodGroup" and owner.api_version.startswith(_GROUP_API + "/") and owner.name == _group(pod)


def _reserved(pod: Pod, claim: ResourceClaim) -> bool:
    """Whether the claim may serve this pod now. An allocation nobody has reserved yet is on its way to whoever names the claim."""
    consumers = claim.status.reserved_for
    if not consumers or any(consumer.uid == pod.metadata.uid for consumer in consumers):
        return True
    group = _group(pod)
    return any(
        consumer.resource == "podgroups" and consumer.api_group == _GROUP_API and consumer.name == group for consumer in consumers if group
    )


def _group(pod: Pod) -> str | None:
    """The name of the PodGroup the pod belongs to, or None."""
    return pod.spec.scheduling_group.pod_group_name or None if pod.spec.scheduling_group is not None else None


def _base(request: str) -> str:
    """`req/sub` → `req`: references may name a sub-request on either side, and only the request counts."""
    return request.partition("/")[0]
