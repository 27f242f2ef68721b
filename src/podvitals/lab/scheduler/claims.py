"""The life of claims round their pods: what kube-controller-manager's resourceclaim controller does. Pure.

A claim made from a template belongs to its pod and goes when the pod has ended; a claim with a name of its own only loses its
reservation, and its allocation with the last one.
"""

from collections.abc import Iterator

from podvitals.claim.resource import Consumer, ResourceClaim
from podvitals.lab.pods import RunnablePod, WholeTemplate
from podvitals.lab.scheduler.cluster import (
    FINALIZER,
    POD_CLAIM_NAME,
    Cluster,
    DropClaim,
    Effect,
    MakeClaim,
    Name,
    NoteClaims,
    Release,
    Reserve,
    Unprotect,
)

MOST_CONSUMERS = 256
"""resource.k8s.io/v1 ResourceClaimReservedForMaxSize."""


def keep(cluster: Cluster) -> Iterator[Effect]:
    """What claims need now: to be made, noted in the pod, reserved for pods that came with a node, released, deleted."""
    made = _made(cluster)
    for pod in cluster.pods.values():
        if not pod.ended and not pod.deleting:
            yield from _make(cluster, pod, made)
            yield from _reserve_for_bound(cluster, pod)
    pods = cluster.pods_by_uid()
    for claim in cluster.claims.values():
        yield from _clean(claim, pods)


def consumer(pod: RunnablePod) -> Consumer:
    return Consumer(resource="pods", name=pod.metadata.name, uid=pod.metadata.uid)


def _made(cluster: Cluster) -> dict[tuple[str, str], ResourceClaim]:
    """(pod uid, pod claim name) → the claim generated for it."""
    return {
        (claim.metadata.controller.uid, claim.metadata.annotations.get(POD_CLAIM_NAME, "")): claim
        for claim in cluster.claims.values()
        if claim.metadata.controller is not None and claim.metadata.deletion_timestamp is None
    }


def _make(cluster: Cluster, pod: RunnablePod, made: dict[tuple[str, str], ResourceClaim]) -> Iterator[Effect]:
    noted = {entry.name: entry.resource_claim_name for entry in pod.status.resource_claim_statuses}
    names = dict(noted)
    for entry in pod.spec.resource_claims:
        if entry.resource_claim_template_name is None:
            continue
        if (claim := made.get((pod.metadata.uid, entry.name))) is not None:
            names[entry.name] = claim.metadata.name
        elif (template := cluster.templates.get(Name(pod.metadata.namespace, entry.resource_claim_template_name))) is not None:
            yield MakeClaim(pod.metadata.namespace, _claim(pod, entry.name, template))
    if names != noted:
        yield NoteClaims(pod, tuple((name, claim) for name, claim in names.items() if claim))


def _claim(pod: RunnablePod, name: str, template: WholeTemplate) -> dict[str, object]:
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": pod.metadata.name,
        "uid": pod.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    given = template.spec.metadata
    metadata = {
        "generateName": f"{pod.metadata.name}-{name}-",
        "namespace": pod.metadata.namespace,
        "labels": given.labels,
        "annotations": {**given.annotations, POD_CLAIM_NAME: name},
        "ownerReferences": [owner],
    }
    return {"metadata": metadata, "spec": template.spec.spec}


def _reserve_for_bound(cluster: Cluster, pod: RunnablePod) -> Iterator[Effect]:
    """A pod that names its node itself passes the scheduler by: claims that are allocated already are reserved for it, as upstream does."""
    if not pod.spec.node_name:
        return
    for _, name in cluster.named_claims(pod):
        claim = cluster.claims.get(Name(pod.metadata.namespace, name or ""))
        if claim is None or claim.status.allocation is None or any(c.uid == pod.metadata.uid for c in claim.status.reserved_for):
            continue
        if len(claim.status.reserved_for) < MOST_CONSUMERS:
            yield Reserve(claim, (*claim.status.reserved_for, consumer(pod)))


def _clean(claim: ResourceClaim, pods: dict[str, RunnablePod]) -> Iterator[Effect]:
    consumers = tuple(c for c in claim.status.reserved_for if c.resource != "pods" or _uses(pods.get(c.uid)))
    owner = claim.metadata.controller
    orphan = owner is not None and owner.kind == "Pod" and not _uses(pods.get(owner.uid))
    deleting = claim.metadata.deletion_timestamp is not None
    if len(consumers) != len(claim.status.reserved_for):
        yield Release(claim, consumers)
    elif claim.status.allocation is not None and not consumers and (orphan or deleting):
        yield Release(claim, ())
    elif FINALIZER in claim.metadata.finalizers and claim.status.allocation is None and (orphan or deleting):
        yield Unprotect(claim)
    elif orphan and not deleting:
        yield DropClaim(claim)


def _uses(pod: RunnablePod | None) -> bool:
    return pod is not None and not pod.ended
