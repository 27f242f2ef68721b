"""Which container holds which device, case by case as CONTRACT §4 lists them."""

from typing import Any

import msgspec
import pytest

from podvitals.claim.holdings import Holding, claim_names, holdings, settled
from podvitals.claim.pod import Pod
from podvitals.claim.resource import ResourceClaim
from podvitals.device.key import DeviceKey

NS = "ml"


def pod(**spec: Any) -> Pod:
    """A pod whose template claim "gpus" was generated as "gpus-x7k"."""
    status = {"resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": "gpus-x7k"}]} | spec.pop("status", {})
    body = {
        "metadata": {"name": "trainer-0", "namespace": NS, "uid": "pod-1"},
        "spec": {"resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": "t"}]} | spec,
        "status": status,
    }
    return msgspec.convert(body, Pod)


def uses(name: str, *claims: tuple[str, str] | str, **more: Any) -> dict[str, Any]:
    """A container that refers to claims, each whole (a name) or one request of it (name, request)."""
    refs = [{"name": claim} if isinstance(claim, str) else {"name": claim[0], "request": claim[1]} for claim in claims]
    return {"name": name, "resources": {"claims": refs}} | more


def claim(
    name: str = "gpus-x7k", *results: tuple[str, str] | dict[str, Any], owner: str = "pod-1", **more: Any
) -> dict[str, ResourceClaim]:
    """An allocated claim: results are (request, device) of driver "gpu.example.com", pool "n1"."""
    devices = [
        result if isinstance(result, dict) else {"request": result[0], "device": result[1], "driver": "gpu.example.com", "pool": "n1"}
        for result in results
    ]
    owners = [{"apiVersion": "v1", "kind": "Pod", "name": "trainer-0", "uid": owner, "controller": True}] if owner else []
    body: dict[str, Any] = {
        "metadata": {"name": name, "namespace": more.pop("namespace", NS), "ownerReferences": more.pop("owners", owners)},
        "status": {
            "allocation": {"devices": {"results": devices}},
            "reservedFor": more.pop("reserved", [{"resource": "pods", "name": "trainer-0", "uid": "pod-1"}]),
        }
        | more,
    }
    return {name: msgspec.convert(body, ResourceClaim)}


def held(pod: Pod, claims: dict[str, ResourceClaim]) -> list[tuple[str, str, str, str]]:
    return [(holding.container, holding.kind, holding.entry, holding.key.device) for holding in holdings(pod, claims)]


def test_a_container_that_names_a_template_claim_holds_all_its_devices() -> None:
    got = holdings(pod(containers=[uses("train", "gpus")]), claim("gpus-x7k", ("gpu", "g1"), ("nic", "n0")))
    assert got == (
        Holding("train", "container", "claim:gpus", "gpus", "gpus-x7k", "gpu", DeviceKey("gpu.example.com", "n1", "g1")),
        Holding("train", "container", "claim:gpus", "gpus", "gpus-x7k", "nic", DeviceKey("gpu.example.com", "n1", "n0")),
    )


def test_a_container_that_names_one_request_holds_that_request_s_devices_only() -> None:
    it = pod(containers=[uses("train", ("gpus", "gpu")), uses("net", ("gpus", "nic")), uses("log")])
    assert held(it, claim("gpus-x7k", ("gpu", "g1"), ("nic", "n0"))) == [
        ("net", "container", "claim:gpus/nic", "n0"),
        ("train", "container", "claim:gpus/gpu", "g1"),
    ]


@pytest.mark.parametrize(("asked", "given"), [("gpu", "gpu/large"), ("gpu/large", "gpu"), ("gpu/large", "gpu/large"), ("gpu", "gpu")])
def test_sub_requests_on_either_side_are_compared_by_the_part_before_the_slash(asked: str, given: str) -> None:
    got = holdings(pod(containers=[uses("train", ("gpus", asked))]), claim("gpus-x7k", (given, "g1"), ("gpux", "g2")))
    assert [(holding.entry, holding.request, holding.key.device) for holding in got] == [(f"claim:gpus/{asked}", given, "g1")]


def test_a_named_claim_needs_no_owner_and_may_serve_several_pods() -> None:
    both = [{"resource": "pods", "name": name, "uid": uid} for name, uid in (("other", "pod-2"), ("trainer-0", "pod-1"))]
    it = pod(resourceClaims=[{"name": "shared", "resourceClaimName": "big"}], containers=[uses("train", "shared")])
    assert held(it, claim("big", ("gpu", "g1"), owner="", reserved=both)) == [("train", "container", "claim:shared", "g1")]
    assert claim_names(it) == {"big"}


