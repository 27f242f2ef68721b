"""The story of examples/crash-loop, told on a live system: each step counts only when a watch of the API has shown it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podvitals.claim.pod import ContainerStatus, Pod, ResourceHealth
from podvitals.errors import PodvitalsError
from podvitals.kube.client import Client
from podvitals.kube.resources import CLAIM_TEMPLATES, DEVICE_CLASSES, LEASES, NODES, PODS, SLICES, Resource
from podvitals.lab.compose import Lab
from podvitals.lab.estate import BREAKABLE_DRIVER, GPU_DRIVER, NODE
from podvitals.lab.observer import NotSeen, Observer, Seen
from podvitals.lab.screen import Screen, milliseconds
from podvitals.pod.entry import ANNOTATION, CONDITION, DeviceEntry, decode

MANIFEST = Path(__file__).with_name("crash-loop.yaml")
GPUS_MANIFEST = Path(__file__).with_name("gpus.yaml")
"""What the lab goes on with after the story. Both files stand in examples/crash-loop, too."""
POD, GPU_POD = "trainer-0", "llm-0"
LEASE = f"podvitals-{NODE}"
_RESOURCES: dict[str, Resource[Any]] = {"DeviceClass": DEVICE_CLASSES, "ResourceClaimTemplate": CLAIM_TEMPLATES, "Pod": PODS}

UP, FIRST_POD, SHOWN, CRASHED, MENDED, DESCRIBED = 20.0, 10.0, 5.0, 15.0, 30.0, 15.0
"""Seconds each step is waited for."""


@dataclass(slots=True)
class Story:
    """`tell` gives the steps that were not seen, none if all went well. `began`: boottime at which the lab's process started."""

    lab: Lab
    client: Client
    observer: Observer
    screen: Screen
    began: float
    unseen: list[str] = field(default_factory=list)
    _cause: float = 0.0
    """Boottime of what was done last: what is waited for came after it."""

    async def tell(self) -> list[str]:
        for step in (self._lab_is_up, self._pod_runs, self._device_breaks, self._pod_crashes, self._device_is_mended):
            if not await self._seen(step):
                break
        return self.unseen

    async def _seen(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except* NotSeen as group:
            self.unseen += [str(each) for each in _flat(group)]
        except* PodvitalsError as group:
            self.unseen += [str(each) for each in _flat(group)]
        for what in self.unseen:
            self.screen.trouble(f"not seen: {what}")
        return not self.unseen

    # the steps

    async def _lab_is_up(self) -> None:
        until, device = self.observer.until, self.lab.estate.device
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._make_pod(), name="lab story: make the pod")
            seen: list[asyncio.Task[Seen[Any]]] = [
                tasks.create_task(until(NODES, lambda node: node.ready, UP, f"node {NODE} Ready")),
                *(
                    tasks.create_task(until(SLICES, _published_by(driver), UP, f"a ResourceSlice of driver {driver}"))
                    for driver in (BREAKABLE_DRIVER, GPU_DRIVER)
                ),
                tasks.create_task(until(LEASES, lambda lease: lease.metadata.name == LEASE, UP, f"the agent's Lease {LEASE}")),
            ]
        self.screen.step(1, "The lab is up", self._since(self.began, *(task.result() for task in seen)))
        gpus = len(seen[2].result().object.spec.devices)
        self.screen.say(
            f"API server, scheduler and kubelet are this one process. Driver {BREAKABLE_DRIVER} ({device.device}, {device.kind}), "
            f"driver {GPU_DRIVER} ({gpus} simulated GPUs) and the agent are processes of their own, the very ones a cluster runs."
        )
        if self.lab.estate.why_file:
            self.screen.say(f"The device is a file, because a network link needs more rights ({self.lab.estate.why_file}).")
        self.screen.command("podvitals get drivers")

    async def _pod_runs(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            field = tasks.create_task(self._pod(_runs_healthy, FIRST_POD, f"pod {POD} Running and its device Healthy in the pod's status"))
            tasks.create_task(self._pod(_condition("True"), FIRST_POD, f"condition {CONDITION}=True of pod {POD}"))
        took = self._since(self.began, field.result())
        self.screen.step(2, f"Pod {POD} is Running, its device {self.lab.estate.device.device} is Healthy", f"{took} after the start")
        claim = field.result().object.status.resource_claim_statuses[0].resource_claim_name
        self.screen.say(f"It was given the device by ResourceClaim {claim}, made from its template. The agent's condition agrees.")
        self.screen.command("podvitals get pods")

    async def _device_breaks(self) -> None:
        device = self.lab.estate.device
        self._cause = self.lab.clock.now()
        await asyncio.to_thread(device.break_it)
        async with asyncio.TaskGroup() as tasks:
            field = tasks.create_task(self._pod(_health("Unhealthy"), SHOWN, f"{device.device} Unhealthy in the status of pod {POD}"))
            agent = tasks.create_task(self._pod(_condition("False"), SHOWN, f"condition {CONDITION}=False of pod {POD}"))
            noted = tasks.create_task(self._pod(_noted("Unhealthy"), SHOWN, f"annotation {ANNOTATION} of pod {POD} saying Unhealthy"))
        self.screen.step(3, device.breaks, milliseconds(field.result().at - self._cause))
        shown = _device(field.result().object)
        self.screen.say(f"The pod says: {shown.health if shown else ''}: {shown.message if shown else ''}")
        self.screen.facts(
            [
                ("in allocatedResourcesStatus, by the kubelet", milliseconds(field.result().at - self._cause)),
                (f"in condition {CONDITION}, by the agent", milliseconds(agent.result().at - self._cause)),
                ("in the annotation with its history (at most one a second), by the agent", milliseconds(noted.result().at - self._cause)),
            ]
        )
        self.screen.command("podvitals get devices", f"you break it with: {device.break_line}")

    async def _pod_crashes(self) -> None:
        looping = await self._pod(_loops, CRASHED, f"pod {POD} in CrashLoopBackOff with its device Unhealthy")
        took = f"{milliseconds(looping.at - self._cause)} after the fault"
        self.screen.step(4, f"The container cannot work without it: {POD} is in CrashLoopBackOff", took)
        self.screen.command(f"podvitals describe pod {POD}")
        page = await self._describe()
        self.screen.quote(page)
        if "EXPLAINS" not in page:
            raise NotSeen(f"podvitals describe pod {POD} saying that the device explains the crashes")

    async def _device_is_mended(self) -> None:
        device = self.lab.estate.device
        mended = self._cause = self.lab.clock.now()
        await asyncio.to_thread(device.mend)
        async with asyncio.TaskGroup() as tasks:
            field = tasks.create_task(self._pod(_health("Healthy"), SHOWN, f"{device.device} Healthy again in the status of pod {POD}"))
            runs = tasks.create_task(self._pod(_runs_healthy, MENDED, f"pod {POD} Running again"))
            kept = tasks.create_task(self._pod(_on_record, MENDED, f"the fault on record in annotation {ANNOTATION} of pod {POD}"))
        self.screen.step(5, f"{device.mends}: {POD} runs again, Healthy", milliseconds(field.result().at - mended))
        self.screen.facts(
            [
                ("Healthy", milliseconds(field.result().at - mended)),
                ("Running, after its back-off", milliseconds(runs.result().at - mended)),
            ]
        )
        fault = decode(kept.result().object.metadata.annotations[ANNOTATION]).entries[0].faults[-1]
        lasted = f" for {(fault.until - fault.start).total_seconds():.1f} s" if fault.start and fault.until else ""
        self.screen.say(f"The fault stays on record: {fault.health}{lasted}: {fault.message}")
        self.screen.command(f"podvitals describe pod {POD}")

    # what they need

    async def _make_pod(self) -> None:
        """As soon as there is a device for it: a pod that came first would begin its life with an event FailedScheduling."""
        published = _published_by(BREAKABLE_DRIVER)
        await self.observer.until(SLICES, published, UP, f"a ResourceSlice of driver {BREAKABLE_DRIVER}")
        await self.apply(MANIFEST)

    async def apply(self, manifest: Path) -> None:
        for body in await asyncio.to_thread(_objects, manifest):
            resource = _RESOURCES[body["kind"]]
            await self.client.create(resource, body, body["metadata"].get("namespace"), strict=True)

    async def _pod(self, holds: Callable[[Pod], object], timeout: float, what: str) -> Seen[Pod]:
        """The pod as a watch showed it after the latest cause (`_cause`)."""
        return await self.observer.until(PODS, lambda pod: pod.metadata.name == POD and holds(pod), timeout, what, self._cause)

    async def _describe(self) -> str:
        """The page as a person gets it: the command itself, run."""
        env = os.environ | {"KUBECONFIG": str(self.lab.estate.layout.kubeconfig), "COLUMNS": str(self.screen.width - 5)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "podvitals", "describe", "pod", POD),
            env=env | self.lab.estate.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(DESCRIBED):
                said, _ = await process.communicate()
        except TimeoutError:
            raise NotSeen(f"the page of podvitals describe pod {POD}") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return said.decode(errors="replace")

    @staticmethod
    def _since(start: float, *seen: Seen[Any]) -> str:
        return milliseconds(max(each.at for each in seen) - start)


def _objects(manifest: Path) -> list[dict[str, Any]]:
    import yaml

    return list(yaml.load_all(manifest.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _flat(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [each for part in group.exceptions for each in (_flat(part) if isinstance(part, BaseExceptionGroup) else [part])]


def _published_by(driver: str) -> Callable[[Any], bool]:
    return lambda piece: bool(piece.spec.driver == driver and piece.spec.devices)


def _container(pod: Pod) -> ContainerStatus | None:
    return pod.status.container_statuses[0] if pod.status.container_statuses else None


def _device(pod: Pod) -> ResourceHealth | None:
    container = _container(pod)
    entries = container.allocated_resources_status if container is not None else ()
    return entries[0].resources[0] if entries and entries[0].resources else None


def _health(wanted: str) -> Callable[[Pod], bool]:
    def holds(pod: Pod) -> bool:
        device = _device(pod)
        return device is not None and device.health == wanted

    return holds


def _runs_healthy(pod: Pod) -> bool:
    container = _container(pod)
    return pod.status.phase == "Running" and container is not None and container.state.running is not None and _health("Healthy")(pod)


def _condition(status: str) -> Callable[[Pod], bool]:
    def holds(pod: Pod) -> bool:
        condition = pod.condition(CONDITION)
        return condition is not None and condition.status == status

    return holds


def _loops(pod: Pod) -> bool:
    container = _container(pod)
    waiting = container.state.waiting if container is not None else None
    return waiting is not None and waiting.reason == "CrashLoopBackOff" and _health("Unhealthy")(pod)


def _entries(pod: Pod) -> tuple[DeviceEntry, ...]:
    text = pod.metadata.annotations.get(ANNOTATION)
    return decode(text).entries if text is not None else ()


def _noted(health: str) -> Callable[[Pod], bool]:
    return lambda pod: any(entry.health == health for entry in _entries(pod))


def _on_record(pod: Pod) -> bool:
    return any(entry.health == "Healthy" and any(fault.until is not None for fault in entry.faults) for entry in _entries(pod))
