"""Whatever pods and claims look like: no pod is shown a device of another, nothing it holds is left out, and the order never varies."""

import random
from collections.abc import Callable, Mapping

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from podvitals.claim.holdings import Holding, claim_names, holdings
from podvitals.claim.meta import ObjectMeta, OwnerReference
from podvitals.claim.pod import (
    ClaimReference,
    ClaimStatus,
    ContainerSpec,
    Pod,
    PodClaim,
    PodSpec,
    PodStatus,
    Resources,
    SchedulingGroup,
)
from podvitals.claim.resource import AllocationResult, Consumer, DeviceAllocation, DeviceResult, ResourceClaim, ResourceClaimStatus

UIDS = ("uid-a", "uid-b")
CLAIMS = ("one", "two", "three")
REQUESTS = ("r", "r/x", "q", "q/y")

names = st.sampled_from(("c1", "c2"))
results = st.lists(
    st.builds(
        DeviceResult,
        request=st.sampled_from(REQUESTS),
        driver=st.just("d"),
        pool=st.just("p"),
        device=st.sampled_from(("x", "y", "z")),
        admin_access=st.booleans(),
        share_id=st.sampled_from((None, "s1", "s2")),
    ),
    max_size=4,
).map(tuple)
owners = st.sampled_from(
    [
        (),
        *((OwnerReference(api_version="v1", kind="Pod", name="any", uid=uid, controller=True),) for uid in UIDS),
        (OwnerReference(api_version="v1", kind="Pod", name="any", uid=UIDS[0]),),
        (OwnerReference(api_version="scheduling.k8s.io/v1alpha3", kind="PodGroup", name="g", uid="uid-g", controller=True),),
    ]
)
consumers = st.lists(
    st.sampled_from(
        [
            *(Consumer(resource="pods", name="any", uid=uid) for uid in UIDS),
            Consumer(api_group="scheduling.k8s.io", resource="podgroups", name="g", uid="uid-g"),
        ]
    ),
    max_size=2,
).map(tuple)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Pod, dict[str, ResourceClaim]]:
    claims = {
        name: ResourceClaim(
            metadata=ObjectMeta(name=name, namespace="n", owner_references=draw(owners)),
            status=ResourceClaimStatus(
                allocation=draw(results.map(lambda given: AllocationResult(devices=DeviceAllocation(results=given)) if given else None)),
                reserved_for=draw(consumers),
            ),
        )
        for name in draw(st.sets(st.sampled_from(CLAIMS), min_size=2))
    }
    named = st.builds(PodClaim, name=names, resource_claim_name=st.sampled_from(CLAIMS))
    made = st.builds(PodClaim, name=names, resource_claim_template_name=st.just("t"))
    references = st.builds(ClaimReference, name=names, request=st.sampled_from(("", *REQUESTS)))
    containers = st.builds(
        ContainerSpec,
        name=st.sampled_from(("k1", "k2", "k3")),
        resources=st.builds(Resources, claims=st.lists(references, min_size=1, max_size=3).map(tuple)),
        restart_policy=st.sampled_from((None, "Always")),
    )
    some = st.lists(containers, min_size=1, max_size=2, unique_by=lambda container: container.name).map(tuple)
    generated = st.builds(ClaimStatus, name=names, resource_claim_name=st.none() | st.sampled_from(CLAIMS))
    pod = Pod(
        metadata=ObjectMeta(name="any", namespace="n", uid=draw(st.sampled_from(UIDS))),
        spec=PodSpec(
            resource_claims=tuple(draw(st.lists(named | made, min_size=1, max_size=2, unique_by=lambda claim: claim.name))),
            containers=draw(some),
            init_containers=draw(some),
            scheduling_group=draw(st.sampled_from((None, SchedulingGroup(pod_group_name="g")))),
        ),
        status=PodStatus(
            resource_claim_statuses=tuple(draw(st.lists(generated, min_size=1, max_size=2, unique_by=lambda status: status.name)))
        ),
    )
    return pod, claims


Holdings = Callable[[Pod, Mapping[str, ResourceClaim]], tuple[Holding, ...]]


def check_nothing_of_another_pod_is_held(find: Holdings, pod: Pod, claims: dict[str, ResourceClaim]) -> None:
    in_spec = {claim.name: claim for claim in pod.spec.resource_claims}
    group = pod.spec.scheduling_group is not None
    for holding in find(pod, claims):
        claim = claims[holding.claim_name]
        assert holding.claim_name in claim_names(pod)
        consumers = {consumer.uid for consumer in claim.status.reserved_for}
        assert not consumers or pod.metadata.uid in consumers or (group and "uid-g" in consumers)
        if in_spec[holding.claim].resource_claim_name is None:
            owner = claim.metadata.controller
            assert owner is not None
            assert owner.uid == pod.metadata.uid or (group and owner.uid == "uid-g")


def without_ownership(pod: Pod, claims: Mapping[str, ResourceClaim]) -> tuple[Holding, ...]:
    """The refuted twin: it believes the name of a claim, as one does who never saw a pod replaced by one of its name."""
    blind = {
        name: msgspec.structs.replace(
            claim,
            metadata=msgspec.structs.replace(
                claim.metadata, owner_references=(OwnerReference(kind="Pod", uid=pod.metadata.uid, controller=True),)
            ),
        )
        for name, claim in claims.items()
    }
    return holdings(pod, blind)


@given(worlds())
def test_nothing_of_another_pod_is_ever_held(world: tuple[Pod, dict[str, ResourceClaim]]) -> None:
    check_nothing_of_another_pod_is_held(holdings, *world)


def test_the_check_refutes_a_twin_that_does_not_look_at_owners() -> None:
    @settings(max_examples=2000, database=None, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False)
    @given(worlds())
    def check(world: tuple[Pod, dict[str, ResourceClaim]]) -> None:
        check_nothing_of_another_pod_is_held(without_ownership, *world)

    with pytest.raises(AssertionError):
        check()


@given(worlds())
def test_a_container_that_names_a_claim_holds_exactly_the_matching_devices_or_none(world: tuple[Pod, dict[str, ResourceClaim]]) -> None:
    pod, claims = world
    got = holdings(pod, claims)
    usable = {holding.claim for holding in got}
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for reference in container.resources.claims:
            if reference.name not in usable:
                continue  # that this is right, the check above says
            entry = f"claim:{reference.name}" + (f"/{reference.request}" if reference.request else "")
            name = next(holding.claim_name for holding in got if holding.claim == reference.name)
            allocation = claims[name].status.allocation
            assert allocation is not None
            wanted = {
                (result.request, result.device, result.admin_access, result.share_id)
                for result in allocation.devices.results
                if not reference.request or reference.request.split("/")[0] == result.request.split("/")[0]
            }
            mine = [holding for holding in got if holding.container == container.name and holding.entry == entry]
            assert wanted == {(holding.request, holding.key.device, holding.admin, holding.share_id) for holding in mine}


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_lists_changes_nothing(world: tuple[Pod, dict[str, ResourceClaim]], dice: random.Random) -> None:
    pod, claims = world
    shuffled = {
        name: msgspec.structs.replace(
            claim,
            status=msgspec.structs.replace(
                claim.status,
                allocation=claim.status.allocation
                and AllocationResult(
                    devices=DeviceAllocation(
                        results=tuple(dice.sample(claim.status.allocation.devices.results, len(claim.status.allocation.devices.results)))
                    )
                ),
            ),
        )
        for name, claim in reversed(claims.items())
    }
    got = holdings(pod, claims)
    assert got == holdings(pod, shuffled)
    assert list(got) == sorted(set(got))
