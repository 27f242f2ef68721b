"""Asks drivers to prepare a pod's claims and to take them back, as a kubelet does: through their sockets, all claims of a driver in one
call.

A claim that several pods of the node share is prepared for each (drivers must take that) and unprepared with the last.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from podvitals.claim.pod import RequestMapping
from podvitals.claim.resource import ResourceClaim
from podvitals.clock import Clock
from podvitals.device.key import DeviceKey
from podvitals.errors import InvalidInput, LocalError, NotFound, PodvitalsError
from podvitals.kube.client import Client
from podvitals.kube.resources import CLAIMS
from podvitals.lab.kubelet.cdi import Edits, edits
from podvitals.lab.kubelet.specs import read
from podvitals.lab.pods import RunnableContainer, RunnablePod
from podvitals.node.record import DeviceState
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import ClaimRef, PreparedDevice, PrepareResult

PATIENCE = 3.0
"""Seconds a prepare waits for a driver that is not registered (yet) before it counts as failed."""
LOOK_EVERY = 0.02
EXTENDED = ""
"""In place of a claim's name in the pod: the claim that stands for its extended resources is not in its spec."""


class Drivers(Protocol):
    """What the kubelet needs of `node.watch.NodeWatch`."""

    def plugin(self, driver: str) -> tuple[PluginClient, str] | None: ...

    def state(self, key: DeviceKey) -> DeviceState: ...

    def subscribe(self, callback: Callable[[frozenset[DeviceKey]], None]) -> object: ...


@dataclass(frozen=True, slots=True)
class PreparedClaim:
    """A claim as it was when it was prepared, with each driver's answer."""

    claim: ResourceClaim
    devices: tuple[tuple[str, PreparedDevice], ...] = ()


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a pod's containers get, by the claim's name in the pod; EXTENDED names the claim made for its extended resources, and
    `mappings` tell which of that claim's requests is which container's."""

    claims: Mapping[str, PreparedClaim] = field(default_factory=dict)
    mappings: tuple[RequestMapping, ...] = ()

    def resource_ids(self) -> dict[DeviceKey, str]:
        """Device → its first CDI id, the kubelet's name for it in the field (CONTRACT §4)."""
        return {
            DeviceKey(driver, device.pool_name, device.device_name): device.cdi_device_ids[0]
            for prepared in self.claims.values()
            for driver, device in prepared.devices
            if device.cdi_device_ids
        }

    def cdi_ids(self, container: RunnableContainer) -> list[str]:
        """Of every device that the container's claims and requests name."""
        named = [(reference.name, reference.request) for reference in container.resources.claims]
        named += [(EXTENDED, mapping.request_name) for mapping in self.mappings if mapping.container_name == container.name]
        ids: list[str] = []
        for claim, request in named:
            prepared = self.claims.get(claim)
            for _, device in prepared.devices if prepared is not None else ():
                if not request or not device.request_names or _base(request) in map(_base, device.request_names):
                    ids += device.cdi_device_ids
        return ids


@dataclass(slots=True)
class _Use:
    ref: ClaimRef
    drivers: frozenset[str]
    pods: set[str] = field(default_factory=set)


