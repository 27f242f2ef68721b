"""podvitals: a pod says which of its devices is unhealthy, why, since when and what to do.

The names below are the SDK, what the author of a DRA driver imports. They load on first use (PEP 562): importing
podvitals imports neither h2 nor aiohttp nor protobuf, so a command-line call that needs none of them starts fast.
"""

__version__ = "0.1.0"

# Type checkers take the name for typing's. Importing typing takes milliseconds, in which a Ctrl-C would print a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from podvitals.detect.detector import Detector, Device, Reading, Version
    from podvitals.detect.family import Family
    from podvitals.detect.signal import Code, Count, Level, State, Unread
    from podvitals.device.health import Health
    from podvitals.device.key import DeviceKey
    from podvitals.device.verdict import Verdict
    from podvitals.driver.plugin import CdiEdits, Driver, Mount
    from podvitals.errors import PodvitalsError

_HOME = {
    "CdiEdits": "podvitals.driver.plugin",
    "Code": "podvitals.detect.signal",
    "Count": "podvitals.detect.signal",
    "Detector": "podvitals.detect.detector",
    "Device": "podvitals.detect.detector",
    "DeviceKey": "podvitals.device.key",
    "Driver": "podvitals.driver.plugin",
    "Family": "podvitals.detect.family",
    "Health": "podvitals.device.health",
    "Level": "podvitals.detect.signal",
    "Mount": "podvitals.driver.plugin",
    "PodvitalsError": "podvitals.errors",
    "Reading": "podvitals.detect.detector",
    "State": "podvitals.detect.signal",
    "Unread": "podvitals.detect.signal",
    "Verdict": "podvitals.device.verdict",
    "Version": "podvitals.detect.detector",
}

__all__ = [
    "CdiEdits",
    "Code",
    "Count",
    "Detector",
    "Device",
    "DeviceKey",
    "Driver",
    "Family",
    "Health",
    "Level",
    "Mount",
    "PodvitalsError",
    "Reading",
    "State",
    "Unread",
    "Verdict",
    "Version",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'podvitals' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
