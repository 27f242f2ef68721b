"""Prepare and unprepare: from a claim's allocation to CDI files.

Nothing is remembered: what to do is read from the claim each time, and what was done lies in the CDI directory under the claim's uid. So
both calls can be repeated, across restarts and by another instance. A failed prepare costs its pod 60 to 90 s (CONTRACT §2), so an API
that is away is waited for as long as the kubelet waits for us.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from podvitals.claim.resource import ResourceClaim
from podvitals.clock import Clock
from podvitals.detect.detector import Device
from podvitals.detect.worker import Worker
from podvitals.device.text import clean
from podvitals.driver.cdi import CdiDirectory, CdiEdits, Granted
from podvitals.errors import ApiUnreachable, InvalidInput, NotFound, PodvitalsError, ServerFault, TooManyRequests
from podvitals.kube.client import Client
from podvitals.kube.resources import CLAIMS
from podvitals.wire.messages import ClaimRef, PreparedDevice, PrepareResult

log = logging.getLogger("podvitals.driver")

PATIENCE = 30.0
"""Seconds a claim is tried to be read; the kubelet gives up after 45 s."""
HOOK_TIMEOUT = 10.0
AT_ONCE = 8

Hook = Callable[[ResourceClaim, Sequence[Device]], "CdiEdits | Awaitable[CdiEdits | None] | None"]


class ClaimSource(Protocol):
    async def claim(self, namespace: str, name: str) -> ResourceClaim:
        """Raises the errors of podvitals.errors."""


class ApiClaims:
    """Claims as the Kubernetes API has them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def claim(self, namespace: str, name: str) -> ResourceClaim:
        return await self._client.get(CLAIMS, name, namespace, timeout=10.0)


class GivenClaims:
    """Claims handed over by a test."""

    def __init__(self, claims: Iterable[ResourceClaim]) -> None:
        self._claims = {(claim.metadata.namespace, claim.metadata.name): claim for claim in claims}

    async def claim(self, namespace: str, name: str) -> ResourceClaim:
        if (namespace, name) not in self._claims:
            raise NotFound(f"claim {namespace}/{name} is not among those given to serving(claims=...)")
        return self._claims[namespace, name]


