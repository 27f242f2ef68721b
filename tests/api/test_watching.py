"""Watches: every change once, in order, from where a list ended."""

import asyncio

import pytest

from podvitals.errors import ApiError
from podvitals.kube.resources import PODS
from tests.api.subject import Subject, refused


async def test_a_watch_tells_what_happens_after_a_list_in_order(subject: Subject) -> None:
    await subject.create_pod("before")
    async with subject.watching(PODS) as seen:
        made = await subject.create_pod("a")
        changed = await subject.patch_status({"status": {"message": "x"}})
        await subject.client.delete(PODS, "a", subject.namespace)
        added, modified, deleted = [await seen.next() for _ in range(3)]
        if deleted[0] == "MODIFIED":  # a pod may be marked for deletion first
            deleted = await seen.next()
    assert [event[0] for event in (added, modified, deleted)] == ["ADDED", "MODIFIED", "DELETED"]
    assert added[1]["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert modified[1]["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
    assert modified[1]["status"]["message"] == "x"
    assert deleted[1]["status"]["message"] == "x", "the last state comes with the deletion"
    assert int(deleted[1]["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])
    assert (added[1]["kind"], added[1]["apiVersion"]) == ("Pod", "v1"), "unlike items of a list, objects of a watch say their kind"


async def test_a_watch_from_an_earlier_version_tells_what_was_missed(subject: Subject) -> None:
    before = (await subject.client.list(PODS, subject.namespace)).resource_version
    await subject.create_pod("a")
    await subject.create_pod("b")
    await subject.patch_status({"status": {"message": "x"}}, "a")
    async with subject.watching(PODS, resource_version=before) as seen:
        assert await seen.named(3) == ["ADDED a", "ADDED b", "MODIFIED a"]
    of_b = (await subject.get_pod("b"))["metadata"]["resourceVersion"]
    async with subject.watching(PODS, resource_version=of_b) as seen:
        assert await seen.named(1) == ["MODIFIED a"]


@pytest.mark.parametrize("version", ["", "0"])
async def test_a_watch_from_no_version_begins_with_what_exists(subject: Subject, version: str) -> None:
    await subject.create_pod("a")
    await subject.create_pod("b")
    async with subject.watching(PODS, resource_version=version) as seen:
        assert sorted(await seen.named(2)) == ["ADDED a", "ADDED b"]
        await subject.create_pod("c")
        assert await seen.named(1) == ["ADDED c"]


async def test_what_a_label_selector_gains_and_loses_is_added_and_deleted(subject: Subject) -> None:
    await subject.create_pod("a")
    async with subject.watching(PODS, labels="app=x") as seen:
        for labels in ({"app": "x"}, {"app": "x", "more": "1"}, {"app": None}):
            await subject.client.patch(PODS, "a", {"metadata": {"labels": labels}}, subject.namespace)
        assert await seen.named(3) == ["ADDED a", "MODIFIED a", "DELETED a"]


async def test_a_watch_of_a_node_s_pods_or_of_one_pod_tells_of_no_other(subject: Subject) -> None:
    async with subject.watching(PODS, fields="spec.nodeName=n1") as of_node, subject.watching(PODS, fields="metadata.name=c") as of_pod:
        await subject.create_pod("a", node="n2")
        await subject.create_pod("b", node="n1")
        await subject.create_pod("c", node="n1")
        await subject.patch_status({"status": {"message": "x"}}, "a")
        await subject.patch_status({"status": {"message": "x"}}, "c")
        assert await of_node.named(3) == ["ADDED b", "ADDED c", "MODIFIED c"]
        assert await of_pod.named(2) == ["ADDED c", "MODIFIED c"]


async def test_a_watch_ends_at_its_time_with_a_bookmark_before(subject: Subject) -> None:
    async with subject.watching(PODS, seconds=5) as seen:
        made = await subject.create_pod("a")
        assert await seen.named(1) == ["ADDED a"]
        bookmark = await seen.any()
        assert (bookmark.type, bookmark.object) == ("BOOKMARK", None)
        assert int(bookmark.resource_version) >= int(made["metadata"]["resourceVersion"])
        assert {event.type async for event in seen.rest()} <= {"BOOKMARK"}


async def test_initial_events_end_with_an_annotated_bookmark(subject: Subject) -> None:
    await subject.create_pod("a")
    await subject.create_pod("b")
    async with subject.watching(PODS, resource_version="", initial=True) as seen:
        first = [await seen.any() for _ in range(3)]
        assert [event.type for event in first] == ["ADDED", "ADDED", "BOOKMARK"]
        assert first[2].initial_end
        await subject.create_pod("c")
        assert await seen.named(1) == ["ADDED c"]


async def test_initial_events_need_the_version_match_that_says_so(subject: Subject) -> None:
    path = PODS.path(subject.namespace)
    query = {"watch": "1", "sendInitialEvents": "true", "allowWatchBookmarks": "true"}
    call = subject.client.raw("GET", path, query=query)
    await refused(call, 422, "Invalid", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")


async def test_a_version_that_is_no_number_is_refused(subject: Subject) -> None:
    async with subject.watching(PODS, resource_version="x") as seen:
        with pytest.raises(ApiError, match="resourceVersion") as caught:
            await seen.any()
    assert caught.value.status in (400, 500), "the real server takes the blame for this one"


async def test_two_watches_see_the_same_events(subject: Subject) -> None:
    async with subject.watching(PODS) as one, subject.watching(PODS) as two:
        await asyncio.gather(*(subject.create_pod(f"p{number}") for number in range(10)))
        assert await one.named(10) == await two.named(10)


async def test_the_version_of_an_event_is_where_a_watch_can_go_on(subject: Subject) -> None:
    async with subject.watching(PODS) as seen:
        for name in ("a", "b", "c"):
            await subject.create_pod(name)
        version = (await seen.any()).resource_version
    async with subject.watching(PODS, resource_version=version) as seen:
        assert await seen.named(2) == ["ADDED b", "ADDED c"]
