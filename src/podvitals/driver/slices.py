"""What a node's devices look like as ResourceSlices, and what has to be done so that the API says so. Pure.

One pool a node, named as the node is. All slices of a pool carry one generation; readers take the newest, once it is complete
(`resourceSliceCount`). Names follow from driver and node, so two instances of a driver agree about them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from podvitals.claim.meta import OwnerReference
from podvitals.claim.resource import Attribute, Capacity, ResourceSlice, SliceDevice
from podvitals.detect.detector import Device, Version

MOST_DEVICES = 128
"""Devices in one slice (resource.k8s.io/v1 ResourceSliceMaxDevices)."""
LONGEST_NAME = 253

Chunk = tuple[SliceDevice, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Bodies to create and to replace, names to delete. Empty: the API says what it should."""

    create: tuple[dict[str, Any], ...] = ()
    replace: tuple[dict[str, Any], ...] = ()
    delete: tuple[str, ...] = ()
    generation: int = 0

    def __bool__(self) -> bool:
        return bool(self.create or self.replace or self.delete)


def chunks(devices: Mapping[str, Device]) -> tuple[Chunk, ...]:
    """The devices by name, at most 128 together. No devices, no slices."""
    published = [published_device(device) for _, device in sorted(devices.items())]
    return tuple(tuple(published[at : at + MOST_DEVICES]) for at in range(0, len(published), MOST_DEVICES))


def published_device(device: Device) -> SliceDevice:
    return SliceDevice(
        name=device.name,
        attributes={name: _attribute(value) for name, value in sorted(device.attributes.items())},
        capacity={name: Capacity(value=str(quantity)) for name, quantity in sorted(device.capacity.items())},
    )


def _attribute(value: object) -> Attribute:
    if isinstance(value, bool):
        return Attribute(boolean=value)
    if isinstance(value, int):
        return Attribute(integer=value)
    return Attribute(version=str(value)) if isinstance(value, Version) else Attribute(string=str(value))


def slice_name(driver: str, node: str, number: int) -> str:
    name = f"{node}-{driver}-{number}"
    if len(name) > LONGEST_NAME:
        short = hashlib.sha256(f"{node}/{driver}".encode()).hexdigest()[:16]
        name = f"{driver}-{short}-{number}"
    return name


class Slices:
    """What this driver wants published for its node, and what it learned of how the API server writes it."""

    def __init__(self, driver: str, node: str) -> None:
        self._driver, self._node = driver, node
        self._generation = 0
        # The server writes quantities its own way ("1024Mi" is "1Gi"): what it answered to what we sent is as good as what we sent.
        self._rendered: dict[str, tuple[Chunk, Chunk]] = {}

    def plan(self, wanted: Sequence[Chunk], existing: Mapping[str, ResourceSlice], node_uid: str) -> Plan:
        """`existing`: this driver's slices of this node, by name."""
        names = [slice_name(self._driver, self._node, number) for number in range(len(wanted))]
        generations = {published.spec.pool.generation for published in existing.values()}
        self._generation = max(self._generation, *generations, 0)
        right = {
            name
            for name, chunk in zip(names, wanted, strict=True)
            if name in existing and self._says(existing[name], chunk, len(wanted), node_uid)
        }
        foreign = tuple(sorted(set(existing) - set(names)))
        if len(generations) <= 1 and len(right) == len(existing):
            # Nothing is there that is wrong: what is missing was deleted, and is put back as it was.
            generation = next(iter(generations), max(self._generation, 1))
            missing = [(name, chunk) for name, chunk in zip(names, wanted, strict=True) if name not in existing]
            create = tuple(self._body(name, chunk, generation, len(wanted), node_uid) for name, chunk in missing)
            return Plan(create, (), (), generation)
        generation = self._generation + 1
        bodies = [self._body(name, chunk, generation, len(wanted), node_uid) for name, chunk in zip(names, wanted, strict=True)]
        create = tuple(body for body in bodies if body["metadata"]["name"] not in existing)
        replace = tuple(_over(existing[body["metadata"]["name"]], body) for body in bodies if body["metadata"]["name"] in existing)
        return Plan(create, replace, foreign, generation)

    def written(self, sent: Mapping[str, Any], answer: ResourceSlice) -> None:
        """The server accepted `sent` and made `answer` of it."""
        devices = msgspec.convert(sent["spec"]["devices"], Chunk)
        self._rendered[answer.metadata.name] = (devices, answer.spec.devices)
        self._generation = max(self._generation, answer.spec.pool.generation)

    def _says(self, published: ResourceSlice, chunk: Chunk, count: int, node_uid: str) -> bool:
        rendered = self._rendered.get(published.metadata.name, ((), ()))
        return (
            (published.spec.devices == chunk or rendered == (chunk, published.spec.devices))
            and published.spec.pool.name == self._node
            and published.spec.pool.resource_slice_count == count
            and published.spec.node_name == self._node
            and any(owner.uid == node_uid for owner in published.metadata.owner_references)
        )

    def _body(self, name: str, chunk: Chunk, generation: int, count: int, node_uid: str) -> dict[str, Any]:
        owner = OwnerReference(api_version="v1", kind="Node", name=self._node, uid=node_uid, controller=True)
        return {
            "metadata": {"name": name, "ownerReferences": [msgspec.to_builtins(owner)]},
            "spec": {
                "driver": self._driver,
                "nodeName": self._node,
                "pool": {"name": self._node, "generation": generation, "resourceSliceCount": count},
                "devices": [msgspec.to_builtins(device) for device in chunk],
            },
        }


def _over(existing: ResourceSlice, body: dict[str, Any]) -> dict[str, Any]:
    """The body for a replace: Conflict, should somebody else have written meanwhile."""
    return {**body, "metadata": {**body["metadata"], "resourceVersion": existing.metadata.resource_version}}
