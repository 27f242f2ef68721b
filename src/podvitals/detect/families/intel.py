"""Family `intel`: Intel's GPUs (drivers xe and i915): whether heat slows them down, whether the driver gave one up, what the GPU says of
itself. `intel[:PATTERN,...]`, of PCI addresses or devices' names; without one, all.

What can be read is little. Neither driver counts memory errors in sysfs. That a GPU was given up (wedged) is pushed by the kernel
(drm.py), and stands in the kernel log, which is family `kmsg`'s; no file says so later, but for an xe that waits for its firmware to be
flashed (survivability_mode is there: drivers/gpu/drm/xe/xe_survivability_mode.c). From Linux 7.3 on newer ones say how they are
(gpu_health: Documentation/ABI/testing/sysfs-driver-intel-xe-ras).

Throttling: i915 drm/card*/gt/gt*/throttle_reason_* (drivers/gpu/drm/i915/gt/intel_gt_sysfs_pm.c), xe
tile*/gt*/freq0/throttle/{status,reason_*} (drivers/gpu/drm/xe/xe_gt_throttle.c).
"""

from collections.abc import Iterator
from pathlib import Path

from podvitals.detect.families import drm, sysfs
from podvitals.detect.families.sysfs import tried
from podvitals.detect.signal import Signal, State, Unread

REASONS = ("thermal", "prochot", "vr_thermalert", "soc_thermal", "mem_thermal", "vr_thermal")
"""Heat; limits of power and current are the operator's choice or the board's."""
MOST_GTS = 16


class Intel(drm.Gpus):
    family, about = "intel", "Intel's GPUs"
    needs = "the xe or i915 driver; memory errors cannot be read in sysfs (see kmsg); that a GPU is given up needs Linux 6.15"
    interval, timeout = 10.0, 2.0
    presence = "intel.throttled"
    vendor, drivers = "0x8086", ("xe", "i915")

    def told(self, at: Path) -> Iterator[Signal]:
        yield State("intel.driver", driver := sysfs.link_name(at / "driver"))
        if driver == "xe":
            yield State("intel.survivability", "yes" if (at / "survivability_mode").exists() else "no")
            yield from tried("intel.health", lambda: [State("intel.health", sysfs.word(at / "gpu_health"))])
        yield from self._throttled(at)

    def _throttled(self, at: Path) -> Iterator[Signal]:
        places = [(path, "reason_") for path in sorted(at.glob("tile*/gt*/freq0/throttle"))[:MOST_GTS]]
        places += [(path, "throttle_reason_") for path in sorted(at.glob("drm/card*/gt/gt*"))[:MOST_GTS]]
        for reason in REASONS:
            said = []
            for path, prefix in places:
                try:
                    said.append(sysfs.number(path / f"{prefix}{reason}"))
                except FileNotFoundError:
                    continue
                except (OSError, ValueError) as error:
                    yield Unread("intel.throttled", sysfs.why(error), reason)
                    break
            else:
                if said:
                    yield State("intel.throttled", "yes" if any(said) else "no", reason)


FAMILY = Intel
