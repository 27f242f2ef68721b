"""What drivers and kubelets say to each other, as plain dataclasses. Imports no gRPC, so that pure cores may use it."""

from dataclasses import dataclass
from typing import NamedTuple

from podvitals.device.health import Health

PLUGIN_TYPE = "DRAPlugin"
"""`PluginInfo.type` of a DRA driver; other kinds (CSIPlugin, DevicePlugin) register in the same directory."""

HEALTH_SOURCE_TYPE = "podvitals.dev/HealthSource"
"""`PluginInfo.type` of an auxiliary source, which adds verdicts about a driver's devices. Its `name` is the driver's, or `driver/source`
where one driver has several. A kubelet has no handler for this type and leaves it alone."""

# The services as `PluginInfo.supported_versions` spells them (CONTRACT §1).
DRA_V1 = "v1.DRAPlugin"
DRA_V1BETA1 = "v1beta1.DRAPlugin"
HEALTH_V1 = "v1.DRAResourceHealth"
HEALTH_V1ALPHA1 = "v1alpha1.DRAResourceHealth"

DRA_VERSIONS = (DRA_V1, DRA_V1BETA1)
HEALTH_VERSIONS = (HEALTH_V1, HEALTH_V1ALPHA1)
ALL_VERSIONS = DRA_VERSIONS + HEALTH_VERSIONS

MESSAGE_LIMIT = 4 * 1024 * 1024
"""Bytes of one gRPC message, both ways: Go's default, which the kubelet keeps."""
REPORT_LIMIT = 1024 * 1024
"""Bytes of one health report we send; a larger one is split. A report may be a subset (CONTRACT §3)."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """The answer to GetInfo. `endpoint`: absolute path of the socket that serves DRA and health."""

    type: str
    name: str
    endpoint: str
    supported_versions: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class ClaimRef:
    """A ResourceClaim as named in prepare and unprepare."""

    namespace: str
    uid: str
    name: str


@dataclass(frozen=True, slots=True)
class PreparedDevice:
    """One device of a prepared claim. No `request_names` means: for every request of the claim."""

    request_names: tuple[str, ...]
    pool_name: str
    device_name: str
    cdi_device_ids: tuple[str, ...]
    share_id: str | None = None


@dataclass(frozen=True, slots=True)
class PrepareResult:
    """What became of one claim; `error` is "" when it is prepared."""

    devices: tuple[PreparedDevice, ...] = ()
    error: str = ""


class DeviceReport(NamedTuple):
    """One device of a health report. A tuple, because thousands are made of each report: a frozen dataclass costs six times as much.

    `checked_at`: Unix seconds when the driver last determined it (whole seconds on the wire); 0.0 when it did not say, or named no
    time there is. `lease`: seconds as the driver asked, whatever it asked; 0.0 means the default. `podvitals.device.verdict.lease_seconds`
    makes a lease of it. `action`: what a person should do; an extension only podvitals sends and reads.
    """

    pool: str
    device: str
    health: Health
    checked_at: float
    lease: float
    message: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One message of a health stream: its devices in the order given, how many of its entries were `refused` (not taken as they stood),
    and in `refusals` a sentence for each of the first of these."""

    devices: tuple[DeviceReport, ...]
    refusals: tuple[str, ...] = ()
    refused: int = 0
