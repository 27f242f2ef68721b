"""Following a kind: what the consumer hears is a consistent story, whatever happens between."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from podvitals.claim.pod import Pod, PodStatus
from podvitals.errors import ApiUnreachable, Forbidden, Gone, PodvitalsError, ServerFault, TooManyRequests
from podvitals.kube.answer import LONGEST_ASKED
from podvitals.kube.client import Client
from podvitals.kube.follow import FIRST_DELAY, LASTING, LONGEST_DELAY, Backoff, Change, follow
from podvitals.kube.resources import PODS
from podvitals.testing.clock import ManualClock
from tests.kube.fake import FakeApi, Watch, pod, reset, status, text


class Following:
    """A consumer whose clock the test holds."""

    def __init__(self, client: Client) -> None:
        self.clock = ManualClock()
        self.errors: list[tuple[PodvitalsError, float]] = []
        self.changes: AsyncGenerator[Change[Pod]] = follow(
            client, PODS, fields="spec.nodeName=n", clock=self.clock, on_error=lambda error, delay: self.errors.append((error, delay))
        )

    async def hear(self, count: int = 1) -> list[str]:
        """The next changes, as `added a`."""
        heard = []
        async with asyncio.timeout(5):
            for _ in range(count):
                change = await anext(self.changes)
                heard.append(change.kind + (f" {change.object.metadata.name}" if change.object else ""))
        return heard

    async def hear_after_waiting(self, count: int = 1) -> list[str]:
        """As `hear`, where the follower first pauses: time passes until it goes on."""
        task = asyncio.create_task(self.hear(count))
        await self.clock.slept_on()
        await self.clock.advance(LONGEST_DELAY * 2)
        return await task

    async def watching(self, api: FakeApi) -> Watch:
        """The next watch, however many pauses lie before it."""
        watch = asyncio.create_task(api.watching())
        while not watch.done():
            await self.clock.advance(1.0)
        return watch.result()


@pytest_asyncio.fixture
async def following(client: Client) -> AsyncIterator[Following]:
    made = Following(client)
    async with aclosing(made.changes):
        yield made


async def test_it_lists_says_synced_and_watches_from_there(api: FakeApi, following: Following) -> None:
    api.put(pod("a", 1), pod("b", 2))
    assert await following.hear(3) == ["added a", "added b", "synced"]
    task = asyncio.create_task(following.hear(3))
    watch = await api.watching()
    assert (watch.query["resourceVersion"], watch.query["fieldSelector"]) == ("2", "spec.nodeName=n")
    await watch.send("MODIFIED", pod("a", 3))
    await watch.send("ADDED", pod("c", 4))
    await watch.send("DELETED", pod("b", 5))
    assert await task == ["modified a", "added c", "deleted b"]


async def test_a_watch_that_ends_is_resumed_from_the_last_version_or_bookmark(api: FakeApi, following: Following) -> None:
    api.put(pod("a", 1))
    await following.hear(2)
    task = asyncio.create_task(following.hear(2))
    watch = await api.watching()
    await watch.send("MODIFIED", pod("a", 5))
    await watch.send("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    await following.clock.advance(LASTING)
    watch.end()
    again = await api.watching()
    assert again.query["resourceVersion"] == "9"
    await again.send("MODIFIED", pod("a", 10))
    assert await task == ["modified a", "modified a"]
    assert following.errors == []
    assert [request for request in api.requests if "watch" not in request[2]] == [
        ("GET", "/api/v1/pods", {"fieldSelector": "spec.nodeName=n", "limit": "500"})
    ]


@pytest.mark.parametrize("how", ["event", "refusal"])
async def test_after_410_the_differences_are_told_as_changes(api: FakeApi, following: Following, how: str) -> None:
    api.put(pod("kept", 1), pod("changed", 2), pod("gone", 3), pod("replaced", 4, uid="old"))
    await following.hear(5)
    del api.objects["gone"]
    api.put(pod("changed", 20), pod("replaced", 21, uid="new"), pod("new", 22))
    if how == "refusal":
        api.answers.append(status(410, "Expired", "too old"))
    task = asyncio.create_task(following.hear(6))
    if how == "event":
        watch = await api.watching()
        await watch.send("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
    await following.clock.slept_on()
    await following.clock.advance(1.0)
    heard = await task
    assert heard[:2] == ["deleted gone", "deleted replaced"]
    assert sorted(heard[2:5]) == ["added new", "added replaced", "modified changed"]
    assert heard[5] == "synced"
    assert [type(error) for error, _ in following.errors] == [Gone]


async def test_a_deletion_found_by_a_list_carries_the_last_state_known(api: FakeApi, following: Following) -> None:
    api.put(pod("a", 1, phase="Running"))
    await following.hear(2)
    api.objects.clear()
    api.answers.append(status(410, "Expired"))
    task = asyncio.ensure_future(anext(following.changes))
    await following.clock.slept_on()
    await following.clock.advance(1.0)
    change: Change[Pod] = await task
    assert change.kind == "deleted"
    assert change.object is not None
    assert change.object.status.phase == "Running"


async def test_a_reset_resumes_where_it_was_without_a_list(api: FakeApi, following: Following) -> None:
    api.put(pod("a", 1))
    await following.hear(2)
    task = asyncio.create_task(following.hear(2))
    watch = await api.watching()
    await watch.send("MODIFIED", pod("a", 7))
    await watch.write(b'{"type": "ADD')
    watch.reset()
    await following.clock.slept_on()
    await following.clock.advance(1.0)
    again = await api.watching()
    assert again.query["resourceVersion"] == "7"
    await again.send("ADDED", pod("b", 8))
    assert await task == ["modified a", "added b"]
    assert [type(error) for error, _ in following.errors] == [ApiUnreachable]


@pytest.mark.parametrize("fault", [reset, status(500, "InternalError"), status(403, "Forbidden"), status(401), text(200, "nonsense")])
async def test_a_list_that_fails_is_tried_again(api: FakeApi, following: Following, fault: object) -> None:
    api.put(pod("a", 1))
    api.answers.extend([fault, fault] if fault is reset else [fault])  # type: ignore[list-item]
    task = asyncio.create_task(following.hear(2))
    await following.clock.slept_on()
    await following.clock.advance(1.0)
    assert await task == ["added a", "synced"]
    assert len(following.errors) == 1


async def test_what_is_remembered_of_an_object_may_be_less_than_the_object(api: FakeApi, client: Client) -> None:
    def bare(made: Pod) -> Pod:
        return msgspec.structs.replace(made, status=PodStatus())

    api.put(pod("a", 1))
    async with aclosing(follow(client, PODS, kept=bare)) as changes:
        first = await anext(changes)
        assert first.object is not None
        assert first.object.status.phase == "Running"
        assert await anext(changes) == Change("synced")
        gone = asyncio.create_task(anext(changes))
        watch = await api.watching()
        await watch.send("ERROR", {"code": 410, "message": "too old"})
        api.objects.clear()
        change = await gone
    assert change.object is not None
    assert (change.kind, change.object.metadata.name, change.object.status.phase) == ("deleted", "a", "")


@pytest.mark.parametrize("asked", [20, 60])
async def test_retry_after_is_honoured(api: FakeApi, following: Following, asked: int) -> None:
    api.answers.append(status(429, "TooManyRequests", "later", Retry_After=str(asked)))
    task = asyncio.create_task(following.hear(1))
    await following.clock.slept_on()
    [(_, delay)] = following.errors
    assert asked <= delay <= 1.5 * asked + 0.1  # not all nodes of a cluster at the moment it named
    await following.clock.advance(asked - 0.1)
    assert len(api.requests) == 1
    await following.clock.advance(0.5 * asked + 0.3)
    assert await task == ["synced"]


async def test_a_server_that_ends_every_watch_at_once_is_not_hammered(api: FakeApi, following: Following) -> None:
    await following.hear(1)
    task = asyncio.create_task(following.hear(1))
    for _ in range(6):
        (await api.watching()).end()
        await following.clock.slept_on()
        await following.clock.advance(LASTING)  # longer than any pause so far, and the watch itself did not last
    watch = await api.watching()
    await watch.send("ADDED", pod("a", 1))
    assert await task == ["added a"]


async def test_what_failed_before_a_watch_that_lasted_does_not_lengthen_the_pause_after_it(api: FakeApi, following: Following) -> None:
    await following.hear(1)
    api.answers.extend([status(503, "ServiceUnavailable")] * 12)
    task = asyncio.create_task(following.hear(1))
    watch = await following.watching(api)
    await following.clock.advance(LASTING)  # and nothing happened in it
    before = len(following.errors)
    watch.reset()
    await following.clock.slept_on()
    [(_, delay)] = following.errors[before:]
    assert delay <= FIRST_DELAY
    await following.clock.advance(FIRST_DELAY)
    await (await api.watching()).send("ADDED", pod("a", 1))
    assert await task == ["added a"]


async def test_a_server_that_is_slow_to_refuse_is_given_more_and_more_time(api: FakeApi, following: Following) -> None:
    async def refuse_late(request: web.Request) -> web.StreamResponse:
        await following.clock.sleep_until(following.clock.now() + LASTING)  # that long without an answer: no watch was open
        return await status(503, "ServiceUnavailable")(request)

    await following.hear(1)
    api.answers.extend([refuse_late] * 30)
    task = asyncio.create_task(following.hear(1))
    await (await following.watching(api)).send("ADDED", pod("a", 1))
    assert await task == ["added a"]
    assert max(delay for _, delay in following.errors) > LONGEST_DELAY / 10


async def test_410_for_ever_does_not_become_a_loop_without_pauses(api: FakeApi, following: Following) -> None:
    await following.hear(1)
    api.answers.extend([status(410, "Expired"), status(410, "Expired"), status(410, "Expired")])
    assert await following.hear_after_waiting() == ["synced"]
    assert len(following.errors) == 3
    assert all(delay > 0 for _, delay in following.errors)


def test_the_first_410_after_an_outage_is_an_answer_and_lists_again_at_once() -> None:
    gone = Gone("too old", status=410)
    for _ in range(200):
        backoff = Backoff()
        for _ in range(20):
            backoff.failed(ApiUnreachable("refused"))
        assert backoff.failed(gone) <= FIRST_DELAY
    assert max(backoff.failed(gone) for _ in range(200)) > 10.0  # but not again and again


async def test_an_object_known_already_is_modified_and_one_never_told_is_not_deleted(api: FakeApi, following: Following) -> None:
    api.put(pod("a", 1))
    await following.hear(2)
    task = asyncio.create_task(following.hear(2))
    watch = await api.watching()
    await watch.send("ADDED", pod("a", 2))
    await watch.send("DELETED", pod("stranger", 3))
    await watch.send("MODIFIED", pod("b", 4))
    assert await task == ["modified a", "added b"]


async def test_what_on_error_raises_ends_the_following(api: FakeApi, client: Client) -> None:
    def refuse(error: PodvitalsError, _: float) -> None:
        raise error

    api.answers.append(status(403, "Forbidden", "may not"))
    with pytest.raises(Forbidden, match="may not"):
        await anext(follow(client, PODS, on_error=refuse))


async def test_pauses_grow_to_thirty_seconds_and_shrink_again_after_an_event() -> None:
    clock = ManualClock()
    backoff = Backoff(clock)
    error = ServerFault("x")
    for attempt in range(40):
        assert 0 <= backoff.failed(error) <= min(LONGEST_DELAY, 0.1 * 2**attempt)
    assert max(backoff.failed(error) for _ in range(200)) > 20
    assert LONGEST_ASKED <= backoff.failed(TooManyRequests("x", retry_after=3600.0)) <= 1.5 * LONGEST_ASKED + LONGEST_DELAY
    backoff.reset()
    assert backoff.failed(error) <= 0.1
    backoff.opened()
    await clock.advance(LASTING)
    assert backoff.ended() == 0.0
    assert max(backoff.ended() for _ in range(100)) > 5
