"""The gRPC method names. A service is asked for by its version string, as a driver lists it (messages.py)."""

from podvitals.errors import InvalidInput
from podvitals.wire.messages import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1

GET_INFO = "/pluginregistration.Registration/GetInfo"
NOTIFY = "/pluginregistration.Registration/NotifyRegistrationStatus"

# For DRA the gRPC package is the long one, for health the short one IS the package (CONTRACT §2, §3).
_SERVICE = {
    DRA_V1: "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin",
    DRA_V1BETA1: "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin",
    HEALTH_V1: "v1.DRAResourceHealth",
    HEALTH_V1ALPHA1: "v1alpha1.DRAResourceHealth",
}


def prepare_method(version: str) -> str:
    return f"/{_service(version, 'DRAPlugin')}/NodePrepareResources"


def unprepare_method(version: str) -> str:
    return f"/{_service(version, 'DRAPlugin')}/NodeUnprepareResources"


def watch_method(version: str) -> str:
    return f"/{_service(version, 'DRAResourceHealth')}/NodeWatchResources"


def _service(version: str, kind: str) -> str:
    if version not in _SERVICE or not version.endswith(f".{kind}"):
        known = ", ".join(name for name in _SERVICE if name.endswith(f".{kind}"))
        raise InvalidInput(f"{version!r} is not a {kind} service podvitals knows: one of {known}")
    return _SERVICE[version]
