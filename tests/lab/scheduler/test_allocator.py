"""Which devices claims get: upstream's rules, and a refusal a person can act upon."""

from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podvitals.claim.resource import DeviceClass, ResourceClaim, ResourceSlice
from podvitals.device.key import DeviceKey
from podvitals.lab.scheduler.allocator import Given, Refused, allocate, in_use, node_devices
from podvitals.lab.scheduler.selector import matches

DRIVER = "gpu.example.com"


def slice_(
    count: int = 8, *, generation: int = 1, pool: str = "node1", pieces: int = 1, driver: str = DRIVER, **device: object
) -> ResourceSlice:
    devices = [{"name": f"gpu-{n}", "attributes": {"numa": {"int": n // 2}, "index": {"int": n}}, **device} for n in range(count)]
    spec = {
        "driver": driver,
        "nodeName": "node1",
        "pool": {"name": pool, "generation": generation, "resourceSliceCount": pieces},
        "devices": devices,
    }
    return msgspec.convert({"metadata": {"name": f"{pool}-{generation}"}, "spec": spec}, ResourceSlice)


def claim(*requests: Mapping[str, object], constraints: list[object] | None = None, held: list[str] | None = None) -> ResourceClaim:
    status: dict[str, object] = {}
    if held is not None:
        results = [{"request": "r", "driver": DRIVER, "pool": "node1", "device": name} for name in held]
        status = {"allocation": {"devices": {"results": results}}}
    body = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests, "constraints": constraints or []}}, "status": status}
    return msgspec.convert(body, ResourceClaim)


def exactly(name: str = "gpu", **fields: object) -> dict[str, object]:
    return {"name": name, "exactly": {"deviceClassName": "gpu", **fields}}


def cel(expression: str) -> list[object]:
    return [{"cel": {"expression": expression}}]


CLASSES = {
    "gpu": msgspec.convert({"metadata": {"name": "gpu"}, "spec": {"selectors": cel(f'device.driver == "{DRIVER}"')}}, DeviceClass),
    "any": msgspec.convert({"metadata": {"name": "any"}, "spec": {}}, DeviceClass),
}


def ask(
    claims: Mapping[str, ResourceClaim] | ResourceClaim, slices: list[ResourceSlice] | None = None, taken: set[str] | None = None
) -> list[str] | str:
    claims = {"c": claims} if isinstance(claims, ResourceClaim) else claims
    keys = frozenset(DeviceKey(DRIVER, "node1", name) for name in taken or ())
    answer = allocate(claims, node_devices(slices if slices is not None else [slice_()], "node1"), keys, CLASSES, matches)
    return answer.reason if isinstance(answer, Refused) else [f"{given.request}={given.key.device}" for given in answer]


def test_one_device_is_the_default_and_devices_are_taken_in_their_natural_order() -> None:
    assert ask(claim(exactly())) == ["gpu=gpu-0"]
    assert ask(claim(exactly(count=3)), [slice_(12)], {"gpu-1"}) == ["gpu=gpu-0", "gpu=gpu-2", "gpu=gpu-3"]


def test_all_takes_every_device_that_matches_or_none() -> None:
    odd = exactly(allocationMode="All", selectors=cel(f'device.attributes["{DRIVER}"].index % 2 == 1'))
    assert ask(claim(odd)) == ["gpu=gpu-1", "gpu=gpu-3", "gpu=gpu-5", "gpu=gpu-7"]
    refusal = ask(claim(odd), taken={"gpu-5"})
    assert 'wants all devices of class "gpu", and 3 of 4 can be had' in refusal


def test_a_device_is_not_given_twice_within_a_pod_either() -> None:
    answer = ask({"a": claim(exactly(count=4)), "b": claim(exactly(count=4))})
    assert len(answer) == len(set(answer)) == 8
    refusal = ask({"a": claim(exactly(count=5)), "b": claim(exactly(count=4))})
    assert "each request can be met alone, but not all together" in refusal


def test_admin_access_sees_devices_that_are_taken_and_takes_none_away() -> None:
    admin = exactly("spy", adminAccess=True, allocationMode="All")
    answer = ask({"a": claim(admin), "b": claim(exactly(count=8))})
    assert len(answer) == 16
    assert len(ask(claim(admin), taken={"gpu-0", "gpu-1"})) == 8


def test_the_first_sub_request_that_works_wins() -> None:
    prioritized = {
        "name": "gpu",
        "firstAvailable": [
            {"name": "many", "deviceClassName": "gpu", "count": 9},
            {"name": "two", "deviceClassName": "gpu", "count": 2},
            {"name": "one", "deviceClassName": "gpu"},
        ],
    }
    assert ask(claim(prioritized)) == ["gpu/two=gpu-0", "gpu/two=gpu-1"]
    everything = {f"gpu-{n}" for n in range(8)}
    refusal = ask(claim(prioritized), taken=everything)
    assert all(f'"gpu/{name}"' in refusal for name in ("many", "two", "one"))


def test_match_attribute_ties_devices_and_the_search_goes_back_for_it() -> None:
    tied = claim(exactly(count=2), constraints=[{"requests": ["gpu"], "matchAttribute": f"{DRIVER}/numa"}])
    assert ask(tied, taken={"gpu-0"}) == ["gpu=gpu-2", "gpu=gpu-3"]
    refusal = ask(tied, taken={"gpu-0", "gpu-2", "gpu-4", "gpu-6"})
    assert f"under the constraint on {DRIVER}/numa" in refusal
    assert ask(claim(exactly(count=2), constraints=[{"matchAttribute": f"{DRIVER}/nothing"}])).startswith("each request")  # type: ignore[union-attr]


def test_distinct_attribute_keeps_devices_apart() -> None:
    apart = claim(exactly(count=4), constraints=[{"distinctAttribute": f"{DRIVER}/numa"}])
    assert ask(apart) == ["gpu=gpu-0", "gpu=gpu-2", "gpu=gpu-4", "gpu=gpu-6"]


def test_only_the_newest_complete_generation_of_a_pool_counts() -> None:
    assert ask(claim(exactly(count=8)), [slice_(8, generation=1), slice_(1, generation=2)]) == (
        'request "gpu" of claim "c" wants 8 devices of class "gpu", and 1 can be had (1 device on this node considered)'
    )
    assert "none can be had (0 devices on this node considered)" in ask(claim(exactly()), [slice_(8, generation=2, pieces=2)])


def test_a_tainted_device_goes_only_to_who_tolerates_it() -> None:
    tainted = [slice_(2, taints=[{"key": "sick", "effect": "NoSchedule", "value": "yes"}])]
    assert "2 tainted" in ask(claim(exactly()), tainted)
    assert ask(claim(exactly(tolerations=[{"key": "sick", "operator": "Exists"}])), tainted) == ["gpu=gpu-0"]
    assert ask(claim(exactly()), [slice_(2, taints=[{"key": "sick", "effect": "None"}])]) == ["gpu=gpu-0"]


def test_a_refusal_says_which_class_and_what_became_of_the_devices() -> None:
    foreign = [slice_(4), slice_(2, driver="net.example.com", pool="nets")]
    wanted = exactly(count=2, selectors=cel(f'device.attributes["{DRIVER}"].index > 1'))
    assert ask(claim(wanted), foreign, {"gpu-3"}) == (
        'request "gpu" of claim "c" wants 2 devices of class "gpu", and 1 can be had '
        "(6 devices on this node considered, 2 not of the class, 2 not matching the request's selectors, 1 already allocated)"
    )
    assert 'names device class "nope", which does not exist' in ask(claim({"name": "x", "exactly": {"deviceClassName": "nope"}}))


def test_a_selector_that_cannot_be_evaluated_is_named_with_its_place() -> None:
    refusal = ask(claim(exactly(selectors=cel("cel.bind(x, device.driver, x == 'a')"))))
    assert 'request "gpu" of claim "c": selector #0' in refusal
    assert "uses 'bind', which the lab's CEL does not have" in refusal


def test_a_share_of_a_devices_capacity_is_refused_by_name() -> None:
    assert "asks for capacity" in ask(claim(exactly(capacity={"requests": {"memory": "1Gi"}})))


def test_devices_in_use_are_those_of_allocations_without_admin_access() -> None:
    held = claim(exactly(), held=["gpu-1", "gpu-2"])
    assert {key.device for key in in_use([held, claim(exactly())])} == {"gpu-1", "gpu-2"}


@given(
    st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from(["ExactCount", "All"])), min_size=1, max_size=4),
    st.sets(st.integers(0, 7)),
    st.booleans(),
)
def test_no_device_is_ever_given_twice_and_counts_are_exact(wants: list[tuple[int, bool, str]], taken: set[int], tied: bool) -> None:
    constraints: list[object] = [{"matchAttribute": f"{DRIVER}/numa"}] if tied else []
    claims = {
        f"c{n}": claim(exactly(count=count, adminAccess=admin, allocationMode=mode), constraints=constraints)
        for n, (count, admin, mode) in enumerate(wants)
    }
    used = frozenset(DeviceKey(DRIVER, "node1", f"gpu-{n}") for n in taken)
    answer = allocate(claims, node_devices([slice_()], "node1"), used, CLASSES, matches)
    if isinstance(answer, Refused):
        return
    mine = [given.key for given in answer if not given.wanted.admin_access]
    assert len(mine) == len(set(mine))
    assert not used & set(mine)
    for name, (count, _, mode) in zip(claims, wants, strict=True):
        got = [given for given in answer if given.claim == name]
        assert mode == "All" or len(got) == count
        assert not tied or len({_numa(one) for one in got}) == 1


def _numa(given: Given) -> int:
    return int(given.key.device.removeprefix("gpu-")) // 2
