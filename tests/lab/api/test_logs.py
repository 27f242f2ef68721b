"""pods/log: the bytes come as they are written, and the stream ends with the log, the client or the server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from podvitals.errors import NotFound
from podvitals.lab.api import ApiServer, ApiSettings, LogSource
from tests.lab.api.plain import PODS, SECONDS, Plain, pod


class Kubelet:
    """The logs of one container: what was asked for, and bytes a test hands out one by one."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.chunks: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def __call__(self, *asked: Any) -> AsyncIterator[bytes]:
        self.asked.append(asked)
        try:
            while chunk := await self.chunks.get():
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self.closed.set()


@asynccontextmanager
async def lab(logs: LogSource | None) -> AsyncIterator[Plain]:
    async with ApiServer(ApiSettings(logs=logs)) as server, aiohttp.ClientSession(timeout=SECONDS) as session:
        api = Plain(server, session)
        await api.create(PODS, pod("a"))
        yield api


async def started(api: Plain, **status: Any) -> None:
    await api.create(f"{PODS}/a/binding", {"metadata": {"name": "a"}, "target": {"name": "n"}})
    container = {"name": "main", "state": {"running": {}}} | status
    await api.patch(f"{PODS}/a/status", {"status": {"containerStatuses": [container]}})


async def test_a_followed_log_comes_byte_by_byte_and_ends_with_the_container() -> None:
    kubelet = Kubelet()
    async with lab(kubelet) as api:
        await started(api)
        async with api.session.get(f"{api.server.url}{PODS}/a/log?follow=true&tailLines=5") as response:
            for text in (b"one\n", b"t", b"wo\n"):
                await kubelet.chunks.put(text)
                assert await response.content.readany() == text
            await kubelet.chunks.put(b"")
            assert await response.read() == b""
    assert kubelet.asked == [("default", "a", "main", False, True, 5)]


async def test_a_client_that_leaves_ends_the_kubelets_stream() -> None:
    kubelet = Kubelet()
    async with lab(kubelet) as api:
        await started(api)
        async with api.session.get(f"{api.server.url}{PODS}/a/log?follow=true") as response:
            await kubelet.chunks.put(b"x")
            assert await response.content.readany() == b"x"
        async with asyncio.timeout(5):
            await kubelet.closed.wait()


async def test_a_stopping_server_ends_followed_logs_at_once() -> None:
    kubelet = Kubelet()
    async with lab(kubelet) as api:
        await started(api)
        async with api.session.get(f"{api.server.url}{PODS}/a/log?follow=true") as response:
            await kubelet.chunks.put(b"x")
            assert await response.content.readany() == b"x"
            began = time.monotonic()
            await api.server.stop()
            assert time.monotonic() - began < 0.5
            assert kubelet.closed.is_set()


async def test_a_log_that_fails_on_its_way_is_cut_off_and_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    kubelet = Kubelet()
    async with lab(kubelet) as api:
        await started(api)
        async with api.session.get(f"{api.server.url}{PODS}/a/log?follow=true") as response:
            await kubelet.chunks.put(b"x")
            assert await response.content.readany() == b"x"
            await kubelet.chunks.put(OSError("the disk is gone"))
            with pytest.raises(aiohttp.ClientError):
                await response.read()
    assert "the disk is gone" in caplog.text


@pytest.mark.parametrize(
    ("status", "query", "text"),
    [
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, "", 'container "main" in pod "a" is waiting to start: ContainerCreating'),
        ({}, "?previous=true", 'previous terminated container "main" in pod "a" not found'),
        ({}, "?timestamps=true", "--timestamps is not served"),
        ({}, "?tailLines=x", "must be whole numbers"),
        ({}, "?container=other", "container other is not valid for pod a"),
    ],
)
async def test_a_log_that_is_not_there_says_why(status: dict[str, Any], query: str, text: str) -> None:
    async with lab(Kubelet()) as api:
        await started(api, **status)
        reply = await api("GET", f"{PODS}/a/log{query}")
        assert reply.code == 400
        assert text in reply.body["message"]


async def test_what_the_kubelet_says_is_passed_on() -> None:
    kubelet = Kubelet()
    await kubelet.chunks.put(NotFound("the log of main was removed"))
    async with lab(kubelet) as api:
        await started(api)
        reply = await api("GET", f"{PODS}/a/log")
        assert (reply.code, reply.body["message"]) == (400, "the log of main was removed")


async def test_without_a_kubelet_there_are_no_logs() -> None:
    async with lab(None) as api:
        await started(api)
        assert (await api("GET", f"{PODS}/a/log")).code == 501


async def test_one_of_several_containers_must_be_named() -> None:
    async with lab(Kubelet()) as api:
        body = pod("b")
        body["spec"]["containers"].append({"name": "side", "image": "x", "command": ["x"]})
        await api.create(PODS, body)
        reply = await api("GET", f"{PODS}/b/log")
        assert reply.body["message"] == "a container name must be specified for pod b, choose one of: [main side]"
