"""The scheduler's shell: follows the cluster, asks the cores what to do, does it through the API, and begins again when anything
changes."""

import asyncio
import logging
from contextlib import aclosing
from typing import Any

import msgspec

from podvitals.claim.resource import ResourceClaim
from podvitals.claim.times import rfc3339
from podvitals.clock import Clock
from podvitals.errors import ApiError, Conflict, NotFound, PodvitalsError
from podvitals.kube.client import Client
from podvitals.kube.follow import follow
from podvitals.kube.resources import CLAIMS, DEVICE_CLASSES, NODES, SLICES, Resource
from podvitals.lab.pods import RUNNABLE_PODS, WHOLE_TEMPLATES
from podvitals.lab.recorder import Recorder
from podvitals.lab.scheduler import selector
from podvitals.lab.scheduler.assign import assign
from podvitals.lab.scheduler.claims import keep
from podvitals.lab.scheduler.cluster import (
    FINALIZER,
    Bind,
    Cluster,
    DropClaim,
    Effect,
    MakeClaim,
    Name,
    NoteClaims,
    Refuse,
    Release,
    Reserve,
    Unprotect,
)

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds after a write that failed for another reason than that the object changed."""


class Scheduler:
    """`run` until cancelled. What a write answers goes into the snapshot at once, so the next decision never rests on what it undid."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._recorder = Recorder(client, "default-scheduler", "", clock)
        self._cluster = Cluster()
        self._changed = asyncio.Event()
        self._tables: dict[str, tuple[Resource[Any], dict[Name, Any]]] = {
            "pods": (RUNNABLE_PODS, self._cluster.pods),
            "claims": (CLAIMS, self._cluster.claims),
            "templates": (WHOLE_TEMPLATES, self._cluster.templates),
            "slices": (SLICES, self._cluster.slices),
            "classes": (DEVICE_CLASSES, self._cluster.classes),
            "nodes": (NODES, self._cluster.nodes),
        }
        self._unsynced = set(self._tables)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._recorder.run(), name="lab scheduler: events")
            for name in self._tables:
                tasks.create_task(self._follow(name), name=f"lab scheduler: follow {name}")
            tasks.create_task(self._decide(), name="lab scheduler: decide")

    async def _follow(self, name: str) -> None:
        resource, table = self._tables[name]
        async with aclosing(follow(self._client, resource, clock=self._clock)) as changes:
            async for change in changes:
                if change.kind == "synced":
                    self._unsynced.discard(name)
                elif change.kind == "deleted":
                    _forget(table, change.object)
                else:
                    _keep_newest(table, change.object)
                self._changed.set()

    async def _decide(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._unsynced:
                continue
            if kept := list(keep(self._cluster)):
                for effect in kept:
                    await self._try(effect)
            else:
                await self._place(await self._assign())

    async def _place(self, effects: list[Effect]) -> None:
        """Each pod's effects end with its binding: where one fails, the rest of that pod's are left, and the next pod has its turn."""
        failed = False
        for effect in effects:
            if not failed:
                failed = not await self._try(effect)
            if isinstance(effect, Bind):
                failed = False

    async def _assign(self) -> list[Effect]:
        if not any(selector.needs_library(expression) for expression in self._expressions()):
            return list(assign(self._cluster, selector.matches))
        snapshot = self._cluster.copy()
        return await asyncio.to_thread(lambda: list(assign(snapshot, selector.matches)))

    def _expressions(self) -> list[str]:
        claims = (claim for claim in self._cluster.claims.values() if claim.status.allocation is None)
        requests = [request for claim in claims for request in claim.spec.devices.requests]
        wanted = [each for request in requests for each in (*((request.exactly,) if request.exactly else ()), *request.first_available)]
        selectors = [each for sub in wanted for each in sub.selectors]
        selectors += [each for device_class in self._cluster.classes.values() for each in device_class.spec.selectors]
        return [each.cel.expression for each in selectors if each.cel is not None]

    async def _try(self, effect: Effect) -> bool:
        """Whether it could be done. If not, the next pass decides anew."""
        try:
            await self._carry_out(effect)
        except (Conflict, NotFound) as error:
            log.debug("decided on what has changed meanwhile: %s", error)
            # The change that caused it is on its way and wakes the loop; this wakes it in case it came before the wait.
            await self._clock.sleep_until(self._clock.now() + PAUSE / 10)
        except (ApiError, PodvitalsError) as error:
            log.warning("%s", error)
            await self._clock.sleep_until(self._clock.now() + PAUSE)
        else:
            self._changed.set()
            return True
        self._changed.set()
        return False

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case MakeClaim(namespace, body):
                self._fold_claim(await self._client.create(CLAIMS, body, namespace))
            case NoteClaims(pod, names):
                entries = [{"name": name, "resourceClaimName": claim} for name, claim in names]
                await self._patch_pod(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid, {"resourceClaimStatuses": entries})
            case Reserve(claim, consumers, allocation):
                if FINALIZER not in claim.metadata.finalizers:
                    claim = await self._finalizers(claim, [*claim.metadata.finalizers, FINALIZER])
                status: dict[str, Any] = {"reservedFor": msgspec.to_builtins(consumers)}
                await self._patch_claim(claim, status if allocation is None else status | {"allocation": allocation})
            case Release(claim, consumers):
                status = (
                    {"reservedFor": msgspec.to_builtins(consumers)}
                    if consumers
                    else {"reservedFor": None, "allocation": None, "devices": None}
                )
                await self._patch_claim(claim, status)
            case Unprotect(claim):
                await self._finalizers(claim, [each for each in claim.metadata.finalizers if each != FINALIZER])
            case DropClaim(claim):
                await self._client.delete(CLAIMS, claim.metadata.name, claim.metadata.namespace, uid=claim.metadata.uid)
                _forget(self._cluster.claims, claim)
            case Bind():
                await self._bind(effect)
            case Refuse():
                await self._refuse(effect)

    async def _bind(self, effect: Bind) -> None:
        meta = effect.pod.metadata
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": effect.node},
        }
        await self._client.raw("POST", f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}/binding", body=msgspec.json.encode(body))
        name = Name(meta.namespace, meta.name)
        if (pod := self._cluster.pods.get(name)) is not None and pod.metadata.uid == meta.uid:
            self._cluster.pods[name] = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=effect.node))
        self._recorder.tell(meta, "Scheduled", f"Successfully assigned {meta.namespace}/{meta.name} to {effect.node}")

    async def _refuse(self, effect: Refuse) -> None:
        meta = effect.pod.metadata
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": effect.reason,
            "message": effect.message,
            "lastTransitionTime": rfc3339(self._clock.wall()),
        }
        await self._patch_pod(meta.namespace, meta.name, meta.uid, {"conditions": [condition]})
        if effect.reason == "Unschedulable":
            self._recorder.tell(meta, "FailedScheduling", effect.message, warning=True)

    async def _patch_pod(self, namespace: str, name: str, uid: str, status: dict[str, Any]) -> None:
        body = {"metadata": {"uid": uid}, "status": status}
        _keep_newest(self._cluster.pods, await self._client.patch(RUNNABLE_PODS, name, body, namespace, subresource="status"))

    async def _patch_claim(self, claim: ResourceClaim, status: dict[str, Any]) -> None:
        """Refused (Conflict) if the claim changed since the decision: that is what keeps a device from being given twice."""
        body = {"metadata": {"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version}, "status": status}
        name, namespace = claim.metadata.name, claim.metadata.namespace
        self._fold_claim(await self._client.patch(CLAIMS, name, body, namespace, subresource="status", kind="merge"))

    async def _finalizers(self, claim: ResourceClaim, finalizers: list[str]) -> ResourceClaim:
        meta = {"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version, "finalizers": finalizers or None}
        patched = await self._client.patch(CLAIMS, claim.metadata.name, {"metadata": meta}, claim.metadata.namespace, kind="merge")
        if patched.metadata.deletion_timestamp is not None and not finalizers:
            _forget(self._cluster.claims, patched)
        else:
            self._fold_claim(patched)
        return patched

    def _fold_claim(self, claim: ResourceClaim) -> None:
        _keep_newest(self._cluster.claims, claim)


def _name(item: Any) -> Name:
    return Name(item.metadata.namespace, item.metadata.name)


def _keep_newest(table: dict[Name, Any], item: Any) -> None:
    """A watch tells later what a write's answer told already: the older of two versions of one object is not taken."""
    known = table.get(_name(item))
    if known is None or known.metadata.uid != item.metadata.uid or _version(known) <= _version(item):
        table[_name(item)] = item


def _forget(table: dict[Name, Any], item: Any) -> None:
    known = table.get(_name(item))
    if known is not None and known.metadata.uid == item.metadata.uid:
        del table[_name(item)]


def _version(item: Any) -> int:
    """Resource versions are numbers that grow (KEP-5504); one that is not counts as the newest."""
    version: str = item.metadata.resource_version
    return int(version) if version.isdigit() else 2**63
