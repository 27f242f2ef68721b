"""A driver at work: detectors, sockets, slices, from their start in order to their end in order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from podvitals.clock import SYSTEM, Clock, set_by
from podvitals.detect.detector import Detector
from podvitals.detect.schedule import Schedule
from podvitals.driver.cdi import CdiDirectory
from podvitals.driver.health import Health
from podvitals.driver.prepare import ApiClaims, ClaimSource, GivenClaims, Hook, Prepare
from podvitals.driver.publish import Publish
from podvitals.driver.registration import Registration, driver_info
from podvitals.driver.settings import Settings, make_directories, sockets
from podvitals.kube.client import Client
from podvitals.wire.server import PluginServer

log = logging.getLogger("podvitals.driver")

REGISTERED_WITHIN = 5.0
"""Seconds the kubelet is given to find the driver (1 s is usual) before its devices are published."""
END_WITHIN = 5.0
"""Seconds the sockets may take to close."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What an author gave: the driver's name, its detectors, its prepare hook."""

    name: str
    detectors: Sequence[Detector]
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """A driver that serves."""

    schedule: Schedule
    registration: Registration
    health: Health
    publish: Publish | None


@asynccontextmanager
async def serving(
    parts: Parts, settings: Settings, client: Client | None, *, claims: ClaimSource | None = None, clock: Clock = SYSTEM
) -> AsyncIterator[Serving]:
    """Serves until left. Raises InvalidInput, LocalError or SocketTaken before anything is served.

    Without a `client` no slices are published. ResourceSlices stay when it ends: a driver that restarts finds them, and the kubelet deletes
    them when it does not come back."""
    where = await asyncio.to_thread(sockets, parts.name, settings)
    await asyncio.to_thread(make_directories, settings, where)
    schedule = Schedule(parts.name, settings.node, parts.detectors, clock, keep=where.endpoint.parent)
    await schedule.start()
    source: ClaimSource = claims or (ApiClaims(client) if client is not None else GivenClaims(()))
    cdi = CdiDirectory(settings.cdi_dir, parts.name)
    prepare = Prepare(parts.name, settings.node, lambda: schedule.devices, source, cdi, parts.hook, clock)
    health, registration = Health(schedule), Registration(driver_info(parts.name, str(where.endpoint)))
    publish = Publish(client, parts.name, settings.node, schedule) if client is not None else None
    endpoint = PluginServer(where.endpoint, dra=prepare, health=health)
    registrar = PluginServer(where.registration, registration=registration)
    jobs = {"driver: detectors": schedule.run()}
    if publish is not None:
        jobs["driver: slices"] = _publish(publish, registration, clock)
    if not schedule.devices:
        log.warning("no device is there yet: %s; they are added when they appear", ", ".join(map(str, parts.detectors)) or "no detector")
    async with at_work(jobs, (registrar, endpoint), schedule):
        log.info("serving driver=%s node=%s devices=%d socket=%s", parts.name, settings.node, len(schedule.devices), where.registration)
        yield Serving(schedule, registration, health, publish)


@asynccontextmanager
async def at_work(
    jobs: Mapping[str, Coroutine[Any, Any, None]], servers: Sequence[PluginServer], schedule: Schedule
) -> AsyncIterator[None]:
    """Sockets and jobs, as long as the body runs. `servers`: the registration, then the endpoint."""
    try:
        # The endpoint first: the kubelet dials it as soon as it finds the registration.
        for server in reversed(servers):
            await server.start()
        async with _beside(jobs):
            yield
    finally:
        for job in jobs.values():
            job.close()
        schedule.end()
        await _stop(*servers)


@asynccontextmanager
async def _beside(jobs: Mapping[str, Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs the jobs, by name, while the body runs; one that fails ends the body. What the body raises comes out as it is, in no group."""
    failed: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(job, name=name) for name, job in jobs.items()]
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it is raised again below
            failed = error
        finally:
            for task in running:
                task.cancel()
    if failed is not None:
        raise failed


async def _publish(publish: Publish, registration: Registration, clock: Clock) -> None:
    """Once the kubelet took the driver in: a pod that waits for a device is placed as soon as a slice is there, and a prepare that finds
    no driver yet is tried again only 60 to 90 s later. Without a kubelet devices are published all the same, a little later."""
    await set_by(registration.registered, clock, clock.now() + REGISTERED_WITHIN)
    await publish.run()


async def _stop(*servers: PluginServer) -> None:
    """The registration first: the kubelet shall not find an endpoint that is gone."""
    stopping = asyncio.create_task(_stop_all(servers), name="driver: closing sockets")
    try:
        async with asyncio.timeout(END_WITHIN):
            await asyncio.shield(stopping)
    except TimeoutError:
        log.warning("sockets did not close within %g s", END_WITHIN)
    except asyncio.CancelledError:
        await asyncio.wait({stopping}, timeout=END_WITHIN)
        raise
    finally:
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)


async def _stop_all(servers: Sequence[PluginServer]) -> None:
    for server in servers:
        await server.stop()