def test_a_claim_reserved_for_other_pods_only_is_not_held() -> None:
    it = pod(resourceClaims=[{"name": "shared", "resourceClaimName": "big"}], containers=[uses("train", "shared")])
    assert held(it, claim("big", ("gpu", "g1"), owner="", reserved=[{"resource": "pods", "name": "trainer-0", "uid": "pod-0"}])) == []


@pytest.mark.parametrize("owner", ["pod-0", ""])
def test_a_template_claim_of_an_earlier_pod_of_that_name_is_not_held(owner: str) -> None:
    assert held(pod(containers=[uses("train", "gpus")]), claim("gpus-x7k", ("gpu", "g1"), owner=owner)) == []


def test_an_owner_that_is_not_the_controller_does_not_make_it_the_pod_s_claim() -> None:
    owners = [{"kind": "Pod", "name": "trainer-0", "uid": "pod-1"}]
    assert held(pod(containers=[uses("train", "gpus")]), claim("gpus-x7k", ("gpu", "g1"), owners=owners)) == []


def test_a_claim_of_another_namespace_is_not_held() -> None:
    assert held(pod(containers=[uses("train", "gpus")]), claim("gpus-x7k", ("gpu", "g1"), namespace="other")) == []


def test_a_pod_group_s_claim_is_held_by_the_pods_of_that_group() -> None:
    owners = [{"apiVersion": "scheduling.k8s.io/v1alpha3", "kind": "PodGroup", "name": "g", "uid": "group-1", "controller": True}]
    reserved = [{"apiGroup": "scheduling.k8s.io", "resource": "podgroups", "name": "g", "uid": "group-1"}]
    given = claim("gpus-x7k", ("gpu", "g1"), owners=owners, reserved=reserved)
    inside = pod(containers=[uses("train", "gpus")], schedulingGroup={"podGroupName": "g"})
    another = pod(containers=[uses("train", "gpus")], schedulingGroup={"podGroupName": "h"})
    assert held(inside, given) == [("train", "container", "claim:gpus", "g1")]
    assert held(another, given) == []
    assert held(pod(containers=[uses("train", "gpus")]), given) == []


def test_a_named_claim_reserved_for_one_pod_group_is_not_held_by_another() -> None:
    reserved = [{"apiGroup": "scheduling.k8s.io", "resource": "podgroups", "name": "g", "uid": "group-1"}]
    big = claim("big", ("gpu", "g1"), owner="", reserved=reserved)
    spec = {"resourceClaims": [{"name": "shared", "resourceClaimName": "big"}], "containers": [uses("train", "shared")]}
    assert len(holdings(pod(**spec, schedulingGroup={"podGroupName": "g"}), big)) == 1
    assert holdings(pod(**spec, schedulingGroup={"podGroupName": "h"}), big) == ()


def test_init_sidecar_and_ephemeral_containers_hold_devices_too() -> None:
    it = pod(
        initContainers=[uses("prepare", "gpus"), uses("proxy", "gpus", restartPolicy="Always")],
        containers=[uses("train", "gpus")],
        ephemeralContainers=[uses("debug", "gpus")],
    )
    assert {(container, kind) for container, kind, _, _ in held(it, claim("gpus-x7k", ("gpu", "g1")))} == {
        ("prepare", "init"),
        ("proxy", "sidecar"),
        ("train", "container"),
        ("debug", "ephemeral"),
    }


def test_several_claims_are_kept_apart() -> None:
    it = pod(
        resourceClaims=[{"name": "gpus", "resourceClaimTemplateName": "t"}, {"name": "nics", "resourceClaimName": "n"}],
        containers=[uses("train", "gpus", ("nics", "nic"))],
    )
    given = claim("gpus-x7k", ("gpu", "g1")) | claim("n", ("nic", "eth1"), owner="")
    assert held(it, given) == [("train", "container", "claim:gpus", "g1"), ("train", "container", "claim:nics/nic", "eth1")]
    assert claim_names(it) == {"gpus-x7k", "n"}


def test_a_claim_that_turned_out_not_to_be_needed_is_no_claim() -> None:
    it = pod(containers=[uses("train", "gpus")], status={"resourceClaimStatuses": [{"name": "gpus"}]})
    assert claim_names(it) == frozenset()
    assert holdings(it, {}) == ()


def test_a_template_claim_not_generated_yet_is_no_claim_yet() -> None:
    it = pod(containers=[uses("train", "gpus")], status={"resourceClaimStatuses": []})
    assert claim_names(it) == frozenset()


