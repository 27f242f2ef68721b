"""The publisher and the announcer against the lab's API server: what a reader of the API sees."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import pytest

from podvitals.claim.cluster import Event
from podvitals.claim.meta import Condition
from podvitals.claim.pod import Pod
from podvitals.clock import SYSTEM, SystemClock
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.kube.follow import follow
from podvitals.kube.resources import EVENTS, PODS, Resource
from podvitals.lab.api import ApiServer
from podvitals.node.record import DeviceState, Fault
from podvitals.pod.desk import Desk, Patch
from podvitals.pod.entry import ANNOTATION, CONDITION, PodDevices, decode
from podvitals.pod.events import Announcer
from podvitals.pod.outbox import Outcome
from podvitals.pod.publish import Publisher
from podvitals.testing.gate import Gate
from tests.pod.make import START, holding, key, state

T = TypeVar("T", Pod, Event)


class Striding(SystemClock):
    """Ten seconds pass on the wall between two looks at it: times of the API have whole seconds."""

    strides = 0

    def wall(self) -> float:
        self.strides += 1
        return START + 10 * self.strides


class Stage:
    """A publisher at work on pods of a real API; the test sets devices and asks the API."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.states: dict[DeviceKey, DeviceState] = {}
        self.desk = Desk("node-1", "0.1.0", self.states.__getitem__, random.random)
        self.announcer = Announcer(client, "node-1", self.desk.notices, SYSTEM)
        self.results: list[Outcome] = []
        self.gone = asyncio.Event()
        self.clock = Striding()
        self.publisher = Publisher(client, self.desk, self.clock, on_posted=self.posted, on_result=self.result)

    def posted(self) -> None:
        if self.desk.announces():
            self.announcer.wake()

    def result(self, outcome: Outcome, _seconds: float) -> None:
        self.results.append(outcome)
        if outcome is Outcome.GONE:
            self.gone.set()

    async def pod(self, name: str, *devices: str) -> Pod:
        container = {"name": "train", "image": "x"}
        body = {"metadata": {"name": name, "namespace": "default"}, "spec": {"nodeName": "node-1", "containers": [container]}}
        pod = await self.client.create(PODS, body, "default")
        self.see(pod)
        self.hold(pod, *devices)
        return pod

    def hold(self, pod: Pod, *devices: str) -> None:
        self.desk.hold(pod.metadata.uid, tuple(holding(device) for device in devices), self.clock.now(), START)
        self.publisher.go()

    def see(self, pod: Pod) -> None:
        assert not self.desk.see(pod, self.clock.now(), START)
        self.publisher.go()

    def set(self, *states: DeviceState) -> None:
        self.states.update((one.key, one) for one in states)
        self.desk.change([one.key for one in states], self.clock.now(), START)
        self.publisher.go()

    async def shows(self, name: str, status: str) -> Pod:
        """The pod once its condition is `status` and its annotation agrees."""

        def agrees(pods: dict[str, Pod]) -> bool:
            for pod in pods.values():
                self.see(pod)
            return name in pods and condition(pods[name]).status == status == self.told(pods[name])

        return (await seen(self.client, PODS, agrees))[name]

    @staticmethod
    def told(pod: Pod) -> str:
        entries = annotation(pod).entries
        worst = Health.worst(entry.health for entry in entries)
        return {Health.HEALTHY: "True", Health.UNKNOWN: "Unknown", Health.UNHEALTHY: "False"}[worst] if entries else ""


async def seen(client: Client, resource: Resource[T], true: Callable[[dict[str, T]], bool]) -> dict[str, T]:
    """The objects by name, as soon as a watch shows that it is so."""
    objects: dict[str, T] = {}
    async with asyncio.timeout(20), aclosing(follow(client, resource, "default")) as changes:
        async for change in changes:
            if isinstance(change.object, Pod | Event):
                objects[change.object.metadata.name] = change.object
            if true(objects):
                return objects
    raise AssertionError


def condition(pod: Pod) -> Condition:
    return pod.condition(CONDITION) or Condition(type=CONDITION, status="")


def annotation(pod: Pod) -> PodDevices:
    text = pod.metadata.annotations.get(ANNOTATION)
    return decode(text) if text else PodDevices("")


def broken(device: str) -> DeviceState:
    return state(device, Health.UNHEALTHY, "Xid 79", Fault(Health.UNHEALTHY, "Xid 79", "", START + 1), since=START + 1)


@asynccontextmanager
async def at_work(client: Client) -> AsyncIterator[Stage]:
    stage = Stage(client)
    tasks = [asyncio.create_task(stage.publisher.run(), name="publisher"), asyncio.create_task(stage.announcer.run(), name="announcer")]
    try:
        yield stage
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with ApiServer() as api, Client(ClusterConfig(api.url)) as client:
        yield client


async def events(client: Client, *counts: int) -> list[Event]:
    """The events once their counts are these, sorted by reason."""
    found = await seen(client, EVENTS, lambda events: sorted(event.count for event in events.values()) == sorted(counts))
    return sorted(found.values(), key=lambda event: event.reason)


async def test_a_pod_says_what_its_device_is(client: Client) -> None:
    async with at_work(client) as stage:
        stage.set(state("gpu-0"))
        await stage.pod("a", "gpu-0")
        await stage.shows("a", "True")
        stage.set(broken("gpu-0"))
        pod = await stage.shows("a", "False")
        assert condition(pod).message == "1 of 1 device unhealthy; gpu.example.com/node-1/gpu-0: Xid 79"
        (entry,) = annotation(pod).entries
        assert (entry.key, entry.faults[0].message) == (key("gpu-0"), "Xid 79")


