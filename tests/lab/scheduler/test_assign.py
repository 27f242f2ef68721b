"""The life of claims round their pods, and which pod goes to the node: held on a tiny cluster that carries out what the core decides."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from podvitals.claim.cluster import Node
from podvitals.claim.resource import DeviceClass, ResourceClaim, ResourceSlice
from podvitals.lab.pods import RunnablePod, WholeTemplate
from podvitals.lab.scheduler.assign import assign
from podvitals.lab.scheduler.claims import keep
from podvitals.lab.scheduler.cluster import (
    FINALIZER,
    POD_CLAIM_NAME,
    Bind,
    Cluster,
    DropClaim,
    Effect,
    MakeClaim,
    Name,
    NoteClaims,
    Refuse,
    Release,
    Reserve,
    Unprotect,
)
from podvitals.lab.scheduler.selector import matches

DRIVER = "gpu.example.com"


@dataclass
class Tiny:
    """Carries out effects on the snapshot, as the API server would, until nothing is left to do."""

    cluster: Cluster = field(default_factory=Cluster)
    refused: list[Refuse] = field(default_factory=list)
    done: list[Effect] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        ready = {"metadata": {"name": "lab"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        self.cluster.nodes[Name("", "lab")] = msgspec.convert(ready, Node)
        self.cluster.classes[Name("", "gpu")] = msgspec.convert(
            {"metadata": {"name": "gpu"}, "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]}}, DeviceClass
        )
        self.slice(2)
        template = {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}
        self.cluster.templates[Name("ns", "one")] = msgspec.convert(
            {"metadata": {"name": "one"}, "spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": template}}}, WholeTemplate
        )

    def slice(self, devices: int) -> None:
        spec = {"driver": DRIVER, "nodeName": "lab", "pool": {"name": "lab"}, "devices": [{"name": f"gpu-{n}"} for n in range(devices)]}
        self.cluster.slices[Name("", "s")] = msgspec.convert({"spec": spec}, ResourceSlice)

    def pod(self, name: str, *claims: dict[str, Any], phase: str = "Pending", **spec: Any) -> RunnablePod:
        entries = list(claims) or [{"name": "gpus", "resourceClaimTemplateName": "one"}]
        body = {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"uid-{name}",
                "creationTimestamp": f"2026-01-01T00:00:{len(self.cluster.pods):02}Z",
            },
            "spec": {"resourceClaims": entries, **spec},
            "status": {"phase": phase},
        }
        return self.put(msgspec.convert(body, RunnablePod))

    def put(self, pod: RunnablePod) -> RunnablePod:
        self.cluster.pods[Name("ns", pod.metadata.name)] = pod
        return pod

    def claim(self, name: str) -> ResourceClaim:
        spec = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}
        made = msgspec.convert({"metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"}, "spec": spec}, ResourceClaim)
        self.cluster.claims[Name("ns", name)] = made
        return made

    def end(self, name: str) -> None:
        pod = self.cluster.pods[Name("ns", name)]
        self.put(msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, phase="Failed")))

    def settle(self) -> None:
        for _ in range(20):
            effects = list(keep(self.cluster)) or list(assign(self.cluster, matches))
            if not effects:
                self.check()
                return
            for effect in effects:
                self.done.append(effect)
                self.carry_out(effect)
        raise AssertionError(f"it never settles: {self.done[-3:]}")

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case MakeClaim(namespace, body):
                self.made += 1
                named = body["metadata"] | {"name": f"{body['metadata']['generateName']}{self.made}", "uid": f"uid-claim-{self.made}"}
                self._claim(msgspec.convert(body | {"metadata": named}, ResourceClaim))
                assert namespace == "ns"
            case NoteClaims(pod, names):
                noted = [{"name": name, "resourceClaimName": claim} for name, claim in names]
                self._status(pod, resourceClaimStatuses=noted)
            case Reserve(claim, consumers, allocation):
                status: dict[str, Any] = msgspec.to_builtins(claim.status)
                status["reservedFor"] = msgspec.to_builtins(consumers)
                if allocation is not None:
                    status["allocation"] = allocation
                meta = msgspec.structs.replace(claim.metadata, finalizers=(FINALIZER,))
                self._claim(msgspec.structs.replace(claim, metadata=meta, status=msgspec.convert(status, type(claim.status))))
            case Release(claim, consumers):
                status = {"reservedFor": msgspec.to_builtins(consumers)}
                if consumers:
                    status["allocation"] = msgspec.to_builtins(claim.status.allocation)
                self._claim(msgspec.structs.replace(claim, status=msgspec.convert(status, type(claim.status))))
            case Unprotect(claim):
                bare = msgspec.structs.replace(claim.metadata, finalizers=())
                if claim.metadata.deletion_timestamp is not None:
                    del self.cluster.claims[Name("ns", claim.metadata.name)]
                else:
                    self._claim(msgspec.structs.replace(claim, metadata=bare))
            case DropClaim(claim):
                del self.cluster.claims[Name("ns", claim.metadata.name)]
            case Bind(pod, node):
                self.put(msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=node)))
            case Refuse(pod, reason, message):
                self.refused.append(effect)
                self._status(pod, conditions=[{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}])

    def _claim(self, claim: ResourceClaim) -> None:
        self.cluster.claims[Name("ns", claim.metadata.name)] = claim

    def _status(self, pod: RunnablePod, **fields: Any) -> None:
        current = self.cluster.pods[Name("ns", pod.metadata.name)]
        status = msgspec.convert(msgspec.to_builtins(current.status) | fields, type(pod.status))
        self.put(msgspec.structs.replace(current, status=status))

    def check(self) -> None:
        held = [
            (result.pool, result.device)
            for claim in self.cluster.claims.values()
            if claim.status.allocation
            for result in claim.status.allocation.devices.results
        ]
        assert len(held) == len(set(held)), "a device is never given twice"

    def node_of(self, name: str) -> str:
        return self.cluster.pods[Name("ns", name)].spec.node_name


def test_a_pod_with_a_template_gets_its_claim_its_device_and_its_node() -> None:
    tiny = Tiny()
    tiny.pod("p")
    tiny.settle()
    (claim,) = tiny.cluster.claims.values()
    assert claim.metadata.name == "p-gpus-1"
    assert claim.metadata.annotations == {POD_CLAIM_NAME: "gpus"}
    assert claim.metadata.labels == {"a": "b"}
    assert claim.metadata.controller is not None
    assert claim.metadata.controller.uid == "uid-p"
    assert [(c.resource, c.name, c.uid) for c in claim.status.reserved_for] == [("pods", "p", "uid-p")]
    assert tiny.node_of("p") == "lab"


def test_what_nobody_can_satisfy_is_refused_once_and_tried_again_when_devices_come() -> None:
    tiny = Tiny()
    for name in "abc":
        tiny.pod(name)
    tiny.settle()
    tiny.settle()
    assert [(refuse.pod.metadata.name, refuse.reason) for refuse in tiny.refused] == [("c", "Unschedulable")]
    assert tiny.refused[0].message == (
        '0/1 nodes are available: cannot allocate all claims: request "gpu" of claim "gpus" wants 1 device of class "gpu", '
        "and none can be had (2 devices on this node considered, 2 already allocated)."
    )
    tiny.slice(3)
    tiny.settle()
    assert tiny.node_of("c") == "lab"


def test_an_ended_pods_generated_claim_goes_and_its_device_serves_the_next() -> None:
    tiny = Tiny()
    tiny.slice(1)
    tiny.pod("a")
    tiny.settle()
    tiny.end("a")
    tiny.pod("b")
    tiny.settle()
    assert [claim.metadata.name for claim in tiny.cluster.claims.values()] == ["b-gpus-2"]
    assert tiny.node_of("b") == "lab"


def test_a_named_claim_is_shared_and_loses_its_allocation_with_the_last_pod() -> None:
    tiny = Tiny()
    tiny.claim("shared")
    for name in "ab":
        tiny.pod(name, {"name": "gpus", "resourceClaimName": "shared"})
    tiny.settle()
    assert len(tiny.cluster.claims[Name("ns", "shared")].status.reserved_for) == 2
    tiny.end("a")
    tiny.settle()
    claim = tiny.cluster.claims[Name("ns", "shared")]
    assert [consumer.name for consumer in claim.status.reserved_for] == ["b"]
    assert claim.status.allocation is not None
    tiny.end("b")
    tiny.settle()
    claim = tiny.cluster.claims[Name("ns", "shared")]
    assert claim.status.allocation is None
    assert claim.status.reserved_for == ()


def test_a_deleted_claim_in_use_stays_until_its_pod_has_ended() -> None:
    tiny = Tiny()
    tiny.claim("named")
    tiny.pod("a", {"name": "gpus", "resourceClaimName": "named"})
    tiny.settle()
    claim = tiny.cluster.claims[Name("ns", "named")]
    deleting = msgspec.structs.replace(claim.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    tiny.cluster.claims[Name("ns", "named")] = msgspec.structs.replace(claim, metadata=deleting)
    tiny.settle()
    assert Name("ns", "named") in tiny.cluster.claims
    tiny.end("a")
    tiny.settle()
    assert Name("ns", "named") not in tiny.cluster.claims


def test_a_claim_of_a_name_that_does_not_exist_and_a_missing_template_are_named() -> None:
    tiny = Tiny()
    tiny.pod("a", {"name": "gpus", "resourceClaimName": "nope"})
    tiny.pod("b", {"name": "gpus", "resourceClaimTemplateName": "nope"})
    tiny.settle()
    assert [refuse.message for refuse in tiny.refused] == [
        '0/1 nodes are available: resourceclaim "nope" not found.',
        '0/1 nodes are available: claim "gpus" cannot be made: resource claim template "nope" not found.',
    ]


def test_a_pod_that_names_its_node_is_not_scheduled_but_its_allocated_claim_is_reserved() -> None:
    tiny = Tiny()
    tiny.claim("named")
    tiny.pod("a", {"name": "gpus", "resourceClaimName": "named"})
    tiny.settle()
    tiny.pod("own", {"name": "gpus", "resourceClaimName": "named"}, nodeName="lab")
    tiny.settle()
    assert [consumer.name for consumer in tiny.cluster.claims[Name("ns", "named")].status.reserved_for] == ["a", "own"]
    assert not any(isinstance(effect, Bind) and effect.pod.metadata.name == "own" for effect in tiny.done)


def test_where_no_node_fits_the_pod_is_told_why() -> None:
    tiny = Tiny()
    tiny.pod("a", nodeSelector={"disk": "ssd"})
    tiny.pod("b", affinity={"nodeAffinity": {}})
    tiny.pod("c", schedulingGates=[{"name": "wait"}])
    tiny.pod("d", schedulerName="another")
    tiny.settle()
    assert [(refuse.pod.metadata.name, refuse.message) for refuse in tiny.refused] == [
        ("a", "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        ("b", "0/1 nodes are available: the lab's scheduler does not evaluate nodeAffinity; use nodeSelector."),
        ("c", "Scheduling is blocked due to non-empty scheduling gates"),
    ]


def test_a_pod_without_claims_just_gets_its_node() -> None:
    tiny = Tiny()
    pod = tiny.pod("a")
    tiny.put(msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, resource_claims=())))
    tiny.settle()
    assert tiny.node_of("a") == "lab"
    assert not tiny.cluster.claims
