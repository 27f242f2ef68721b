"""Health for drivers that have none: an auxiliary source, the relay and a kubelet on real sockets."""

from podvitals.claim.resource import Attribute, Pool, ResourceSlice, ResourceSliceSpec, SliceDevice
from podvitals.detect.detector import Device, Reading
from podvitals.device.health import Health
from podvitals.driver.auxiliary import For, speaking_for
from podvitals.driver.serve import Parts
from podvitals.driver.settings import Settings
from podvitals.testing.driver import FakeDriver
from tests.driver.make import Toys
from tests.relay.conftest import Node

NAME = "net.example.com"


def slices(**devices: str) -> dict[str, ResourceSlice]:
    made = tuple(SliceDevice(name=name, attributes={"ifName": Attribute(string=value)}) for name, value in devices.items())
    return {"s": ResourceSlice(spec=ResourceSliceSpec(driver=NAME, pool=Pool(name="node1"), devices=made))}


def interfaces(*names: str) -> Toys:
    toys = Toys()
    toys.inventory = [Device(name, {"ifname": name}) for name in names]
    return toys


def settings(node: Node) -> Settings:
    return Settings("node1", node.place / "plugins_registry", node.place / "cdi")


async def test_a_driver_without_health_gets_it_from_detectors(node: Node) -> None:
    toys = interfaces("eth3")
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME, unimplemented=True):
        async with speaking_for(For(NAME), Parts(NAME, [toys]), settings(node), None) as joined:
            joined.take(slices(net0="eth3"))
            await kubelet.sees("net0", Health.HEALTHY)
            toys.readings["eth3"] = lambda: Reading.unhealthy("no carrier", action="service")
            seen = await kubelet.sees("net0", Health.UNHEALTHY)
            assert (seen.pool, seen.message, seen.action) == ("node1", "no carrier", "service")
            toys.readings.clear()
            await kubelet.sees("net0", Health.HEALTHY)


async def test_of_driver_and_source_the_worst_counts_and_both_are_heard(node: Node) -> None:
    toys = interfaces("eth3")
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME) as driver:
        async with speaking_for(For(NAME), Parts(NAME, [toys]), settings(node), None) as joined:
            joined.take(slices(net0="eth3"))
            driver.report({"net0": Health.HEALTHY})
            await kubelet.sees("net0", Health.HEALTHY)
            toys.readings["eth3"] = lambda: Reading.unhealthy("no carrier")
            await kubelet.sees("net0", Health.UNHEALTHY, message="no carrier")
            driver.report({"net0": Health.UNHEALTHY})
            toys.readings.clear()
            await kubelet.sees("net0", Health.UNHEALTHY, message="")


async def test_devices_that_come_later_are_spoken_of_too(node: Node) -> None:
    toys = interfaces("eth3", "eth4")
    async with node.relay(), node.kubelet() as kubelet, FakeDriver(node.place, NAME, unimplemented=True):
        async with speaking_for(For(NAME), Parts(NAME, [toys]), settings(node), None) as joined:
            joined.take(slices(net0="eth3"))
            await kubelet.sees("net0", Health.HEALTHY)
            joined.take(slices(net0="eth3", net1="eth4"))
            await kubelet.sees("net1", Health.HEALTHY)
