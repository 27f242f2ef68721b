"""What is polled of one NVIDIA GPU: NVML's answers as signals. Each is asked for by itself: what one GPU cannot tell hides nothing else."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from podvitals.detect.families.nvml import Failed, NotFound, NotSupported, Nvml
from podvitals.detect.signal import Count, Level, Signal, State, Unread

UNCORRECTED, CORRECTED = 1, 0
VOLATILE, AGGREGATE = 0, 1
RECOVERY_ACTION = 230
ACTIONS = ("none", "reset", "reboot", "drain-p2p", "drain-reset", "recover-imex", "bus-reset", "system-reboot")
"""NVML_GPU_RECOVERY_ACTION_*, by number; the rules have the same words."""
SLOWDOWNS = {"nvidia.thermal_slowdown": 0x20 | 0x40, "nvidia.power_brake": 0x80}
"""nvmlClocksEventReason*: those that are no choice of the operator's (a power cap is one)."""
LINK_ERRORS = (161, 162, 163)
"""NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY, _RECOVERY, _CRC; each by link (scope)."""
FABRIC_STATES = {1: "not-started", 2: "in-progress", 3: "completed"}
FABRIC_HEALTH = {"bandwidth": 0, "route-recovery": 2, "route-unhealthy": 4, "access-timeout": 6}
"""Places of two bits in the health mask: 1 is true, 2 is false, 0 is not supported."""
FABRIC_CONFIGURATION = 8
MOST_LINKS = 36


def polled(nvml: Nvml, gpu: Any, seen_up: set[int]) -> Iterator[Signal]:
    """Everything that is asked of a GPU. `seen_up`: the links of NVLink that were ever active; it grows. Raises Lost and ResetRequired."""
    yield from _asked("nvidia.recovery", lambda: filter(None, [action_of(nvml, gpu)]))
    for name, kind, counter in (
        ("nvidia.ecc_uncorrected", UNCORRECTED, VOLATILE),
        ("nvidia.ecc_corrected", CORRECTED, VOLATILE),
        ("nvidia.ecc_uncorrected_total", UNCORRECTED, AGGREGATE),
    ):
        yield from _asked(name, lambda n=name, k=kind, c=counter: [Count(n, nvml.call("DeviceGetTotalEccErrors", gpu, k, c))])  # type: ignore[misc]
    yield from _asked("nvidia.remap", lambda: _remapped(nvml, gpu))
    yield from _asked(
        "nvidia.retired_pending", lambda: [State("nvidia.retired_pending", _yes(nvml.call("DeviceGetRetiredPagesPendingStatus", gpu)))]
    )
    yield from _asked("nvidia.slowdown", lambda: _slowdowns(nvml, gpu))
    yield from _asked("nvidia.pcie_replay", lambda: [Count("nvidia.pcie_replay", nvml.call("DeviceGetPcieReplayCounter", gpu))])
    yield from _asked("nvidia.link_width", lambda: _width(nvml, gpu))
    yield from _asked("nvidia.nvlink", lambda: _links(nvml, gpu, seen_up))
    yield from _asked("nvidia.fabric", lambda: _fabric(nvml, gpu))


def action_of(nvml: Nvml, gpu: Any) -> State | None:
    """What the driver says it takes to recover the GPU; None where it cannot say (before 565)."""
    (number,) = nvml.fields(gpu, [RECOVERY_ACTION])
    if number is None:
        return None
    return State("nvidia.recovery", ACTIONS[number] if number < len(ACTIONS) else f"unknown-{number}")


def _asked(name: str, job: Callable[[], Iterable[Signal]]) -> Iterator[Signal]:
    try:
        yield from list(job())
    except NotSupported:
        return
    except (Failed, NotFound) as error:
        yield Unread(name, str(error))


def _remapped(nvml: Nvml, gpu: Any) -> Iterator[Signal]:
    correctable, uncorrectable, pending, failed = nvml.call("DeviceGetRemappedRows", gpu)
    yield Count("nvidia.remapped_correctable", correctable)
    yield Count("nvidia.remapped_uncorrectable", uncorrectable)
    yield State("nvidia.remap_pending", _yes(pending))
    yield State("nvidia.remap_failed", _yes(failed))


def _slowdowns(nvml: Nvml, gpu: Any) -> Iterator[Signal]:
    try:
        reasons = nvml.call("DeviceGetCurrentClocksEventReasons", gpu)
    except NotSupported:  # before 535 it had another name
        reasons = nvml.call("DeviceGetCurrentClocksThrottleReasons", gpu)
    for name, bits in SLOWDOWNS.items():
        yield State(name, _yes(reasons & bits))


def _width(nvml: Nvml, gpu: Any) -> Iterator[Signal]:
    now, most = nvml.call("DeviceGetCurrPcieLinkWidth", gpu), nvml.call("DeviceGetMaxPcieLinkWidth", gpu)
    if now > 0 and most > 0:
        yield Level("nvidia.link_width", now)
        yield Level("nvidia.max_link_width", most)


def _links(nvml: Nvml, gpu: Any, seen_up: set[int]) -> Iterator[Signal]:
    active = []
    for link in range(MOST_LINKS):
        try:
            up = nvml.call("DeviceGetNvLinkState", gpu, link)
        except NotSupported:
            break
        if up:
            active.append(link)
            seen_up.add(link)
        yield State("nvidia.nvlink", "up" if up else "down" if link in seen_up else "off", str(link))
    wanted = [(field, link) for link in active for field in LINK_ERRORS]
    errors: dict[int, int] = {}
    for (_, link), value in zip(wanted, nvml.fields(gpu, wanted), strict=True):
        if value is not None:
            errors[link] = errors.get(link, 0) + value
    for link, count in errors.items():
        yield Count("nvidia.nvlink_errors", count, str(link))


def _fabric(nvml: Nvml, gpu: Any) -> Iterator[Signal]:
    info = nvml.constant("c_nvmlGpuFabricInfoV_t")()
    nvml.call("DeviceGetGpuFabricInfoV", gpu, nvml.reference(info))
    state = FABRIC_STATES.get(info.state)
    if state is None:
        return
    if state == "completed" and info.status != 0:
        yield State("nvidia.fabric", "failed", text=nvml.words(info.status))
        return
    yield State("nvidia.fabric", state)
    for part, shift in FABRIC_HEALTH.items():
        if bits := info.healthMask >> shift & 3:
            yield State("nvidia.fabric_health", _yes(bits == 1), part)
    if configuration := info.healthMask >> FABRIC_CONFIGURATION & 0xF:
        yield State("nvidia.fabric_health", _yes(configuration > 1), "configuration")


def _yes(value: object) -> str:
    return "yes" if value else "no"
