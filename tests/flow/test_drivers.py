"""The suite about drivers, on the SDK's driver and on the test kit's."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from podvitals.claim.meta import ObjectMeta
from podvitals.claim.resource import AllocationResult, DeviceAllocation, DeviceResult, ResourceClaim, ResourceClaimStatus
from podvitals.detect.detector import Detector, Device, Reading
from podvitals.device.health import Health
from podvitals.driver.plugin import Driver
from podvitals.testing import FakeDriver
from podvitals.wire.messages import ClaimRef, DeviceReport, PreparedDevice, PrepareResult
from tests.flow.drivers import DriverClaims, LiveDriverClaims, Subject

CLAIM = ClaimRef("ml", "3d6e1d0a-0000-4000-8000-000000000001", "gpus")


class Toys(Detector):
    """Polled often, believed for 1 s."""

    interval, timeout, lease = 0.05, 1.0, 1.0

    def __init__(self, *names: str) -> None:
        self.readings = dict.fromkeys(names, Reading.healthy())

    def devices(self) -> Iterable[Device]:
        return [Device(name) for name in self.readings]

    def check(self, device: Device) -> Reading:
        return self.readings[device.name]


class SdkSubject(Subject):
    name, pool, devices, claim, request = "toy.example.com", "node-1", ("t1", "t2"), CLAIM, "toy"

    def __init__(self) -> None:
        self._toys = Toys(*self.devices)

    @asynccontextmanager
    async def serving(self, directory: Path) -> AsyncIterator[object]:
        allocated = DeviceResult(request=self.request, driver=self.name, pool=self.pool, device=self.devices[0])
        claim = ResourceClaim(
            metadata=ObjectMeta(name=CLAIM.name, namespace=CLAIM.namespace, uid=CLAIM.uid),
            status=ResourceClaimStatus(allocation=AllocationResult(devices=DeviceAllocation(results=(allocated,)))),
        )
        async with Driver(self.name, self._toys).serving(Place(directory), node=self.pool, claims=[claim]) as serving:
            yield serving

    def report(self, device: str, health: Health, message: str) -> None:
        self._toys.readings[device] = Reading(health, message)


class Place:
    """What a driver must know of a kubelet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory


class FakeSubject(Subject):
    name, pool, devices, claim, request = "gpu.example.com", "node1", ("gpu-0", "gpu-1"), CLAIM, "gpu"

    def __init__(self, directory: Path) -> None:
        self._driver = FakeDriver(directory, self.name, pool=self.pool)
        self._health = dict.fromkeys(self.devices, (Health.HEALTHY, ""))
        device = PreparedDevice((self.request,), self.pool, self.devices[0], (f"{self.name}/gpu={self.devices[0]}",))
        self._driver.answers[CLAIM.uid] = PrepareResult((device,))
        self._tell()

    @asynccontextmanager
    async def serving(self, directory: Path) -> AsyncIterator[object]:
        async with self._driver as driver:
            yield driver

    def report(self, device: str, health: Health, message: str) -> None:
        self._health[device] = (health, message)
        self._tell()

    def _tell(self) -> None:
        self._driver.report([DeviceReport(self.pool, name, health, 1000.0, 30.0, text) for name, (health, text) in self._health.items()])


class TestTheSdksDriver(LiveDriverClaims):
    @pytest.fixture
    def subject(self) -> Subject:
        return SdkSubject()


class TestTheTestKitsDriver(DriverClaims):
    @pytest.fixture
    def subject(self, short: Path) -> Subject:
        return FakeSubject(short)
