"""Which pending pod goes to the node now, and with which devices. Pure; a refusal says why in a sentence for the person who waits."""

from collections.abc import Iterator
from typing import Any

from podvitals.claim.cluster import Node
from podvitals.claim.resource import DeviceClass, ResourceClaim
from podvitals.device.key import DeviceKey
from podvitals.lab.pods import RunnablePod
from podvitals.lab.scheduler.allocator import Candidate, Given, Matcher, Refused, allocate, in_use, node_devices
from podvitals.lab.scheduler.claims import MOST_CONSUMERS, consumer
from podvitals.lab.scheduler.cluster import Bind, Cluster, Effect, Name, Refuse, Reserve

SCHEDULER = "default-scheduler"


def assign(cluster: Cluster, matcher: Matcher) -> Iterator[Effect]:
    """Oldest pods first. Devices given in this pass count as taken for the pods after."""
    pending = [pod for pod in cluster.pods.values() if _pending(pod)]
    if not pending:
        return
    taken = set(in_use(list(cluster.claims.values())))
    promised: set[Name] = set()
    devices: dict[str, list[Candidate]] = {}
    for pod in sorted(pending, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.namespace, pod.metadata.name)):
        if pod.spec.scheduling_gates:
            yield from _refuse(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
            continue
        node = _node(cluster, pod)
        if isinstance(node, str):
            yield from _refuse(pod, "Unschedulable", node)
            continue
        name = node.metadata.name
        if name not in devices:
            devices[name] = node_devices(list(cluster.slices.values()), name)
        effects = _place(cluster, pod, name, devices[name], taken, promised, matcher)
        if isinstance(effects, str):
            yield from _refuse(pod, "Unschedulable", f"0/{len(cluster.nodes)} nodes are available: {effects}.")
        else:
            yield from effects


def _pending(pod: RunnablePod) -> bool:
    return not pod.spec.node_name and not pod.deleting and not pod.ended and pod.spec.scheduler_name == SCHEDULER


def _node(cluster: Cluster, pod: RunnablePod) -> Node | str:
    """The first node that takes the pod, or why none does."""
    total = f"0/{len(cluster.nodes)} nodes are available:"
    if not cluster.nodes:
        return "no nodes available to schedule pods"
    if pod.spec.affinity is not None and "nodeAffinity" in pod.spec.affinity:
        return f"{total} the lab's scheduler does not evaluate nodeAffinity; use nodeSelector."
    if not (ready := [node for node in cluster.nodes.values() if node.ready and not node.spec.unschedulable]):
        return f"{total} none is Ready and schedulable."
    for node in ready:
        if pod.spec.node_selector.items() <= node.metadata.labels.items():
            return node
    return f"{total} {len(ready)} node(s) didn't match Pod's node affinity/selector."


def _place(
    cluster: Cluster,
    pod: RunnablePod,
    node: str,
    devices: list[Candidate],
    taken: set[DeviceKey],
    promised: set[Name],
    matcher: Matcher,
) -> list[Effect] | str:
    """Reservations for all claims and the binding; nothing at all while a claim is still to be made."""
    claims: dict[str, ResourceClaim] = {}
    for entry, name in cluster.named_claims(pod):
        claim = cluster.claims.get(Name(pod.metadata.namespace, name)) if name else None
        if claim is None:
            return _missing(cluster, pod, entry, name)
        if claim.metadata.deletion_timestamp is not None:
            return f'resourceclaim "{name}" is being deleted'
        claims[entry] = claim
    unallocated = {entry: claim for entry, claim in claims.items() if claim.status.allocation is None}
    written = [claim for claim in claims.values() if not _reserved(claim, pod)]
    if any(_claim_name(claim) in promised for claim in written):
        return []  # this pass writes it for another pod already; the next one sees what came of it
    if full := [claim.metadata.name for claim in claims.values() if _full(claim, pod)]:
        return f'resourceclaim "{full[0]}" is in use by {MOST_CONSUMERS} pods already'
    answer = allocate(unallocated, devices, frozenset(taken), _classes(cluster), matcher)
    if isinstance(answer, Refused):
        return f"cannot allocate all claims: {answer.reason}"
    taken.update(given.key for given in answer if not given.wanted.admin_access)
    promised.update(_claim_name(claim) for claim in written)
    effects: list[Effect] = []
    for entry, claim in claims.items():
        allocation = _allocation(claim, entry, answer, node, _classes(cluster)) if entry in unallocated else None
        if claim in written:
            effects.append(Reserve(claim, (*claim.status.reserved_for, consumer(pod)), allocation))
    return [*effects, Bind(pod, node)]


def _claim_name(claim: ResourceClaim) -> Name:
    return Name(claim.metadata.namespace, claim.metadata.name)


def _missing(cluster: Cluster, pod: RunnablePod, entry: str, name: str | None) -> list[Effect] | str:
    if name is not None:
        return f'resourceclaim "{name}" not found'
    template = next(claim.resource_claim_template_name for claim in pod.spec.resource_claims if claim.name == entry)
    if template is not None and Name(pod.metadata.namespace, template) not in cluster.templates:
        return f'claim "{entry}" cannot be made: resource claim template "{template}" not found'
    return []


def _reserved(claim: ResourceClaim, pod: RunnablePod) -> bool:
    return any(each.uid == pod.metadata.uid for each in claim.status.reserved_for)


def _full(claim: ResourceClaim, pod: RunnablePod) -> bool:
    return len(claim.status.reserved_for) >= MOST_CONSUMERS and not _reserved(claim, pod)


def _classes(cluster: Cluster) -> dict[str, DeviceClass]:
    return {name.name: device_class for name, device_class in cluster.classes.items()}


def _allocation(claim: ResourceClaim, entry: str, answer: tuple[Given, ...], node: str, classes: dict[str, DeviceClass]) -> dict[str, Any]:
    """resource.k8s.io/v1 AllocationResult. Configuration: the classes' first, then the claim's, so that the claim's wins."""
    mine = [given for given in answer if given.claim == entry]
    results = [
        {"request": given.request, "driver": given.key.driver, "pool": given.key.pool, "device": given.key.device}
        | ({"adminAccess": True} if given.wanted.admin_access else {})
        for given in mine
    ]
    config: list[dict[str, Any]] = []
    for request in dict.fromkeys(given.request for given in mine):
        wanted = next(given.wanted for given in mine if given.request == request)
        config += [{"source": "FromClass", "requests": [request], **each} for each in classes[wanted.device_class_name].spec.config]
    config += [{"source": "FromClaim", **each} for each in claim.spec.devices.config]
    here = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}
    return {"devices": {"results": results} | ({"config": config} if config else {}), "nodeSelector": here}


def _refuse(pod: RunnablePod, reason: str, message: str) -> Iterator[Effect]:
    """Said once: the pod's own condition is the memory of what was said last."""
    said = pod.condition("PodScheduled")
    if said is None or (said.status, said.reason, said.message) != ("False", reason, message):
        yield Refuse(pod, reason, message)
