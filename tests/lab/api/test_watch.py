"""Watches: nothing is missed, nothing comes twice, what left the selection is said to be gone."""

import asyncio
import time

import aiohttp
import pytest

from podvitals.lab.api import ApiServer, ApiSettings
from tests.lab.api.plain import MERGE, PODS, Plain, pod


async def test_a_watch_from_a_lists_version_sees_what_came_after(api: Plain) -> None:
    await api.create(PODS, pod("before"))
    version = (await api.get(PODS))["metadata"]["resourceVersion"]
    await api.create(PODS, pod("a"))
    async with api.watch(PODS, resourceVersion=version) as events:
        await api.patch(f"{PODS}/a", {"metadata": {"labels": {"x": "1"}}}, MERGE)
        await api.delete(f"{PODS}/a")
        assert await events.names(4) == [("ADDED", "a"), ("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


@pytest.mark.parametrize("version", [None, "0"])
async def test_a_watch_without_a_version_begins_with_what_there_is(api: Plain, version: str | None) -> None:
    await api.create(PODS, pod("a"))
    async with api.watch(PODS, **({"resourceVersion": version} if version else {})) as events:
        await api.create(PODS, pod("b"))
        assert await events.names(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_initial_events_end_with_an_annotated_bookmark(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    options = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan", "resourceVersion": ""}
    async with api.watch(PODS, **options) as events:
        assert (await events.next())["type"] == "ADDED"
        bookmark = await events.next()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await api.create(PODS, pod("b"))
        later = (await events.next())["object"]["metadata"]
    assert int(later["resourceVersion"]) > int(bookmark["object"]["metadata"]["resourceVersion"])


async def test_initial_events_need_a_version_match_and_bookmarks(api: Plain) -> None:
    assert (await api("GET", f"{PODS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true")).code == 422
    assert (await api("GET", f"{PODS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")).code == 422


async def test_an_object_that_begins_or_ceases_to_match_comes_and_goes(api: Plain) -> None:
    async with api.watch(PODS, labelSelector="app=x", resourceVersion="0") as events:
        await api.create(PODS, pod("a"))
        for labels in ({"app": "x"}, {"other": "1"}, {"app": "y"}):
            await api.patch(f"{PODS}/a", {"metadata": {"labels": labels}}, MERGE)
        assert await events.names(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_the_last_state_of_what_left_the_selection_still_matches_it(api: Plain) -> None:
    await api.create(PODS, pod("a", app="x"))
    async with api.watch(PODS, labelSelector="app=x", resourceVersion="0") as events:
        await events.next()
        after = await api.patch(f"{PODS}/a", {"metadata": {"labels": {"app": "y"}}}, MERGE)
        gone = (await events.next())["object"]["metadata"]
    assert gone["labels"] == {"app": "x"}
    assert gone["resourceVersion"] == after["metadata"]["resourceVersion"]


async def test_one_object_can_be_watched_by_its_path_or_name(api: Plain) -> None:
    version = (await api.get(PODS))["metadata"]["resourceVersion"]
    for path, query in ((f"{PODS}/b", {}), (PODS, {"fieldSelector": "metadata.name=b"})):
        async with api.watch(path, resourceVersion=version, **query) as events:
            await api.create(PODS, pod("a"))
            await api.create(PODS, pod("b"))
            assert await events.names(1) == [("ADDED", "b")]
        for name in "ab":
            await api.delete(f"{PODS}/{name}")
        version = (await api.get(PODS))["metadata"]["resourceVersion"]


async def test_a_watch_of_one_namespace_sees_no_other(api: Plain) -> None:
    async with api.watch(PODS, resourceVersion="0") as events:
        other = pod("other")
        other["metadata"]["namespace"] = "kube-system"
        await api.create("/api/v1/namespaces/kube-system/pods", other)
        await api.create(PODS, pod("a"))
        assert await events.names(1) == [("ADDED", "a")]


async def test_a_version_before_the_window_is_expired() -> None:
    async with asyncio.timeout(20), ApiServer(ApiSettings(window=2)) as server, aiohttp.ClientSession() as session:
        api = Plain(server, session)
        version = (await api.get(PODS))["metadata"]["resourceVersion"]
        for name in "abcdef":
            await api.create(PODS, pod(name))
        async with api.watch(PODS, resourceVersion=version) as events:
            error = await events.next()
            assert error["type"] == "ERROR"
            assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")
            assert await events.ends()


async def test_a_watch_ends_when_its_time_is_over(api: Plain) -> None:
    async with api.watch(PODS, resourceVersion="0", timeoutSeconds="1") as events:
        assert await events.ends()


async def test_stopping_ends_every_watch_at_once() -> None:
    server = ApiServer()
    await server.start()
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        async with Plain(server, session).watch(PODS, resourceVersion="0") as events:
            began = time.monotonic()
            await server.stop()
            assert await events.ends()
            assert time.monotonic() - began < 0.5


async def test_a_client_that_leaves_leaves_no_task(api: Plain) -> None:
    async with api.watch(PODS, resourceVersion="0"):
        pass
    async with asyncio.timeout(5):
        while any("_serve" in repr(task) or "lines" in repr(task) for task in asyncio.all_tasks()):
            await asyncio.sleep(0)


async def test_a_change_reaches_a_watch_within_milliseconds(api: Plain) -> None:
    await api.create(PODS, pod("a"))
    delays = []
    async with api.watch(PODS, resourceVersion="0") as events:
        await events.next()
        for mark in range(20):
            began = time.perf_counter()
            patching = asyncio.create_task(api.patch(f"{PODS}/a", {"metadata": {"labels": {"x": str(mark)}}}, MERGE))
            await events.next()
            delays.append(time.perf_counter() - began)
            await patching
    assert sorted(delays)[10] < 0.05, delays
