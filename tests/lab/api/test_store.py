"""The store: one sequence of versions, and watches that miss nothing, from any version still in the window."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.lab.api.kinds import CLAIMS, PODS
from podvitals.lab.api.refusal import Refusal
from podvitals.lab.api.store import Change, Key, Store

NAMES = ("a", "b", "c")
Step = tuple[str, str]
STEPS = st.lists(st.tuples(st.sampled_from(("put", "remove")), st.sampled_from(NAMES)), max_size=40)


def data(name: str, mark: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "uid": f"{name}-uid"}, "mark": mark}


def run(store: Store, steps: list[Step]) -> list[tuple[int, dict[str, int]]]:
    """Every state the store was in: version → what each object held."""
    states = [(store.version, snapshot(store))]
    for mark, (action, name) in enumerate(steps):
        if action == "put":
            store.put(PODS, data(name, mark))
        elif store.get(PODS, Key("n", name)):
            store.remove(PODS, Key("n", name))
        states.append((store.version, snapshot(store)))
    return states


def snapshot(store: Store) -> dict[str, int]:
    return {item.key.name: item.data["mark"] for item in store.items(PODS)}


def replay(state: dict[str, int], changes: list[Change]) -> dict[str, int]:
    """What a client makes of the events: it must know what it is told to change or forget."""
    known = dict(state)
    for change in changes:
        name = change.item.key.name
        assert (name in known) == (change.type != "ADDED"), change
        if change.type == "DELETED":
            del known[name]
        else:
            known[name] = change.item.data["mark"]
    return known


@given(STEPS)
def test_versions_only_grow_and_every_write_has_its_own(steps: list[Step]) -> None:
    store = Store()
    run(store, steps)
    versions = [change.version for change in store.history(PODS).changes]
    assert versions == sorted(set(versions))
    assert store.version == max([1, *versions])


@given(STEPS)
def test_a_replay_from_any_version_ends_where_the_list_is(steps: list[Step]) -> None:
    store = Store()
    for version, state in run(store, steps):
        history = store.history(PODS)
        assert replay(state, history.read(history.place(version))) == snapshot(store)


@given(STEPS, st.integers(1, 6))
def test_a_replay_from_outside_the_window_is_refused_and_never_wrong(steps: list[Step], window: int) -> None:
    store = Store(window=window)
    for version, state in run(store, steps):
        history = store.history(PODS)
        if version < history.floor:
            with pytest.raises(Refusal, match="too old"):
                history.place(version)
        else:
            assert replay(state, history.read(history.place(version))) == snapshot(store)
    assert len(store.history(PODS).changes) < 2 * window


def test_a_watch_that_falls_out_of_the_window_is_told_so() -> None:
    store = Store(window=2)
    place = store.history(PODS).place(store.version)
    for mark in range(4):
        store.put(PODS, data("a", mark))
    with pytest.raises(Refusal, match="too old"):
        store.history(PODS).read(place)


def test_a_client_of_an_earlier_server_is_told_to_list_again() -> None:
    with pytest.raises(Refusal, match="too old resource version"):
        Store(first_version=5000).history(PODS).place(4999)


def test_a_stored_object_is_not_changed_by_a_later_write() -> None:
    store = Store()
    first = store.put(PODS, data("a", 0))
    before = first.json
    store.put(PODS, first.copy() | {"mark": 1})
    assert first.data["mark"] == 0
    assert first.json == before


def test_dependents_are_found_by_their_owner_until_they_go() -> None:
    store = Store()
    owner = store.put(PODS, data("a", 0)).meta["uid"]
    claim = data("c", 0)
    claim["metadata"]["ownerReferences"] = [{"uid": owner}]
    store.put(CLAIMS, claim)
    assert store.owned(owner) == [(CLAIMS, Key("n", "c"))]
    store.remove(CLAIMS, Key("n", "c"))
    assert store.owned(owner) == []


def test_a_list_is_ordered_by_namespace_then_name() -> None:
    store = Store()
    for namespace, name in (("b", "a"), ("a", "b"), ("a", "a")):
        made = data(name, 0)
        made["metadata"] |= {"namespace": namespace, "uid": namespace + name}
        store.put(PODS, made)
    assert [item.key for item in store.items(PODS)] == [("a", "a"), ("a", "b"), ("b", "a")]
    assert [item.key.name for item in store.items(PODS, "a")] == ["a", "b"]