def test_admin_access_and_shares_are_told_and_two_shares_are_two_holdings() -> None:
    share = {"request": "r", "driver": "d", "pool": "p", "device": "x"}
    given = claim("gpus-x7k", share | {"shareID": "b"}, share | {"shareID": "a"}, share | {"device": "y", "adminAccess": True})
    got = [(holding.key.device, holding.share_id, holding.admin) for holding in holdings(pod(containers=[uses("train", "gpus")]), given)]
    assert got == [("x", "a", False), ("x", "b", False), ("y", None, True)]


def test_extended_resources_backed_by_devices_are_named_by_the_resource() -> None:
    mapping = {"containerName": "train", "resourceName": "example.com/gpu", "requestName": "container-0-request-0"}
    status = {"resourceClaimStatuses": [], "extendedResourceClaimStatus": {"resourceClaimName": "ext", "requestMappings": [mapping]}}
    it = pod(resourceClaims=[], containers=[{"name": "train"}, {"name": "log"}], status=status)
    given = claim("ext", ("container-0-request-0", "g1"), ("container-1-request-0", "g2"))
    assert held(it, given) == [("train", "container", "example.com/gpu", "g1")]
    assert claim_names(it) == {"ext"}
    assert held(it, claim("ext", ("container-0-request-0", "g1"), owner="pod-0")) == []


def test_a_claim_that_is_missing_or_not_allocated_holds_nothing_and_hides_nothing() -> None:
    it = pod(
        resourceClaims=[
            {"name": "a", "resourceClaimName": "a"},
            {"name": "b", "resourceClaimName": "b"},
            {"name": "c", "resourceClaimName": "c"},
        ],
        containers=[uses("train", "a", "b", "c", "not-a-claim-of-this-pod")],
    )
    unallocated = msgspec.convert({"metadata": {"name": "b", "namespace": NS}, "status": {}}, ResourceClaim)
    assert held(it, claim("c", ("gpu", "g1"), owner="") | {"b": unallocated}) == [("train", "container", "claim:c", "g1")]


def test_a_claim_named_twice_by_a_container_is_held_once_per_entry() -> None:
    it = pod(containers=[uses("train", "gpus", "gpus", ("gpus", "gpu"))])
    assert held(it, claim("gpus-x7k", ("gpu", "g1"))) == [
        ("train", "container", "claim:gpus", "g1"),
        ("train", "container", "claim:gpus/gpu", "g1"),
    ]


ONE = claim("gpus-x7k", ("gpu", "g1"))


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({}, "not there"),
        (claim("gpus-x7k", ("gpu", "g1"), allocation=None), "not allocated"),
        (claim("gpus-x7k", ("gpu", "g1"), reserved=[]), "reserved for nobody: it may be allocated anew"),
        (claim("gpus-x7k", ("gpu", "g1"), reserved=[{"resource": "pods", "name": "trainer-0", "uid": "pod-0"}]), "another pod's"),
        (claim("gpus-x7k", ("gpu", "g1"), owner="pod-0"), "made for another pod"),
    ],
)
def test_what_a_pod_holds_is_not_settled_while_a_claim_is(claims: dict[str, ResourceClaim], why: str) -> None:
    assert not settled(pod(containers=[uses("train", "gpus")]), claims), why
    assert settled(pod(containers=[uses("train")]), claims), "nobody uses it"


def test_what_a_pod_holds_is_settled_once_each_claim_is_its_own_whatever_it_gives() -> None:
    it = pod(containers=[uses("train", ("gpus", "gpu"))])
    assert settled(it, ONE)
    assert settled(it, claim("gpus-x7k")), "a claim without requests"
    assert settled(it, claim("gpus-x7k", ("nic", "n0"))), "the container uses a request that gave nothing"


def test_what_a_pod_holds_is_not_settled_before_its_claim_has_a_name_unless_it_needs_none() -> None:
    for status, over in (([], False), ([{"name": "gpus"}], True)):
        assert settled(pod(containers=[uses("train", "gpus")], status={"resourceClaimStatuses": status}), {}) is over


def test_what_a_pod_holds_is_not_settled_before_the_claim_of_its_extended_resource_is_its_own() -> None:
    extended = {"resourceClaimName": "gpus-x7k", "requestMappings": [{"containerName": "train", "resourceName": "r", "requestName": "gpu"}]}
    it = pod(containers=[uses("train")], status={"extendedResourceClaimStatus": extended})
    assert not settled(it, {})
    assert settled(it, ONE)
