"""GPUs of the kernel's DRM subsystem, whatever their driver: that it gave one up (wedged), and that it was bound anew.

Kernel: Documentation/gpu/drm-uapi.rst, "Device Wedging" (Linux 6.15): a `change` of drm/cardN with WEDGED=METHOD[,METHOD...] (none, rebind,
bus-reset, cold-reset, vendor-specific, unknown), the mildest first; PID and TASK name the program, if there is one. It is said once, and
stands in no file.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from podvitals.detect.families import pcidev
from podvitals.detect.families.anew import Anew
from podvitals.detect.signal import LIFE, Code
from podvitals.detect.uevents import Uevent
from podvitals.device.text import clean

SUBSYSTEM = "drm"
LONGEST_WORD = 64


def address(event: Uevent) -> str:
    """Of the GPU whose card a uevent is about, where it is one that says more than that a screen was plugged in."""
    if event.action == "change" and "WEDGED" not in event.keys:
        return ""
    return next((part for part in reversed(event.path.split("/")) if pcidev.ADDRESS.fullmatch(part)), "")


def wedged(event: Uevent) -> Iterable[Code]:
    """`name` is the program's, as in a line of the kernel log (and is left out with it, where a recording is made anonymous)."""
    if methods := clean(event.keys.get("WEDGED", ""), LONGEST_WORD):
        params = {"method": methods.partition(",")[0], "methods": methods, "name": clean(event.keys.get("TASK", ""), LONGEST_WORD)}
        yield Code("drm", "wedged", f"WEDGED={methods}", tuple((name, value) for name, value in params.items() if value))


def life(anew: Anew, at: Path, gpu: str) -> Iterator[Code]:
    """With its driver bound anew a GPU was reset. `at`: its PCI device's directory."""
    with suppress(FileNotFoundError):
        if anew.is_so(gpu, at / "drm"):
            yield Code(LIFE, "reset", f"the driver of {gpu} was bound anew")