class Preparer:
    def __init__(self, client: Client, drivers: Drivers, cdi: Path, clock: Clock) -> None:
        self._client, self._drivers, self._cdi, self._clock = client, drivers, cdi, clock
        self._uses: dict[str, _Use] = {}

    async def claims(self, pod: RunnablePod) -> Mapping[str, ResourceClaim]:
        """The pod's claims by their names in the pod, each allocated and reserved for it. Raises a PodvitalsError for one that is not."""
        return dict(await asyncio.gather(*(self._claim(pod, entry, name) for entry, name in _named(pod))))

    async def prepare(self, pod: RunnablePod, claims: Mapping[str, ResourceClaim]) -> Preparation:
        """Raises a PodvitalsError that says which driver stands in the way."""
        for claim in claims.values():
            use = self._uses.setdefault(claim.metadata.uid, _Use(_ref(claim), _drivers(claim)))
            use.pods.add(pod.metadata.uid)
        drivers = sorted({driver for claim in claims.values() for driver in _drivers(claim)})
        answers = dict(zip(drivers, await asyncio.gather(*(self._prepare(driver, claims) for driver in drivers)), strict=True))
        extended = pod.status.extended_resource_claim_status
        prepared = {entry: PreparedClaim(claim, tuple(_devices(claim, answers))) for entry, claim in claims.items()}
        return Preparation(prepared, extended.request_mappings if extended is not None else ())

    async def unprepare(self, pod_uid: str) -> None:
        """Gives back the claims that no other pod of this node uses. Raises where a driver does not; then it is to be called again."""
        mine = {uid: use for uid, use in self._uses.items() if pod_uid in use.pods}
        last = {uid: use for uid, use in mine.items() if len(use.pods) == 1}
        drivers = sorted({driver for use in last.values() for driver in use.drivers})
        await asyncio.gather(*(self._unprepare(driver, [use.ref for use in last.values() if driver in use.drivers]) for driver in drivers))
        for uid, use in mine.items():
            use.pods.discard(pod_uid)
            if not use.pods:
                del self._uses[uid]

    async def edits(self, preparation: Preparation, container: RunnableContainer) -> Edits:
        """The CDI edits of a container, from the drivers' files as they are now. Raises Unresolvable."""
        ids = preparation.cdi_ids(container)
        return edits(await asyncio.to_thread(read, self._cdi), ids) if ids else Edits()

    async def _claim(self, pod: RunnablePod, entry: str, name: str | None) -> tuple[str, ResourceClaim]:
        if name is None:
            raise InvalidInput(f'claim "{entry}": its ResourceClaim is not made yet')
        try:
            claim = await self._client.get(CLAIMS, name, pod.metadata.namespace)
        except NotFound:
            raise InvalidInput(f'claim "{entry}": ResourceClaim "{name}" does not exist') from None
        if claim.status.allocation is None:
            raise InvalidInput(f'claim "{entry}": ResourceClaim "{name}" is not allocated')
        if all(consumer.uid != pod.metadata.uid for consumer in claim.status.reserved_for):
            raise InvalidInput(
                f'claim "{entry}": pod {pod.metadata.name} is not allowed to use ResourceClaim "{name}": it is not reserved for it'
            )
        return entry, claim

    async def _prepare(self, driver: str, claims: Mapping[str, ResourceClaim]) -> Mapping[str, PrepareResult]:
        plugin, version = await self._plugin(driver)
        refs = [_ref(claim) for claim in claims.values() if driver in _drivers(claim)]
        try:
            answer = await plugin.prepare(version, refs)
        except PodvitalsError as error:
            raise LocalError(f"driver {driver}: {error}") from None
        for ref in refs:
            if ref.uid not in answer:
                raise LocalError(f"driver {driver} left ResourceClaim {ref.name} out of its answer")
            if answer[ref.uid].error:
                raise LocalError(f"driver {driver}: ResourceClaim {ref.name}: {answer[ref.uid].error}")
        return answer

    async def _unprepare(self, driver: str, refs: Sequence[ClaimRef]) -> None:
        plugin, version = await self._plugin(driver)
        try:
            answer = await plugin.unprepare(version, refs)
        except PodvitalsError as error:
            raise LocalError(f"driver {driver}: {error}") from None
        for ref in refs:
            if answer.get(ref.uid, "it left the claim out of its answer"):
                raise LocalError(f"driver {driver}: ResourceClaim {ref.name}: {answer.get(ref.uid, 'left out of its answer')}")

    async def _plugin(self, driver: str) -> tuple[PluginClient, str]:
        deadline = self._clock.now() + PATIENCE
        while (plugin := self._drivers.plugin(driver)) is None:
            if self._clock.now() >= deadline:
                raise LocalError(f"no driver {driver} is registered on this node")
            await self._clock.sleep_until(self._clock.now() + LOOK_EVERY)
        return plugin


def _named(pod: RunnablePod) -> list[tuple[str, str | None]]:
    """Each claim of the pod with its ResourceClaim's name; one that turned out not to be needed (noted without a name) is left out."""
    noted = {entry.name: entry.resource_claim_name for entry in pod.status.resource_claim_statuses}
    named = [
        (claim.name, claim.resource_claim_name or noted.get(claim.name))
        for claim in pod.spec.resource_claims
        if claim.resource_claim_name or claim.name not in noted or noted[claim.name]
    ]
    if (extended := pod.status.extended_resource_claim_status) is not None:
        named.append((EXTENDED, extended.resource_claim_name))
    return named


def _ref(claim: ResourceClaim) -> ClaimRef:
    return ClaimRef(claim.metadata.namespace, claim.metadata.uid, claim.metadata.name)


def _drivers(claim: ResourceClaim) -> frozenset[str]:
    results = claim.status.allocation.devices.results if claim.status.allocation is not None else ()
    return frozenset(result.driver for result in results)


def _devices(claim: ResourceClaim, answers: Mapping[str, Mapping[str, PrepareResult]]) -> list[tuple[str, PreparedDevice]]:
    return [(driver, device) for driver in sorted(_drivers(claim)) for device in answers[driver][claim.metadata.uid].devices]


def _base(request: str) -> str:
    return request.partition("/")[0]