async def test_the_transition_time_is_that_of_the_status_not_of_the_message(client: Client) -> None:
    async with at_work(client) as stage:
        stage.set(broken("gpu-0"), state("gpu-1"))
        await stage.pod("a", "gpu-0", "gpu-1")
        first = condition(await stage.shows("a", "False"))
        stage.set(broken("gpu-1"))
        pods = await seen(client, PODS, lambda pods: "a" in pods and condition(pods["a"]).message != first.message)
        assert condition(pods["a"]).last_transition_time == first.last_transition_time


async def test_what_another_writer_removes_is_written_again(client: Client) -> None:
    async with at_work(client) as stage:
        stage.set(state("gpu-0"))
        await stage.pod("a", "gpu-0")
        await stage.shows("a", "True")
        removal = {"metadata": {"annotations": {ANNOTATION: None}}, "status": {"conditions": [{"type": CONDITION, "$patch": "delete"}]}}
        pod = await client.patch(PODS, "a", removal, "default", subresource="status")
        assert condition(pod).status == ""
        stage.see(pod)
        await stage.shows("a", "True")


async def test_an_old_sight_of_the_pod_changes_nothing(client: Client) -> None:
    async with at_work(client) as stage:
        stage.set(state("gpu-0"))
        before = await stage.pod("a", "gpu-0")
        await stage.shows("a", "True")
        stage.see(before)
        assert stage.desk.outbox.dirty == 0


class Slow(Client):
    """Answers to patches arrive when the test lets them."""

    gate = Gate()

    async def __aenter__(self) -> "Slow":
        await super().__aenter__()
        return self

    async def patch(self, *args: Any, **more: Any) -> Any:
        answer = await super().patch(*args, **more)
        await self.gate.passing()
        return answer


async def test_what_is_removed_before_the_answer_arrives_is_written_again(client: Client) -> None:
    async with Slow(client.config) as slow, at_work(slow) as stage:
        stage.set(state("gpu-0"))
        slow.gate.close()
        await stage.pod("a", "gpu-0")
        await slow.gate.reached()
        removal = {"metadata": {"annotations": {ANNOTATION: None}}}
        stage.see(await client.patch(PODS, "a", removal, "default", subresource="status"))
        slow.gate.open()
        await seen(client, PODS, lambda pods: "a" in pods and ANNOTATION in pods["a"].metadata.annotations)


async def test_another_pod_of_the_same_name_is_never_written(client: Client) -> None:
    async with at_work(client) as stage:
        stage.set(state("gpu-0"))
        await stage.pod("a", "gpu-0")
        await stage.shows("a", "True")
        await client.delete(PODS, "a", "default", grace=0)
        await client.create(PODS, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "train", "image": "x"}]}}, "default")
        stage.set(broken("gpu-0"))
        async with asyncio.timeout(5):
            await stage.gone.wait()
        assert condition(await client.get(PODS, "a", "default")).status == ""


async def test_ninety_pods_that_change_together_are_all_told(client: Client) -> None:
    async with at_work(client) as stage:
        stage.set(*(state(f"gpu-{n}") for n in range(90)))
        for n in range(90):
            await stage.pod(f"p{n}", f"gpu-{n}")
        stage.set(*(broken(f"gpu-{n}") for n in range(90)))
        await seen(client, PODS, lambda pods: len(pods) == 90 and all(condition(pod).status == "False" for pod in pods.values()))
        assert set(stage.results) == {Outcome.SENT}


async def test_a_patch_leaves_before_those_of_other_pods_are_built(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_work(client) as stage:
        names = ("a", "b", "c")
        stage.set(*(state(f"gpu-{name}") for name in names))
        for name in names:
            await stage.pod(name, f"gpu-{name}")
            await stage.shows(name, "True")
        did, take, patch = list[str](), stage.desk.take, client.patch

        def built(*args: Any) -> Patch | None:
            if (found := take(*args)) is not None:
                did.append(f"built {found.name}")
            return found

        async def sent(resource: Resource[T], name: str, *args: Any, **more: Any) -> T:
            did.append(f"sent {name}")
            return await patch(resource, name, *args, **more)

        monkeypatch.setattr(stage.desk, "take", built)
        monkeypatch.setattr(client, "patch", sent)
        stage.set(*(broken(f"gpu-{name}") for name in names))
        await stage.shows("c", "False")
        assert did[:4] == ["built a", "sent a", "built b", "sent b"]


async def test_events_tell_of_the_fault_and_of_the_recovery(client: Client) -> None:
    async with at_work(client) as stage:
        stage.set(state("gpu-0"))
        pod = await stage.pod("a", "gpu-0")
        await stage.shows("a", "True")
        stage.set(broken("gpu-0"))
        await stage.shows("a", "False")
        mended = state("gpu-0", Health.HEALTHY, "", Fault(Health.UNHEALTHY, "Xid 79", "", START + 1, START + 2), since=START + 2)
        stage.set(mended)
        recovered, unhealthy = await events(client, 1, 1)
        assert (recovered.reason, recovered.type, unhealthy.reason, unhealthy.type) == (
            "DeviceRecovered",
            "Normal",
            "DeviceUnhealthy",
            "Warning",
        )
        assert unhealthy.involved_object.uid == pod.metadata.uid
        assert (unhealthy.source.component, unhealthy.source.host, unhealthy.count) == ("podvitals-agent", "node-1", 1)


async def test_an_event_of_an_earlier_agent_counts_on(client: Client) -> None:
    async with at_work(client) as stage:
        stage.set(broken("gpu-0"))
        pod = await stage.pod("a", "gpu-0")
        await events(client, 1)
    async with at_work(client) as stage:
        stage.set(state("gpu-0"))
        stage.see(await client.get(PODS, "a", "default"))
        stage.hold(pod, "gpu-0")
        await stage.shows("a", "True")
        stage.set(broken("gpu-0"))
        await events(client, 2)
