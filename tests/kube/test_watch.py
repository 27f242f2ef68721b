"""A watch: every event once and at once, whatever the network cuts or breaks."""

import asyncio
import json
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.errors import ApiUnreachable, Forbidden, Gone, ServerFault
from podvitals.kube.client import Client
from podvitals.kube.lines import Lines
from podvitals.kube.resources import PODS
from tests.kube.fake import FakeApi, hang, pod, reset, status


async def test_events_arrive_one_by_one_as_they_are_sent(api: FakeApi, client: Client) -> None:
    async with aclosing(client.watch(PODS, "ml", resource_version="5", fields="spec.nodeName=n", seconds=60)) as events:
        first = asyncio.ensure_future(anext(events))
        watch = await api.watching()
        assert {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": "5"}.items() <= watch.query.items()
        assert (watch.query["fieldSelector"], watch.query["timeoutSeconds"]) == ("spec.nodeName=n", "60")
        for kind, version in (("ADDED", 6), ("MODIFIED", 7), ("DELETED", 8)):
            await watch.send(kind, pod("a", version))
            event = await first
            assert (event.type, event.resource_version) == (kind, str(version))
            assert event.object is not None
            assert event.object.metadata.name == "a"
            first = asyncio.ensure_future(anext(events))
        watch.end()
        with pytest.raises(StopAsyncIteration):
            await first


async def test_a_bookmark_has_a_version_and_no_object(api: FakeApi, client: Client) -> None:
    async with aclosing(client.watch(PODS, resource_version="5", initial=True)) as events:
        first = asyncio.ensure_future(anext(events))
        watch = await api.watching()
        assert watch.query["sendInitialEvents"] == "true"
        assert watch.query["resourceVersionMatch"] == "NotOlderThan"
        await watch.send("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
        event = await first
        assert (event.type, event.object, event.resource_version, event.initial_end) == ("BOOKMARK", None, "9", False)
        await watch.send("BOOKMARK", {"metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}})
        assert (await anext(events)).initial_end


async def test_half_lines_and_several_events_in_one_piece_are_put_together(api: FakeApi, client: Client) -> None:
    data = b"".join(json.dumps({"type": "ADDED", "object": pod(name, 1)}).encode() + b"\n" for name in ("a", "b", "c"))
    async with aclosing(client.watch(PODS, resource_version="0")) as events:
        first = asyncio.ensure_future(anext(events))
        watch = await api.watching()
        await watch.write(data[:40])
        await watch.write(data[40:-10])
        names = [(await first).object, (await anext(events)).object]
        await watch.write(data[-10:])
        names.append((await anext(events)).object)
        assert [name and name.metadata.name for name in names] == ["a", "b", "c"]


async def test_an_event_longer_than_any_buffer_arrives(api: FakeApi, client: Client) -> None:
    async with aclosing(client.watch(PODS, resource_version="0")) as events:
        first = asyncio.ensure_future(anext(events))
        watch = await api.watching()
        whole = pod("a", 1)
        whole["metadata"]["annotations"] = {"x": "y" * 1_500_000}
        await watch.send("ADDED", whole)
        got = (await first).object
        assert got is not None
        assert len(got.metadata.annotations["x"]) == 1_500_000


async def test_a_version_too_old_is_gone_whether_refused_or_told_by_an_event(api: FakeApi, client: Client) -> None:
    api.answers.append(status(410, "Expired", "too old resource version: 1 (5)"))
    with pytest.raises(Gone, match="too old resource version"):
        await anext(client.watch(PODS, resource_version="1"))
    events = client.watch(PODS, resource_version="1")
    first = asyncio.ensure_future(anext(events))
    watch = await api.watching()
    await watch.send("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 1 (5)"})
    with pytest.raises(Gone, match="too old resource version") as caught:
        await first
    assert (caught.value.status, caught.value.reason) == (410, "Expired")


async def test_an_error_event_of_another_kind_is_the_error_it_says(api: FakeApi, client: Client) -> None:
    first = asyncio.ensure_future(anext(client.watch(PODS, resource_version="1")))
    watch = await api.watching()
    await watch.send("ERROR", {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd is away"})
    with pytest.raises(ServerFault, match="cannot watch pods: etcd is away"):
        await first


async def test_a_watch_that_is_refused_raises_before_its_first_event(api: FakeApi, client: Client) -> None:
    api.answers.append(status(403, "Forbidden", "may not"))
    with pytest.raises(Forbidden, match='cannot watch pods in namespace "ml": may not'):
        await anext(client.watch(PODS, "ml", resource_version="1"))


async def test_a_connection_that_breaks_is_told_and_loses_nothing_before_it(api: FakeApi, client: Client) -> None:
    async with aclosing(client.watch(PODS, resource_version="0")) as events:
        first = asyncio.ensure_future(anext(events))
        watch = await api.watching()
        await watch.send("ADDED", pod("a", 1))
        assert (await first).type == "ADDED"
        await watch.write(b'{"type": "MODI')
        watch.reset()
        with pytest.raises(ApiUnreachable, match="cannot watch pods"):
            await anext(events)


async def test_a_server_that_breaks_off_or_stays_silent_at_once_is_unreachable(api: FakeApi) -> None:
    async with Client(api.config(), timeout=0.1) as client:
        api.answers.extend([reset, reset, hang])  # a GET is sent twice before it counts as failed
        with pytest.raises(ApiUnreachable, match="closed the connection"):
            await anext(client.watch(PODS, resource_version="0"))
        with pytest.raises(ApiUnreachable, match=r"no answer within 0\.1 s"):
            await anext(client.watch(PODS, resource_version="0"))


async def test_a_watch_the_server_forgets_to_end_ends_by_itself(api: FakeApi, client: Client) -> None:
    from podvitals.kube import client as module

    grace, module.WATCH_GRACE = module.WATCH_GRACE, 0.05
    try:
        with pytest.raises(ApiUnreachable, match="the connection went silent"):
            await anext(client.watch(PODS, resource_version="0", seconds=0.05))
    finally:
        module.WATCH_GRACE = grace


async def test_leaving_a_watch_closes_its_connection(api: FakeApi, client: Client) -> None:
    async with aclosing(client.watch(PODS, resource_version="0")) as events:
        first = asyncio.ensure_future(anext(events))
        watch = await api.watching()
        await watch.send("ADDED", pod("a", 1))
        await first
    assert watch.request.transport is not None
    async with asyncio.timeout(5):
        while not watch.request.transport.is_closing():
            await asyncio.sleep(0)


async def test_watches_do_not_use_up_the_places_of_calls(api: FakeApi) -> None:
    api.put(pod("a", 1))
    async with Client(api.config(), concurrency=1, timeout=5) as client:
        open_ones = [client.watch(PODS, resource_version="1") for _ in range(3)]
        waiting = [asyncio.ensure_future(anext(events)) for events in open_ones]
        watches = [await api.watching() for _ in open_ones]
        assert (await client.get(PODS, "a", "ml")).metadata.name == "a"
        for watch in watches:
            watch.end()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_stream_gives_pieces_as_they_come_and_ends_when_silent_too_long(api: FakeApi, client: Client) -> None:
    async with aclosing(client.stream("/api/v1/namespaces/ml/pods/a/log", query={"follow": "true", "watch": "1"})) as pieces:
        first = asyncio.ensure_future(anext(pieces))
        watch = await api.watching()
        await watch.write(b"half a li")
        assert await first == b"half a li"
        watch.end()
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)
    with pytest.raises(ApiUnreachable, match=r"no byte for 0\.05 s"):
        await anext(client.stream("/x", query={"watch": "1"}, silence=0.05))


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.lists(st.integers(1, 9), max_size=60))
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    feeder, got = Lines(), []
    for cut in cuts:
        got += feeder.feed(data[:cut])
        data = data[cut:]
    got += feeder.feed(data)
    assert got == [line for line in lines if line.strip()]


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    feeder = Lines(longest=100)
    feeder.feed(b"x" * 100)
    with pytest.raises(ServerFault, match="more than 100 bytes"):
        feeder.feed(b"x")
