"""The model of scheduler and kubelet: pods are created, bound to devices, ended, deleted; claims are made, shared, given on at once."""

from typing import TYPE_CHECKING

import msgspec

from podvitals.claim.meta import ObjectMeta, OwnerReference
from podvitals.claim.pod import (
    ClaimReference,
    ClaimStatus,
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    ExtendedResourceClaimStatus,
    Pod,
    PodClaim,
    PodSpec,
    PodStatus,
    RequestMapping,
    Resources,
    Running,
    Terminated,
)
from podvitals.claim.resource import AllocationResult, Consumer, DeviceAllocation, DeviceResult, ResourceClaim, ResourceClaimStatus
from podvitals.claim.times import rfc3339
from podvitals.device.key import DeviceKey
from tests.chaos.cast import KEYS, NAMESPACE, NODE
from tests.chaos.oracle import Holder

if TYPE_CHECKING:
    from tests.chaos.world import World


class Cluster:
    def __init__(self, world: "World") -> None:
        self.world = world
        self._serial = 0

    # --- pods begin ------------------------------------------------------------------------------------------------------------

    def create(self, slot: int, devices: tuple[int, ...], flavour: str, late: float) -> None:
        """A pod of that name, if there is none. Devices that another living pod holds are left out, unless for admin access; a pod of
        flavour "shared" takes the claim that another has."""
        world, name = self.world, f"pod-{slot}"
        if name in world.api.pods or not world.machine.runs:
            return
        self._serial += 1
        uid, admin = f"uid-{self._serial}", flavour == "admin"
        shared = self._shared() if flavour == "shared" else None
        keys = tuple(dict.fromkeys(KEYS[device % len(KEYS)] for device in devices))
        if shared is not None:
            claim, keys = shared
        else:
            claim = f"{name}-{self._serial}"
            keys = keys if admin else tuple(key for key in keys if not self._busy(key))
        generated = flavour in ("template", "admin", "two")
        if not keys and flavour != "none":
            return  # it waits for a device, on no node
        parts = self._parts(claim, keys, flavour)
        pod = self._pod(name, uid, [one for one, _ in parts], flavour, generated)
        holder = Holder(uid, name, dict.fromkeys(keys, admin), world.loop.now, world.loop.now + 0.2 + 2.2 * late)
        world.oracle.holders[uid] = holder
        if shared is None and keys:
            for one, part in parts:
                world.loop.after(late, self._allocate, one, uid, name, part, flavour, generated)
        elif shared is not None:
            self._reserve(claim, uid, name)
            self._given(keys, uid)
        world.api.put(pod)

    @staticmethod
    def _parts(claim: str, keys: tuple[DeviceKey, ...], flavour: str) -> list[tuple[str, tuple[DeviceKey, ...]]]:
        """The pod's claims, by name, and what each gives. A pod of flavour "two" has two, and a sidecar that uses the first of them."""
        if flavour == "two" and len(keys) > 1:
            return [(claim, keys[:1]), (f"{claim}-b", keys[1:])]
        return [(claim, keys)] if keys else []

    def _pod(self, name: str, uid: str, claims: list[str], flavour: str, generated: bool) -> Pod:
        now = self.world.machine.wall()
        extended = flavour == "extended"
        named = {} if extended else {f"claim-{number}": claim for number, claim in enumerate(claims)}
        references = tuple(ClaimReference(name=one) for one in named)
        main = ContainerSpec(name="main", resources=Resources(claims=references))
        sidecar = ContainerSpec(name="side", restart_policy="Always", resources=Resources(claims=references[:1]))
        requests = (RequestMapping(container_name="main", resource_name="x/gpu", request_name="r"),)
        status = PodStatus(
            phase="Running",
            start_time=rfc3339(now),
            container_statuses=(ContainerStatus(name="main", state=ContainerState(running=Running(started_at=rfc3339(now)))),),
            resource_claim_statuses=tuple(ClaimStatus(name=one, resource_claim_name=claim) for one, claim in named.items() if generated),
            extended_resource_claim_status=ExtendedResourceClaimStatus(resource_claim_name=claims[0], request_mappings=requests)
            if extended
            else None,
        )
        spec = PodSpec(
            node_name=NODE,
            containers=(main,),
            init_containers=(sidecar,) if flavour == "two" else (),
            resource_claims=tuple(PodClaim(name=one, resource_claim_name=None if generated else claim) for one, claim in named.items()),
        )
        meta = ObjectMeta(name=name, namespace=NAMESPACE, uid=uid, creation_timestamp=rfc3339(now))
        return Pod(metadata=meta, spec=spec, status=status)

    def _allocate(self, claim: str, uid: str, name: str, keys: tuple[DeviceKey, ...], flavour: str, generated: bool) -> None:
        holder = self.world.oracle.holders.get(uid)
        if holder is None or holder.ended is not None:
            if holder is not None:
                holder.keys = {key: one for key, one in holder.keys.items() if key not in keys}
            return  # it ended before it was given anything
        if flavour != "admin":
            self._given(keys, uid)
        owned = generated or flavour == "extended"
        owner = (OwnerReference(api_version="v1", kind="Pod", name=name, uid=uid, controller=True),) if owned else ()
        admin = flavour == "admin"
        results = tuple(DeviceResult(request="r", driver=k.driver, pool=k.pool, device=k.device, admin_access=admin) for k in keys)
        self.world.api.claims[claim] = ResourceClaim(
            metadata=ObjectMeta(name=claim, namespace=NAMESPACE, uid=f"claim-{claim}", owner_references=owner),
            status=ResourceClaimStatus(
                allocation=AllocationResult(devices=DeviceAllocation(results=results)),
                reserved_for=(Consumer(resource="pods", name=name, uid=uid),),
            ),
        )

    def _shared(self) -> tuple[str, tuple[DeviceKey, ...]] | None:
        """A named claim that a living pod has."""
        for name, claim in self.world.api.claims.items():
            if not claim.metadata.owner_references and claim.status.allocation is not None and claim.status.reserved_for:
                results = claim.status.allocation.devices.results
                return name, tuple(DeviceKey(one.driver, one.pool, one.device) for one in results)
        return None

    def _reserve(self, claim: str, uid: str, name: str) -> None:
        known = self.world.api.claims[claim]
        consumers = (*known.status.reserved_for, Consumer(resource="pods", name=name, uid=uid))
        self.world.api.claims[claim] = msgspec.structs.replace(known, status=msgspec.structs.replace(known.status, reserved_for=consumers))

    def _busy(self, key: DeviceKey) -> bool:
        return any(key in one.keys and not one.keys[key] and not one.released for one in self.world.oracle.holders.values())

    def _given(self, keys: tuple[DeviceKey, ...], uid: str) -> None:
        """The devices serve this pod from now on: what happens to them is not news of those that ended before."""
        for other in self.world.oracle.holders.values():
            if other.uid != uid and other.ended is not None:
                for key in keys:
                    if key in other.keys:
                        other.shares.setdefault(key, self.world.loop.now)

    # --- pods end --------------------------------------------------------------------------------------------------------------

    def finish(self, slot: int, how: str, delay: float) -> None:
        """The containers stop now; the API says so `delay` later. `how`: Succeeded, Failed, or Evicted (which does not say when)."""
        pod = self.world.api.pods.get(f"pod-{slot}")
        if pod is None or pod.ended or not self.world.machine.runs:
            return
        holder = self.world.oracle.holders[pod.metadata.uid]
        if holder.ended is None:
            holder.ended, holder.wall = self.world.loop.now, self.world.machine.wall()
            holder.told = how != "Evicted"
            self.world.loop.after(delay, self._ended, pod.metadata.name, pod.metadata.uid, how, rfc3339(holder.wall))

    def _others(self, holder: Holder) -> list[Holder]:
        return [one for one in self.world.oracle.holders.values() if one is not holder]

    def _ended(self, name: str, uid: str, how: str, finished: str) -> None:
        pod = self.world.api.pods.get(name)
        if pod is None or pod.metadata.uid != uid:
            return
        stop = Terminated(exit_code=0 if how == "Succeeded" else 1, finished_at=finished)
        statuses = () if how == "Evicted" else (ContainerStatus(name="main", state=ContainerState(terminated=stop)),)
        reason, phase = ("Evicted", "Failed") if how == "Evicted" else ("", how)
        status = msgspec.structs.replace(pod.status, phase=phase, reason=reason, container_statuses=statuses)
        holder = self.world.oracle.holders[uid]
        for key in holder.keys:
            # One that shared it and was over before this end was told outlived it by less than a second, if at all: nobody can tell.
            if any(key in one.keys and not one.keys[key] and not one.released for one in self._others(holder)):
                holder.shares.setdefault(key, self.world.loop.now if holder.ended is None else holder.ended)
        self._release(uid)
        self.world.api.put(msgspec.structs.replace(pod, status=status))

    def _release(self, uid: str) -> None:
        """Generated claims are deleted, named ones given back after their last consumer."""
        self.world.oracle.holders[uid].released = True
        claims = self.world.api.claims
        for name, claim in list(claims.items()):
            left = tuple(consumer for consumer in claim.status.reserved_for if consumer.uid != uid)
            if len(left) == len(claim.status.reserved_for):
                continue
            if not left:
                del claims[name]
            else:
                claims[name] = msgspec.structs.replace(claim, status=msgspec.structs.replace(claim.status, reserved_for=left))

    def delete(self, slot: int, grace: float) -> None:
        pod = self.world.api.pods.get(f"pod-{slot}")
        if pod is None:
            return
        name, uid = pod.metadata.name, pod.metadata.uid
        if grace and not pod.ended and pod.metadata.deletion_timestamp is None:
            meta = msgspec.structs.replace(pod.metadata, deletion_timestamp=rfc3339(self.world.api.wall() + grace))
            self.world.api.put(msgspec.structs.replace(pod, metadata=meta))
        self.world.loop.after(grace, self._deleted, name, uid)

    def _deleted(self, name: str, uid: str) -> None:
        pod = self.world.api.pods.get(name)
        if pod is not None and pod.metadata.uid == uid:
            holder = self.world.oracle.holders[uid]
            if holder.ended is None:
                holder.ended, holder.wall = self.world.loop.now, self.world.machine.wall()
            self._release(uid)
            self.world.api.delete(name)

    def restart_container(self, slot: int) -> None:
        pod = self.world.api.pods.get(f"pod-{slot}")
        if pod is None or pod.ended:
            return
        now = rfc3339(self.world.machine.wall())
        stop = ContainerState(terminated=Terminated(exit_code=139, finished_at=now))
        status = ContainerStatus(name="main", restart_count=1, last_state=stop, state=ContainerState(running=Running(started_at=now)))
        self.world.api.put(msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, container_statuses=(status,))))
