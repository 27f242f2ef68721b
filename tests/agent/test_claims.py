"""Claims are read by name, once a pod, and again only until they say what the pod holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from podvitals.agent import claims
from podvitals.agent.claims import ClaimReader
from podvitals.claim.holdings import Holding
from podvitals.claim.pod import ContainerSpec, Pod
from podvitals.clock import SYSTEM
from podvitals.kube.client import Client
from tests.kube.fake import FakeApi, fake_api, status


def a_pod(name: str = "a", *claims: str, phase: str = "Running") -> Pod:
    named = [{"name": f"c{n}", "resourceClaimName": claim} for n, claim in enumerate(claims or ("gpus",))]
    container = {"name": "train", "resources": {"claims": [{"name": claim["name"]} for claim in named]}}
    metadata = {"name": name, "namespace": "ml", "uid": f"uid-{name}"}
    spec = {"containers": [container], "resourceClaims": named}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": {"phase": phase}}, Pod)


def a_claim(name: str = "gpus", device: str | None = "gpu-0", reserved: str = "a") -> dict[str, Any]:
    state: dict[str, Any] = {}
    if device is not None:
        result = {"request": "gpu", "driver": "gpu.example.com", "pool": "node-1", "device": device}
        consumer = {"resource": "pods", "name": reserved, "uid": f"uid-{reserved}"}
        state = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [consumer]}
    return {"metadata": {"name": name, "namespace": "ml", "uid": f"uid-{name}", "resourceVersion": "1"}, "status": state}


class Stage:
    def __init__(self, api: FakeApi, client: Client, tasks: asyncio.TaskGroup) -> None:
        self.api, self.tasks = api, tasks
        self.held: asyncio.Queue[tuple[str, tuple[Holding, ...]]] = asyncio.Queue()
        self.reader = ClaimReader(client, SYSTEM, lambda uid, held: self.held.put_nowait((uid, held)))

    def want(self, pod: Pod) -> None:
        self.reader.want(pod, self.tasks)

    async def told(self) -> tuple[str, list[str]]:
        async with asyncio.timeout(5):
            uid, held = await self.held.get()
        return uid, [holding.key.device for holding in held]

    async def quiet(self) -> None:
        """Until nothing is being read."""
        async with asyncio.timeout(5):
            while self.reader._reading:
                await asyncio.sleep(0)

    @property
    def asked(self) -> list[str]:
        return [path.rpartition("/")[2] for _, path, _ in self.api.requests]


@asynccontextmanager
async def at_work() -> AsyncIterator[Stage]:
    async with fake_api() as api, Client(api.config()) as client, asyncio.TaskGroup() as tasks:
        stage = Stage(api, client, tasks)
        yield stage
        for uid in list(stage.reader._reading):
            stage.reader.forget(uid)


async def test_a_claim_is_read_once_a_pod() -> None:
    async with at_work() as stage:
        stage.api.put(a_claim())
        stage.want(a_pod())
        assert await stage.told() == ("uid-a", ["gpu-0"])
        await stage.quiet()
        stage.want(a_pod())
        await stage.quiet()
        assert stage.asked == ["gpus"]


async def test_a_claim_is_read_until_it_is_allocated() -> None:
    async with at_work() as stage:
        stage.api.put(a_claim(device=None))
        stage.api.answers.append(status(404))
        stage.want(a_pod())
        while len(stage.asked) < 3:
            await asyncio.sleep(0)
        stage.api.put(a_claim())
        assert await stage.told() == ("uid-a", ["gpu-0"])


async def test_a_claim_that_serves_another_pod_gives_nothing_until_it_serves_this_one() -> None:
    async with at_work() as stage:
        stage.api.put(a_claim(reserved="other"))
        stage.want(a_pod())
        while len(stage.asked) < 2:
            await asyncio.sleep(0)
        assert stage.held.empty()
        stage.api.put(a_claim())
        assert await stage.told() == ("uid-a", ["gpu-0"])


async def test_an_allocation_that_nobody_has_reserved_may_still_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LONGEST_PAUSE", 0.05)
    async with at_work() as stage:
        free = a_claim()
        free["status"]["reservedFor"] = []
        stage.api.put(free)
        stage.want(a_pod())
        assert await stage.told() == ("uid-a", ["gpu-0"])
        stage.api.put(a_claim(device="gpu-1"))
        while (await stage.told())[1] != ["gpu-1"]:
            pass


async def test_a_pod_that_changes_often_is_not_asked_for_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def pause(number: int, first: float, longest: float) -> float:
        tries.append(number)
        return 3600.0

    monkeypatch.setattr(claims, "doubled", pause)
    async with at_work() as stage:
        stage.api.put(a_claim(device=None))
        for count in range(1, 6):
            stage.want(a_pod())
            while len(tries) < count:
                await asyncio.sleep(0)
    assert tries == [1] * 5


async def test_a_changed_pod_is_a_reason_to_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(claims, "LONGEST_PAUSE", 3600.0)
    async with at_work() as stage:
        stage.api.put(a_claim(device=None))
        stage.want(a_pod("a", "gpus"))
        while not stage.asked:
            await asyncio.sleep(0)
        stage.api.put(a_claim())
        stage.api.put(a_claim("nics", "nic-0"))
        stage.want(a_pod("a", "gpus", "nics"))
        assert await stage.told() == ("uid-a", ["gpu-0", "nic-0"])


@pytest.mark.parametrize("code", [403, 429, 500])
async def test_a_refusal_is_not_the_end(code: int) -> None:
    async with at_work() as stage:
        stage.api.put(a_claim())
        stage.api.answers.append(status(code))
        stage.want(a_pod())
        assert await stage.told() == ("uid-a", ["gpu-0"])


async def test_a_pod_that_ended_has_no_claims_to_read() -> None:
    async with at_work() as stage:
        stage.want(a_pod(phase="Succeeded"))
        await stage.quiet()
        assert stage.asked == []


async def test_a_claim_without_a_container_does_not_ask_for_ever() -> None:
    async with at_work() as stage:
        stage.api.put(a_claim())
        pod = a_pod()
        spec = msgspec.structs.replace(pod.spec, containers=(ContainerSpec(name="train"),))
        stage.want(msgspec.structs.replace(pod, spec=spec))
        await stage.quiet()
        assert stage.asked == ["gpus"]


async def test_a_pod_whose_containers_name_none_of_its_claims_is_said_to_hold_nothing() -> None:
    idle = a_pod()
    idle = msgspec.structs.replace(idle, spec=msgspec.structs.replace(idle.spec, containers=(ContainerSpec(name="train"),)))
    async with at_work() as stage:
        stage.api.put(a_claim())
        stage.want(idle)
        assert await stage.told() == ("uid-a", [])


@pytest.mark.parametrize("results", [[], [{"request": "nic", "driver": "nic.example.com", "pool": "node-1", "device": "nic-0"}]])
async def test_a_claim_that_gives_its_container_no_device_is_read_once_and_said_to_give_none(results: list[dict[str, str]]) -> None:
    """A claim without requests is one of these (`requests`: "If empty, nothing needs to be allocated")."""
    pod, claim = a_pod(), a_claim()
    container = msgspec.convert({"name": "train", "resources": {"claims": [{"name": "c0", "request": "gpu"}]}}, ContainerSpec)
    pod = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, containers=(container,)))
    claim["status"]["allocation"]["devices"]["results"] = results
    async with at_work() as stage:
        stage.api.put(claim)
        stage.want(pod)
        assert await stage.told() == ("uid-a", [])
        await stage.quiet()
        assert stage.asked == ["gpus"]


async def test_a_claim_that_cannot_be_read_is_not_taken_for_nothing() -> None:
    async with at_work() as stage:
        stage.api.answers.append(status(403, "Forbidden", "may not"))
        stage.api.put(a_claim())
        stage.want(a_pod())
        assert await stage.told() == ("uid-a", ["gpu-0"])