class Prepare:
    """A `podvitals.wire.server.DraHandler`."""

    def __init__(
        self,
        driver: str,
        pool: str,
        devices: Callable[[], Mapping[str, Device]],
        source: ClaimSource,
        cdi: CdiDirectory,
        hook: Hook | None,
        clock: Clock,
    ) -> None:
        self._driver, self._pool, self._devices = driver, pool, devices
        self._source, self._cdi, self._hook, self._clock = source, cdi, hook, clock
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def prepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        results = await asyncio.gather(*(self._alone(ref, self._prepared) for ref in claims))
        return {ref.uid: result for ref, result in zip(claims, results, strict=True)}

    async def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, str]:
        results = await asyncio.gather(*(self._alone(ref, self._unprepared) for ref in claims))
        return {ref.uid: result.error for ref, result in zip(claims, results, strict=True)}

    async def _alone(self, ref: ClaimRef, work: Callable[[ClaimRef], Awaitable[PrepareResult]]) -> PrepareResult:
        """One call at a time for a claim; whatever goes wrong is said in its entry, and leaves the other claims alone."""
        lock, users = self._locks.get(ref.uid, (asyncio.Lock(), 0))
        self._locks[ref.uid] = (lock, users + 1)
        try:
            async with lock, self._at_once:
                return await work(ref)
        except PodvitalsError as error:
            return self._failed(ref, str(error))
        except Exception as error:
            log.exception("claim %s/%s", ref.namespace, ref.name)
            return self._failed(ref, f"{type(error).__name__}: {error}")
        finally:
            lock, users = self._locks.pop(ref.uid)
            if users > 1:
                self._locks[ref.uid] = (lock, users - 1)

    @staticmethod
    def _failed(ref: ClaimRef, why: str) -> PrepareResult:
        log.warning("claim=%s/%s uid=%s: %s", ref.namespace, ref.name, ref.uid, why)
        return PrepareResult(error=clean(f"claim {ref.namespace}/{ref.name}: {why}"))

    async def _prepared(self, ref: ClaimRef) -> PrepareResult:
        self._cdi.path(ref.uid)
        claim = await self._read(ref)
        granted = self._granted(ref, claim)
        edits = await self._edits(claim, [one.device for one, _ in granted])
        await asyncio.to_thread(self._cdi.write, ref.uid, [one for one, _ in granted], edits)
        log.info(
            "prepared claim=%s/%s uid=%s devices=%s", ref.namespace, ref.name, ref.uid, ",".join(one.device.name for one, _ in granted)
        )
        return PrepareResult(
            tuple(
                PreparedDevice((one.request,), self._pool, one.device.name, (self._cdi.device_id(ref.uid, one),), share)
                for one, share in granted
            )
        )

    async def _unprepared(self, ref: ClaimRef) -> PrepareResult:
        await asyncio.to_thread(self._cdi.remove, ref.uid)
        log.info("unprepared claim=%s/%s uid=%s", ref.namespace, ref.name, ref.uid)
        return PrepareResult()

    async def _read(self, ref: ClaimRef) -> ResourceClaim:
        give_up, pause = self._clock.now() + PATIENCE, 0.25
        while True:
            try:
                claim = await self._source.claim(ref.namespace, ref.name)
            except (ApiUnreachable, ServerFault, TooManyRequests) as error:
                asked = getattr(error, "retry_after", 0.0)
                if self._clock.now() + max(pause, asked) >= give_up:
                    raise
                await self._clock.sleep_until(self._clock.now() + max(pause, asked))
                pause = min(pause * 2, 4.0)
                continue
            if claim.metadata.uid != ref.uid:
                raise InvalidInput(f"it was deleted and made anew: its uid is {claim.metadata.uid}, the call is for {ref.uid}")
            return claim

    def _granted(self, ref: ClaimRef, claim: ResourceClaim) -> list[tuple[Granted, str | None]]:
        """The allocation's devices that are this driver's, with their share ids."""
        if claim.status.allocation is None:
            raise InvalidInput("it is not allocated")
        devices = self._devices()
        granted = []
        for result in claim.status.allocation.devices.results:
            if result.driver != self._driver:
                continue
            if result.pool != self._pool:
                raise InvalidInput(f"device {result.device} is of pool {result.pool}; this driver serves pool {self._pool}")
            if result.device not in devices:
                raise InvalidInput(f"driver {self._driver} has no device {result.device} on node {self._pool}")
            granted.append((Granted(result.request, devices[result.device], result.share_id or ""), result.share_id))
        if not granted:
            raise InvalidInput(f"nothing of driver {self._driver} is allocated to it")
        return granted

    async def _edits(self, claim: ResourceClaim, devices: list[Device]) -> CdiEdits:
        if self._hook is None:
            return CdiEdits()
        hook = self._hook
        worker = Worker("prepare")  # a thread that can be left behind: an author's code may hang
        try:
            async with asyncio.timeout(HOOK_TIMEOUT):
                made = await worker.call(lambda: hook(claim, devices))
                edits = await made if inspect.isawaitable(made) else made
        except TimeoutError:
            raise InvalidInput(f"the driver's prepare() has not answered within {HOOK_TIMEOUT:g} s") from None
        except Exception as error:
            log.exception("prepare() of claim %s/%s", claim.metadata.namespace, claim.metadata.name)
            raise InvalidInput(f"the driver's prepare() failed: {type(error).__name__}: {error}") from None
        finally:
            worker.end()
        if edits is not None and not isinstance(edits, CdiEdits):
            raise InvalidInput(f"the driver's prepare() returned {edits!r:.80}, which is not CdiEdits")
        return edits or CdiEdits()
