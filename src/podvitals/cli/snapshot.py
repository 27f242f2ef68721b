"""One look at a cluster for `get devices|drivers|nodes` and `describe device`: slices, pods, Leases, nodes, and the agents' own states."""

import asyncio
from dataclasses import dataclass

from podvitals.cli.agents import read_states
from podvitals.cli.cluster import Reading
from podvitals.cli.output import clock
from podvitals.fleet.devices import DeviceView, NodeView, device_views, node_views, silenced, with_silence
from podvitals.fleet.drivers import DriverView, with_published
from podvitals.kube.resources import NODES, SLICES


@dataclass(frozen=True, slots=True)
class Snapshot:
    devices: tuple[DeviceView, ...]
    drivers: tuple[DriverView, ...]
    nodes: tuple[NodeView, ...]


async def read_devices(reading: Reading) -> Snapshot:
    """All devices of the cluster, with their drivers and nodes. Raises ApiError where nothing at all may be read."""
    known = await reading.agents()
    slices, nodes, pods, states = await asyncio.gather(
        reading.allowed(reading.client.list(SLICES), "ResourceSlices"),
        reading.allowed(reading.client.list(NODES), "nodes"),
        reading.allowed(reading.pods(None, None, known), "the pods of all namespaces"),
        read_states(reading),
    )
    if slices is None and nodes is None and pods is None and not states.drivers:
        raise reading.refusals[0]  # "No devices." would be a lie
    published, now = slices.items if slices else [], reading.client.wall()
    devices = device_views(published, pods, silenced(states.devices, known, now, say := lambda moment: clock(moment, now)))
    devices = with_silence(devices, known, now, say)
    drivers = with_published(states.drivers, published, known, now)
    return Snapshot(devices, drivers, node_views(nodes.items if nodes else [], known, devices, pods))
