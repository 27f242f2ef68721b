"""Stand-ins for the node's side of drivers: plugins answer from a table, health is set by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from podvitals.device.health import Health
from podvitals.device.key import DeviceKey
from podvitals.node.record import DeviceState
from podvitals.wire.client import PluginClient
from podvitals.wire.messages import ClaimRef, PreparedDevice, PrepareResult


@dataclass
class FakePlugin:
    """Prepares each claim with the devices of `devices`; `error` refuses."""

    devices: tuple[PreparedDevice, ...]
    error: str = ""
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def prepare(self, version: str, claims: Sequence[ClaimRef]) -> Mapping[str, PrepareResult]:
        self.calls.append(("prepare", tuple(claim.name for claim in claims)))
        return {claim.uid: PrepareResult(() if self.error else self.devices, self.error) for claim in claims}

    async def unprepare(self, version: str, claims: Sequence[ClaimRef]) -> Mapping[str, str]:
        self.calls.append(("unprepare", tuple(claim.name for claim in claims)))
        return {claim.uid: self.error for claim in claims}


@dataclass
class FakeDrivers:
    plugins: dict[str, FakePlugin] = field(default_factory=dict)
    health: dict[DeviceKey, tuple[Health, str]] = field(default_factory=dict)
    callbacks: list[Callable[[frozenset[DeviceKey]], None]] = field(default_factory=list)

    def plugin(self, driver: str) -> tuple[PluginClient, str] | None:
        found = self.plugins.get(driver)
        return None if found is None else (cast(PluginClient, found), "v1.DRAPlugin")

    def state(self, key: DeviceKey) -> DeviceState:
        health, message = self.health.get(key, (Health.UNKNOWN, f"driver {key.driver} has not reported this device"))
        return DeviceState(key, health, message, "", 0.0, 0.0, None, ())

    def subscribe(self, callback: Callable[[frozenset[DeviceKey]], None]) -> None:
        self.callbacks.append(callback)

    def set(self, key: DeviceKey, health: Health, message: str = "") -> None:
        self.health[key] = health, message
        for callback in self.callbacks:
            callback(frozenset({key}))
