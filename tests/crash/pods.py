"""Pods that hold devices: created, ended, deleted and made anew under the same name, with claims that are allocated by hand."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from podvitals.claim.pod import Pod
from podvitals.device.key import DeviceKey
from podvitals.errors import Conflict, NotFound
from podvitals.kube.client import Client
from podvitals.kube.resources import CLAIMS, PODS
from tests.crash.lost import Hold
from tests.crash.reader import NAMESPACE, Reader

STARTS_WITHIN, GOES_WITHIN = 30.0, 30.0
NODE = "crash"


class PodStuck(Exception):
    """A pod that did not become what it should."""


class Pods:
    """`holds`: which pod was given which devices, by uid; set before anybody else can know."""

    def __init__(self, client: Client, reader: Reader, fifos: Path, note: Callable[[str], None]) -> None:
        self._client, self._reader, self._fifos, self._note = client, reader, fifos, note
        self.holds: dict[str, Hold] = {}
        self._claims: dict[str, tuple[str, ...]] = {}
        self._exits: dict[str, int] = {}
        self._count = 0

    async def create(self, name: str, keys: Sequence[DeviceKey], *, sharing: str = "", stays: bool = False) -> Hold:
        """A pod on the node. `sharing`: the uid of a pod whose claims it uses too. `stays`: its container is started again."""
        self._count += 1
        number = self._count
        drivers = sorted({key.driver for key in keys})
        claims = self._claims[sharing] if sharing else tuple(f"{name}-{number}-{driver.split('.')[0]}" for driver in drivers)
        fifo = self._fifos / str(number)
        os.mkfifo(fifo)
        # Kept open: what is written stays in it until a container reads it, whichever run of it that is.
        self._exits[f"{number}"] = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        pod = await self._client.create(PODS, _pod(name, claims, fifo, "Always" if stays else "Never"), NAMESPACE)
        uid = pod.metadata.uid
        self.holds[uid] = hold = Hold(uid, name, frozenset(keys), time.monotonic())
        self._claims[uid] = claims
        self._exits[uid] = self._exits.pop(f"{number}")
        for claim, driver in zip(claims, drivers, strict=True):
            await self._allocate(claim, [key for key in keys if key.driver == driver], uid, name, anew=not sharing)
        self._note(f"pod    {name} created, holds {' '.join(sorted(key.device for key in keys))}{' (shared)' if sharing else ''}")
        return hold

    async def running(self, hold: Hold) -> None:
        """Or has run: a kubelet that is killed takes its containers along."""
        await self._until(hold, lambda pod: pod is not None and pod.status.phase in ("Running", "Failed"), "run", STARTS_WITHIN)

    def exit(self, hold: Hold, code: int) -> None:
        """Its container ends; the kubelet may notice later."""
        hold.end = min(hold.end, time.monotonic())
        os.write(self._exits[hold.uid], f"{code}\n".encode())
        self._note(f"pod    {hold.pod} is told to exit with {code}")

    async def ended(self, hold: Hold) -> None:
        await self._until(hold, lambda pod: pod is not None and pod.ended, "end", GOES_WITHIN)

    async def release(self, hold: Hold) -> None:
        """Its claims go, as they do when a pod has ended; shared ones when the last goes."""
        for claim in self._claims.get(hold.uid, ()):
            others = [uid for uid, claims in self._claims.items() if claim in claims and uid != hold.uid]
            if not others:
                with suppress(NotFound):
                    await self._client.delete(CLAIMS, claim, NAMESPACE)
        self._claims.pop(hold.uid, None)

    async def delete(self, hold: Hold, *, grace: int = 1) -> None:
        """Until the object is gone. `grace` 0: by force, whatever the kubelet does."""
        hold.end, hold.gone = min(hold.end, time.monotonic()), True
        with suppress(NotFound, Conflict):
            await self._client.delete(PODS, hold.pod, NAMESPACE, uid=hold.uid, grace=grace)
        self._note(f"pod    {hold.pod} is deleted{' by force' if grace == 0 else ''}")
        await self._until(hold, lambda pod: pod is None, "go", GOES_WITHIN)
        await self.release(hold)
        del self.holds[hold.uid]
        os.close(self._exits.pop(hold.uid))

    def close(self) -> None:
        for descriptor in self._exits.values():
            os.close(descriptor)
        self._exits.clear()

    async def _until(self, hold: Hold, true: Callable[[Pod | None], bool], what: str, within: float) -> None:
        if not await self._reader.until(lambda: true(self._reader.pods.get(hold.uid)), within):
            raise PodStuck(f"pod {hold.pod} did not {what} within {within:g} s")

    async def _allocate(self, claim: str, keys: Sequence[DeviceKey], uid: str, pod: str, *, anew: bool) -> None:
        consumer = {"resource": "pods", "name": pod, "uid": uid}
        if not anew:
            known = await self._client.get(CLAIMS, claim, NAMESPACE)
            consumers = [{"resource": "pods", "name": one.name, "uid": one.uid} for one in known.status.reserved_for]
            body: dict[str, Any] = {"status": {"reservedFor": [*consumers, consumer]}}
        else:
            request = {"name": "device", "exactly": {"deviceClassName": "any", "count": len(keys)}}
            await self._client.create(CLAIMS, {"metadata": {"name": claim}, "spec": {"devices": {"requests": [request]}}}, NAMESPACE)
            results = [{"request": "device", "driver": key.driver, "pool": key.pool, "device": key.device} for key in keys]
            body = {"status": {"allocation": {"devices": {"results": results}}, "reservedFor": [consumer]}}
        await self._client.patch(CLAIMS, claim, body, NAMESPACE, subresource="status", kind="merge")


def _pod(name: str, claims: Sequence[str], fifo: Path, restart: str) -> dict[str, Any]:
    entries = [{"name": claim, "resourceClaimName": claim} for claim in claims]
    container = {
        "name": "main",
        "image": "none",
        "command": ["sh", "-c", f"read code < {fifo}; exit $code"],
        "resources": {"claims": [{"name": claim} for claim in claims]},
    }
    spec = {"nodeName": NODE, "restartPolicy": restart, "containers": [container], "resourceClaims": entries}
    return {"metadata": {"name": name}, "spec": spec | {"terminationGracePeriodSeconds": 1}}
