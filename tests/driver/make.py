"""Claims and detectors for the tests of the driver."""

from collections.abc import Callable, Iterable
from typing import Any

from podvitals.claim.meta import ObjectMeta
from podvitals.claim.resource import AllocationResult, DeviceAllocation, DeviceResult, ResourceClaim, ResourceClaimStatus
from podvitals.detect.detector import Detector, Device, Reading
from podvitals.wire.messages import ClaimRef

DRIVER, NODE, UID = "toy.example.com", "node-1", "3d6e1d0a-0000-4000-8000-000000000001"


class Toys(Detector):
    interval, timeout = 0.05, 1.0

    def __init__(self, *names: str) -> None:
        self.inventory = [Device(name, {"model": "T1"}) for name in names]
        self.readings: dict[str, Callable[[], Any]] = {}

    def devices(self) -> Iterable[Device]:
        return list(self.inventory)

    def check(self, device: Device) -> Reading:
        reading: Reading = self.readings.get(device.name, Reading.healthy)()
        return reading


def result(device: str, request: str = "toy", *, driver: str = DRIVER, pool: str = NODE, share: str | None = None) -> DeviceResult:
    return DeviceResult(request=request, driver=driver, pool=pool, device=device, share_id=share)


def claim(*results: DeviceResult, name: str = "c1", uid: str = UID, allocated: bool = True) -> ResourceClaim:
    allocation = AllocationResult(devices=DeviceAllocation(results=results)) if allocated else None
    return ResourceClaim(metadata=ObjectMeta(name=name, namespace="ml", uid=uid), status=ResourceClaimStatus(allocation=allocation))


def ref(name: str = "c1", uid: str = UID) -> ClaimRef:
    return ClaimRef("ml", uid, name)
