"""The agents' own states: more than stands on the pods, since they know devices no pod holds, and every driver.

Asked at the Unix sockets in $PODVITALS_AGENT_SOCKETS (the lab sets it; separated by ':'), else through the API server's pod proxy, of pods
with the label app.kubernetes.io/name=podvitals-agent in the agents' namespace: elsewhere anybody may give a pod that label, and would be
believed. An agent that does not answer in time is passed over, and that is said.
"""

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from podvitals.claim.pod import Pod
from podvitals.cli.asking import state_at
from podvitals.cli.cluster import Reading
from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.device.text import clean
from podvitals.errors import ApiError, ApiUnreachable
from podvitals.fleet.devices import Reported
from podvitals.fleet.drivers import DriverView, voice
from podvitals.kube.lean import aiohttp
from podvitals.kube.resources import PODS
from podvitals.pod.entry import FaultEntry

SOCKETS = "PODVITALS_AGENT_SOCKETS"
AGENT_LABEL = "app.kubernetes.io/name=podvitals-agent"
AGENT_PORT = 9470
PATIENCE = 3.0
_AT_ONCE = 16


class _Device(msgspec.Struct, rename="camel"):
    driver: str
    pool: str
    device: str
    health: Health
    message: str = ""
    action: str = ""
    since: datetime | None = None
    faults: tuple[FaultEntry, ...] = ()


class _Driver(msgspec.Struct, rename="camel"):
    driver: str
    source: str = ""
    endpoint: str = ""
    connected: bool = False
    speaks: bool = True
    left: bool = False
    trouble: str = ""
    since: datetime | None = None
    last_report: datetime | None = None
    devices: int = 0
    smallest_lease_seconds: float | None = None
    versions: tuple[str, ...] = ()
    health_version: str = ""
    refusals: dict[str, int] = {}


class _State(msgspec.Struct):
    node: str
    devices: tuple[_Device, ...] = ()
    drivers: tuple[_Driver, ...] = ()


@dataclass(slots=True)
class AgentStates:
    devices: dict[DeviceKey, Reported] = field(default_factory=dict)
    drivers: list[DriverView] = field(default_factory=list)

    def add(self, document: bytes) -> None:
        """What one agent answered. Raises msgspec.MsgspecError for what is not an agent's answer."""
        state = msgspec.json.decode(document, type=_State)
        for device in state.devices:
            word = Reported(state.node, device.health, device.message, device.action, _unix(device.since), device.faults)
            self.devices[DeviceKey(device.driver, device.pool, device.device)] = word
        speaking = {(driver.driver, driver.source) for driver in state.drivers if driver.speaks}
        for driver in state.drivers:
            anybody = (driver.driver, driver.source) in speaking
            self.drivers.append(_driver_view(state.node, driver, anybody=anybody))


def _driver_view(node: str, driver: _Driver, *, anybody: bool) -> DriverView:
    serves, lapsed = bool(driver.health_version), driver.devices > 0 and driver.smallest_lease_seconds is None
    return DriverView(
        driver.driver,
        node,
        voice(connected=driver.connected, speaks=driver.speaks, left=driver.left, serves=serves, anybody=anybody, lapsed=lapsed),
        driver.devices,
        driver.source,
        driver.endpoint,
        _unix(driver.since),
        _unix(driver.last_report),
        driver.smallest_lease_seconds,
        driver.versions,
        driver.refusals,
        clean(driver.trouble, 80),
    )


def _unix(time: datetime | None) -> float | None:
    return time.timestamp() if time is not None else None


async def read_states(reading: Reading) -> AgentStates:
    """Every agent that can be asked, within PATIENCE seconds."""
    states = AgentStates()
    sockets = [path for path in os.environ.get(SOCKETS, "").split(":") if path]
    asked = [(path, state_at(path)) for path in sockets] or [
        (pod.metadata.name, _from_proxy(reading, pod)) for pod in await _agent_pods(reading)
    ]
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(name: str, answer: Awaitable[bytes]) -> None:
        async with places:
            try:
                async with asyncio.timeout(PATIENCE):
                    states.add(await answer)
            except (TimeoutError, OSError, aiohttp.ClientError, ApiError, ApiUnreachable, msgspec.MsgspecError) as error:
                why = f"no answer within {PATIENCE:g} s" if isinstance(error, TimeoutError) else clean(str(error), 200)
                reading.missing.append(f"the agent {name} could not be asked: {why}")

    await asyncio.gather(*(ask(name, answer) for name, answer in asked))
    return states


async def _agent_pods(reading: Reading) -> list[Pod]:
    listing = await reading.allowed(reading.client.list(PODS, reading.agent_namespace, labels=AGENT_LABEL), "the agents' pods")
    return [pod for pod in listing.items if pod.status.phase == "Running"] if listing else []


async def _from_proxy(reading: Reading, pod: Pod) -> bytes:
    meta = pod.metadata
    return await reading.client.raw("GET", f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}:{AGENT_PORT}/proxy/state")
