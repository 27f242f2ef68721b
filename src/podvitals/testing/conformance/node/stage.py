"""What the node suite plays on: a namespace, drivers with their classes and slices, pods; all of it gone in the end."""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from podvitals.errors import ApiError, ApiUnreachable, InvalidInput, NotFound
from podvitals.kube.client import Client
from podvitals.kube.resources import CLAIM_TEMPLATES, CLAIMS, DEVICE_CLASSES, EVENTS, NAMESPACES, NODES, PODS, SLICES, Resource
from podvitals.testing.conformance.case import Failed
from podvitals.testing.conformance.node.gallery import Gallery
from podvitals.testing.conformance.node.puppet import Puppet
from podvitals.testing.conformance.node.reading import Object, phase, why
from podvitals.testing.conformance.node.settings import NodeSettings
from podvitals.testing.conformance.node.sight import Sight
from podvitals.testing.conformance.rawreport import HEALTH_NAMES, UNHEALTHY
from podvitals.wire.messages import ClaimRef, PreparedDevice

LABEL = "podvitals.dev/conformance"
"""On everything the suite makes, with the number of its run."""
ADMIN_ACCESS = "resource.kubernetes.io/admin-access"
RUNNING_WITHIN = 45.0
GONE_WITHIN = 15.0
FOREVER = ("sleep", "100000")


