"""Strategic merge patch: what apimachinery makes of the same patches (its order of elements included)."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.lab.api.refusal import Refusal
from podvitals.lab.api.strategic import apply

POD = "core.v1.Pod"
Body = dict[str, Any]


def patched(original: Body, patch: Body, definition: str = POD) -> Body:
    return apply(definition, copy.deepcopy(original), copy.deepcopy(patch))


def conditions(*types: str, **status: str) -> Body:
    return {"status": {"conditions": [{"type": kind, "status": status.get(kind, "True")} for kind in types]}}


def types(body: Body) -> list[str]:
    return [each["type"] for each in body["status"]["conditions"]]


def test_a_condition_is_merged_into_the_one_of_its_type() -> None:
    after = patched(conditions("A", "B"), {"status": {"conditions": [{"type": "B", "status": "False"}]}})
    assert after == conditions("A", "B", B="False")


def test_a_condition_nobody_knew_comes_first() -> None:
    assert types(patched(conditions("A", "B"), conditions("C"))) == ["C", "A", "B"]


def test_known_elements_keep_the_servers_order() -> None:
    assert types(patched(conditions("A", "B", "C"), conditions("C", "A"))) == ["B", "C", "A"]


def test_set_element_order_decides() -> None:
    order = [{"type": kind} for kind in ("C", "A", "B")]
    patch = {"status": {"$setElementOrder/conditions": order, "conditions": [{"type": "C", "status": "True"}]}}
    assert types(patched(conditions("A", "B"), patch)) == ["C", "A", "B"]


def test_set_element_order_alone_reorders() -> None:
    patch = {"status": {"$setElementOrder/conditions": [{"type": "B"}, {"type": "A"}]}}
    assert types(patched(conditions("A", "B"), patch)) == ["B", "A"]


def test_an_order_that_leaves_out_a_patched_element_is_refused() -> None:
    patch = {"status": {"$setElementOrder/conditions": [{"type": "A"}], "conditions": [{"type": "B"}]}}
    with pytest.raises(Refusal, match="setElementOrder"):
        patched(conditions("A", "B"), patch)


def test_an_element_is_deleted_by_its_key() -> None:
    assert types(patched(conditions("A", "B"), {"status": {"conditions": [{"$patch": "delete", "type": "A"}]}})) == ["B"]


def test_a_list_is_replaced_on_demand() -> None:
    patch = {"status": {"conditions": [{"$patch": "replace"}, {"type": "C"}]}}
    assert patched(conditions("A", "B"), patch) == {"status": {"conditions": [{"type": "C"}]}}


def test_an_object_is_replaced_on_demand() -> None:
    patch = {"status": {"$patch": "replace", "phase": "Running"}}
    assert patched(conditions("A"), patch) == {"status": {"phase": "Running"}}


def test_null_deletes_a_field() -> None:
    assert patched({"metadata": {"labels": {"a": "1", "b": "2"}}}, {"metadata": {"labels": {"a": None}}}) == {
        "metadata": {"labels": {"b": "2"}}
    }


def test_lists_without_a_key_are_replaced() -> None:
    before = {"status": {"containerStatuses": [{"name": "a"}, {"name": "b"}]}}
    after = {"status": {"containerStatuses": [{"name": "b"}]}}
    assert patched(before, after) == after


def test_containers_are_merged_by_name_and_their_environment_too() -> None:
    before = {"spec": {"containers": [{"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}]}]}}
    patch = {"spec": {"containers": [{"name": "c", "env": [{"name": "B", "value": "2"}]}]}}
    env = [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]
    assert patched(before, patch) == {"spec": {"containers": [{"name": "c", "image": "x", "env": env}]}}


def test_finalizers_are_a_set_and_can_be_taken_out() -> None:
    before = {"metadata": {"finalizers": ["a", "b"]}}
    assert patched(before, {"metadata": {"finalizers": ["b", "c"]}}) == {"metadata": {"finalizers": ["a", "b", "c"]}}
    assert patched(before, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}) == {"metadata": {"finalizers": ["b"]}}


def test_retain_keys_clears_what_is_not_listed() -> None:
    before = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    patch = {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}
    assert patched(before, patch) == {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}


def test_reserved_for_is_merged_by_uid() -> None:
    before = {"status": {"reservedFor": [{"uid": "1", "name": "a"}]}}
    after = patched(before, {"status": {"reservedFor": [{"uid": "2", "name": "b"}]}}, "resource.v1.ResourceClaim")
    assert {each["uid"] for each in after["status"]["reservedFor"]} == {"1", "2"}


def test_an_element_without_its_key_is_refused() -> None:
    with pytest.raises(Refusal, match="merge key: type"):
        patched(conditions("A"), {"status": {"conditions": [{"status": "True"}]}})


TYPES = st.lists(st.sampled_from("ABCDEF"), unique=True, max_size=6)


@given(TYPES, TYPES)
def test_a_merge_loses_no_condition_and_doubles_none(before: list[str], patch: list[str]) -> None:
    after = types(patched(conditions(*before), conditions(*patch)))
    assert sorted(after) == sorted({*before, *patch})


@given(TYPES, TYPES)
def test_a_patch_applied_twice_is_a_patch_applied_once(before: list[str], patch: list[str]) -> None:
    once = patched(conditions(*before), conditions(*patch, **dict.fromkeys(patch, "False")))
    again = patched(once, conditions(*patch, **dict.fromkeys(patch, "False")))
    assert {each["type"]: each["status"] for each in again["status"]["conditions"]} == {
        each["type"]: each["status"] for each in once["status"]["conditions"]
    }
