"""How objects go: grace, finalizers, namespaces with their content, what belongs to an owner that went."""

from typing import Any

from tests.lab.api.plain import CLAIMS, MERGE, PODS, Plain, claim, pod

NODE = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}


def owned_by(owner: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"apiVersion": "v1", "kind": "Pod", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]


async def gone(api: Plain, path: str) -> bool:
    return (await api("GET", path)).code == 404


async def test_a_pod_on_no_node_goes_at_once(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    await api.delete(f"{PODS}/a")
    assert await gone(api, f"{PODS}/a")


async def test_a_bound_pod_waits_for_its_kubelet(api: Plain) -> None:
    made = await api.create(PODS, pod("a"))
    await api.create(f"{PODS}/a/binding", NODE)
    going = await api.delete(f"{PODS}/a", {"gracePeriodSeconds": 7})
    assert going["metadata"]["deletionGracePeriodSeconds"] == 7
    assert going["metadata"]["deletionTimestamp"] > made["metadata"]["creationTimestamp"]
    await api.delete(f"{PODS}/a", {"gracePeriodSeconds": 0, "preconditions": {"uid": made["metadata"]["uid"]}})
    assert await gone(api, f"{PODS}/a")


async def test_a_running_grace_can_be_shortened_and_not_prolonged(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    await api.create(f"{PODS}/a/binding", NODE)
    graces = [
        (await api.delete(f"{PODS}/a", {"gracePeriodSeconds": wish}))["metadata"]["deletionGracePeriodSeconds"] for wish in (20, 5, 20)
    ]
    assert graces == [20, 5, 5]


async def test_an_ended_pod_goes_at_once(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    await api.create(f"{PODS}/a/binding", NODE)
    await api.patch(f"{PODS}/a/status", {"status": {"phase": "Failed"}})
    await api.delete(f"{PODS}/a")
    assert await gone(api, f"{PODS}/a")


async def test_another_uid_is_a_conflict(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    reply = await api("DELETE", f"{PODS}/a", {"preconditions": {"uid": "other"}})
    assert reply.code == 409
    assert "the UID in the precondition (other) does not match" in reply.body["message"]


async def test_a_finalizer_holds_an_object_until_it_is_taken_off(api: Plain) -> None:
    await api.create(CLAIMS, claim("c", finalizers=["x/y"]))
    assert "deletionTimestamp" in (await api.delete(f"{CLAIMS}/c"))["metadata"]
    reply = await api("PATCH", f"{CLAIMS}/c", {"metadata": {"finalizers": ["x/y", "z/z"]}}, kind=MERGE)
    assert reply.code == 422
    assert "no new finalizers can be added" in reply.body["message"]
    await api.patch(f"{CLAIMS}/c", {"metadata": {"finalizers": None}}, MERGE)
    assert await gone(api, f"{CLAIMS}/c")


async def test_the_claims_of_a_pod_go_with_it(api: Plain) -> None:
    owner = await api.create(PODS, pod("a"))
    await api.create(CLAIMS, claim("mine", ownerReferences=owned_by(owner)))
    await api.create(CLAIMS, claim("free"))
    await api.delete(f"{PODS}/a")
    assert await gone(api, f"{CLAIMS}/mine")
    assert not await gone(api, f"{CLAIMS}/free")


async def test_what_has_another_living_owner_stays(api: Plain) -> None:
    first, second = await api.create(PODS, pod("a")), await api.create(PODS, pod("b"))
    await api.create(CLAIMS, claim("ours", ownerReferences=[*owned_by(first), *owned_by(second)]))
    await api.delete(f"{PODS}/a")
    assert not await gone(api, f"{CLAIMS}/ours")
    await api.delete(f"{PODS}/b")
    assert await gone(api, f"{CLAIMS}/ours")


async def test_an_object_made_for_an_owner_that_is_gone_goes_too(api: Plain) -> None:
    owner = await api.create(PODS, pod("a"))
    await api.delete(f"{PODS}/a")
    await api.create(CLAIMS, claim("late", ownerReferences=owned_by(owner)))
    assert await gone(api, f"{CLAIMS}/late")


async def test_orphans_lose_their_owner_and_stay(api: Plain) -> None:
    owner = await api.create(PODS, pod("a"))
    await api.create(CLAIMS, claim("c", ownerReferences=owned_by(owner)))
    await api.delete(f"{PODS}/a", {"propagationPolicy": "Orphan"})
    assert "ownerReferences" not in (await api.get(f"{CLAIMS}/c"))["metadata"]


async def test_in_the_foreground_the_owner_goes_last(api: Plain) -> None:
    owner = await api.create(PODS, pod("a"))
    await api.create(CLAIMS, claim("c", ownerReferences=owned_by(owner), finalizers=["x/y"]))
    going = await api.delete(f"{PODS}/a", {"propagationPolicy": "Foreground"})
    assert going["metadata"]["finalizers"] == ["foregroundDeletion"]
    await api.patch(f"{CLAIMS}/c", {"metadata": {"finalizers": None}}, MERGE)
    assert await gone(api, f"{CLAIMS}/c")
    assert await gone(api, f"{PODS}/a")


async def test_a_namespace_goes_with_its_content_and_takes_nothing_new_meanwhile(api: Plain) -> None:
    await api.create("/api/v1/namespaces", {"metadata": {"name": "ml"}})
    claims = CLAIMS.replace("default", "ml")
    await api.create(claims, claim("free"))
    await api.create(claims, claim("held", finalizers=["x/y"]))
    going = await api.delete("/api/v1/namespaces/ml")
    assert going["status"]["phase"] == "Terminating"
    assert await gone(api, f"{claims}/free")
    refused = await api("POST", claims, claim("new"))
    assert refused.code == 403
    assert "because it is being terminated" in refused.body["message"]
    await api.patch(f"{claims}/held", {"metadata": {"finalizers": None}}, MERGE)
    assert await gone(api, "/api/v1/namespaces/ml")


async def test_a_collection_is_deleted_by_selector(api: Plain) -> None:
    for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
        await api.create(PODS, pod(name, app=app))
    await api.delete(f"{PODS}?labelSelector=app%3Dx")
    assert [each["metadata"]["name"] for each in (await api.get(PODS))["items"]] == ["c"]


async def test_an_eviction_is_a_deletion(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    await api.create(f"{PODS}/a/eviction", {"metadata": {"name": "a", "namespace": "default"}})
    assert await gone(api, f"{PODS}/a")


async def test_a_pod_is_bound_once(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    await api.create(f"{PODS}/a/binding", NODE)
    bound = await api.get(f"{PODS}/a")
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    reply = await api("POST", f"{PODS}/a/binding", NODE)
    assert reply.code == 409
    assert 'already assigned to node "n1"' in reply.body["message"]
