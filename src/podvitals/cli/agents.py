"""The agents' own states: more than stands on the pods, since they know devices no pod holds, and every driver.

Asked at the Unix sockets in $PODVITALS_AGENT_SOCKETS (the lab sets it), else through the API server's pod proxy, by the agents' label.
"""

from dataclasses import dataclass, field

from podvitals.cli.cluster import Reading
from podvitals.device.key import DeviceKey
from podvitals.fleet.devices import Reported
from podvitals.fleet.drivers import DriverView


@dataclass(slots=True)
class AgentStates:
    devices: dict[DeviceKey, Reported] = field(default_factory=dict)
    drivers: list[DriverView] = field(default_factory=list)


async def read_states(reading: Reading) -> AgentStates:
    return AgentStates()