class Stage:
    """`async with Stage.open(client, settings) as stage`."""

    def __init__(self, client: Client, settings: NodeSettings, run: str, minor: int, lab: bool) -> None:
        self.client, self.settings = client, settings
        self.namespace = f"conformance-{run}"
        self.minor = minor
        """Of the node's kubelet: 37 for 1.37.2."""
        self.lab = lab
        self._run = run
        self._gallery = Gallery(client, self.namespace)
        self._numbers = itertools.count(1)
        self._made: list[tuple[Resource[Any], str]] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, client: Client, settings: NodeSettings) -> AsyncIterator["Stage"]:
        try:
            node = await client.get(NODES.untyped(), settings.node)
        except NotFound:
            raise InvalidInput(
                f"this cluster has no node {settings.node}: --node-name takes a Node object's name, as kubectl get nodes shows it"
            ) from None
        version = node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "v1.37.0")
        stage = cls(client, settings, secrets.token_hex(3), int(version.split(".")[1]), "lab" in version)
        watch: asyncio.Task[None] | None = None
        try:
            await stage._create(NAMESPACES, stage.namespace, {}, {ADMIN_ACCESS: "true"})
            watch = asyncio.create_task(stage._gallery.run(), name="conformance: watch pods")
            yield stage
        finally:
            await to_the_end(stage._clear())
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    # ── Drivers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def driver(self, *devices: str, extended: str = "", **options: Any) -> AsyncIterator[Puppet]:
        """A driver of its own name, registered, its devices published, its class made. Its pods end before it does."""
        puppet = self.puppet(f"c{next(self._numbers)}-{self._run}.podvitals.dev", **options)
        try:
            await puppet.start()
            selectors = [{"cel": {"expression": f"device.driver == {puppet.name!r}"}}]
            more = {"extendedResourceName": extended} if extended else {}
            await self._create(DEVICE_CLASSES, puppet.name, {"spec": {"selectors": selectors, **more}})
            pool = {"name": puppet.pool, "generation": 1, "resourceSliceCount": 1}
            spec = {"driver": puppet.name, "nodeName": self.settings.node, "pool": pool, "devices": [{"name": name} for name in devices]}
            await self._create(SLICES, f"{self.settings.node}-{puppet.name}", {"spec": spec})
            yield puppet
        finally:
            await to_the_end(self._take_down(puppet, pods=True))

    @asynccontextmanager
    async def showing(self, *healths: int, lease: int = 300, beat: float = 0.0, **options: Any) -> AsyncIterator[tuple[Puppet, Sight]]:
        """What most cases begin with: a driver that says this of its devices d0, d1, …, and a pod that holds them and shows it."""
        said = {f"d{number}": health for number, health in enumerate(healths)}
        async with self.driver(*said, **options) as puppet:
            puppet.say_all(
                *(puppet.device(name, health, b"broken" if health == UNHEALTHY else b"", lease) for name, health in said.items())
            )
            if beat:
                puppet.beat(beat)
            pod = await self.pod(puppet, count=len(said))
            for name, health in said.items():
                await pod.ready(puppet, name, HEALTH_NAMES[health])
            yield puppet, pod

    def puppet(self, name: str, *, kind: type[Puppet] = Puppet, **options: Any) -> Puppet:
        return kind(self.settings.plugin_dir, name, self.settings.node, self._allocation, **options)

    @asynccontextmanager
    async def successor(self, of: Puppet, **options: Any) -> AsyncIterator[Puppet]:
        """The new instance of a rolling update, beside the old one; it knows nothing yet."""
        puppet = self.puppet(of.name, pod_uid=secrets.token_hex(4), **options)
        try:
            await puppet.start()
            yield puppet
        finally:
            await to_the_end(self._take_down(puppet, pods=not of.running))

    async def _allocation(self, puppet: Puppet, claim: ClaimRef) -> Sequence[PreparedDevice]:
        found = await self.client.get(CLAIMS.untyped(), claim.name, claim.namespace)
        results = found.get("status", {}).get("allocation", {}).get("devices", {}).get("results", ())
        return [
            PreparedDevice((each["request"],), each["pool"], each["device"], puppet.cdi.get(each["device"], ()))
            for each in results
            if each["driver"] == puppet.name
        ]

    # ── Pods ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def pod(self, puppet: Puppet, *, count: int = 1, wait: bool = True, **spec: Any) -> Sight:
        """A pod whose container holds `count` devices of the driver; running when it returns."""
        name = f"pod-{next(self._numbers)}"
        await self._create(CLAIM_TEMPLATES, name, {"spec": {"spec": self.claim_spec(puppet, count)}})
        claims = [{"name": "devices", "resourceClaimTemplateName": name}]
        return await self.pod_with(puppet, claims, name=name, wait=wait, **spec)

    def claim_spec(self, puppet: Puppet, count: int = 1, **exactly: Any) -> Object:
        return {"devices": {"requests": [{"name": "device", "exactly": {"deviceClassName": puppet.name, "count": count, **exactly}}]}}

    async def claim(self, puppet: Puppet, **exactly: Any) -> str:
        """A ResourceClaim of its own; its name."""
        name = f"claim-{next(self._numbers)}"
        await self._create(CLAIMS, name, {"spec": self.claim_spec(puppet, **exactly)})
        return name

    async def template(self, spec: Object) -> str:
        name = f"template-{next(self._numbers)}"
        await self._create(CLAIM_TEMPLATES, name, {"spec": {"spec": spec}})
        return name

    async def pod_with(
        self,
        puppet: Puppet | None,
        claims: Sequence[Mapping[str, Any]] = (),
        *,
        name: str = "",
        wait: bool = True,
        command: Sequence[str] = FOREVER,
        containers: Sequence[Mapping[str, Any]] | None = None,
        **spec: Any,
    ) -> Sight:
        """Any pod. Without `containers` it has one, which uses every claim."""
        name = name or f"pod-{next(self._numbers)}"
        uses = {"resources": {"claims": [{"name": claim["name"]} for claim in claims]}} if claims else {}
        body = {
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "containers": [self.container("main", command, **uses)] if containers is None else list(containers),
            "resourceClaims": list(claims),
            **spec,
        }
        labels = {"driver": puppet.name} if puppet is not None else {}
        await self._create(PODS, name, {"spec": {key: value for key, value in body.items() if value}}, labels)
        sight = Sight(self._gallery, self.settings, name)
        if wait:
            await self.running(sight)
        return sight

    def container(self, name: str, command: Sequence[str] = FOREVER, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": self.settings.image, "command": list(command), **more}

    async def running(self, sight: Sight, within: float = RUNNING_WITHIN) -> None:
        if not await sight.until(lambda pod: phase(pod) == "Running" or None, within):
            raise Failed(f"pod {sight.name} did not run within {within:g} s: {why(sight.newest)}", "see the kubelet's log")

    async def nudge(self, sight: Sight) -> None:
        """Makes a kubelet sync the pod, as any change of its metadata does."""
        meta = {"metadata": {"annotations": {f"{LABEL}-nudge": str(next(self._numbers))}}}
        await self.client.patch(PODS.untyped(), sight.name, meta, self.namespace)

    async def add_ephemeral(self, sight: Sight, name: str) -> None:
        """As kubectl debug does. ApiError where this cluster has no such thing."""
        body = {"spec": {"ephemeralContainers": [self.container(name)]}}
        await self.client.patch(PODS.untyped(), sight.name, body, self.namespace, subresource="ephemeralcontainers")

    async def delete_pod(self, sight: Sight) -> None:
        await self.client.delete(PODS, sight.name, self.namespace, grace=0 if self.lab else 1)
        if not await self._gallery.gone(sight.name, GONE_WITHIN):
            raise Failed(f"pod {sight.name} is still there {GONE_WITHIN:g} s after it was deleted")

    async def events(self, sight: Sight) -> Sequence[Object]:
        return (await self.client.list(EVENTS.untyped(), self.namespace, fields=f"involvedObject.name={sight.name}")).items

    # ── The end ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _take_down(self, puppet: Puppet, *, pods: bool) -> None:
        puppet.gate.open()
        if pods:
            await self._end_pods(puppet)
        await puppet.leave()

    async def _end_pods(self, puppet: Puppet) -> None:
        """While their driver runs, or runs again: a kubelet tries to unprepare for ever."""
        with suppress(ApiError, ApiUnreachable, TimeoutError, Failed):
            async with asyncio.timeout(GONE_WITHIN):
                mine = (await self.client.list(PODS.untyped(), self.namespace, labels=f"driver={puppet.name}")).items
                if mine and not puppet.running:
                    await puppet.again()
                names = [pod["metadata"]["name"] for pod in mine]
                for name in names:
                    await self._delete(PODS, name, grace=1)
                await asyncio.gather(*(self._gallery.gone(name, GONE_WITHIN) for name in names))

    async def _clear(self) -> None:
        """Whatever is left; bounded, and nothing that cannot be deleted keeps the rest from going."""
        began = time.monotonic()
        with suppress(ApiError, ApiUnreachable):
            for pod in (await self.client.list(PODS.untyped(), self.namespace)).items:
                await self._delete(PODS, pod["metadata"]["name"], grace=0)
        for resource, name in reversed(self._made):
            if time.monotonic() - began > 2 * GONE_WITHIN:
                break
            await self._delete(resource, name)

    async def _delete(self, resource: Resource[Any], name: str, grace: int | None = None) -> None:
        with suppress(NotFound, ApiError, ApiUnreachable):
            await self.client.delete(resource, name, self.namespace if resource.namespaced else None, grace=grace, timeout=5.0)

    async def _create(self, resource: Resource[Any], name: str, body: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> None:
        meta = {"name": name, "labels": {LABEL: self._run, **(labels or {})}}
        # Before it is there: an interrupted request may have made it.
        if not resource.namespaced:
            self._made.append((resource, name))
        await self.client.create(
            resource.untyped(), {"metadata": meta, **body}, self.namespace if resource.namespaced else None, timeout=20.0
        )


async def to_the_end(clearing: Coroutine[Any, Any, None]) -> None:
    """Clears away, though its caller be cancelled in the middle of it; each of its steps is bounded."""
    task = asyncio.create_task(clearing, name="conformance: clear away")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
