"""What the rules about NVIDIA's GPUs have to say."""

from podvitals.detect.nvlink5 import told
from podvitals.detect.signal import Code, Count, Level, State
from tests.detect.catalogue.rows import HEALTHY, PCI, UNHEALTHY, Row, after, at_once, grew, line

XIDS_OF_PROGRAMS = {
    13: "Graphics engine exception",
    31: "GPU memory page fault",
    32: "Invalid or corrupted push buffer",
    43: "GPU stopped processing a program",
    45: "Program cleaned up after an earlier error",
    68: "Video decoder exception",
    69: "Graphics engine class error",
    94: "Contained memory error",
    137: "NVLink privilege error",
}
XIDS_NOTED = {
    38: "Driver firmware error",
    121: "C2C link error, corrected",
    160: "Channel retirement event",
    161: "Channel retirement failure",
}
XIDS_WHEN_IDLE = {
    63: "Row remapping or page retirement recorded",
    92: "High rate of single-bit memory errors",
    157: "Resource retirement failure",
}
XIDS_RESET = {
    46: "GPU stopped processing (timeout)",
    48: "Double-bit memory error",
    62: "Power management unit halted",
    64: "Row remapping or page retirement failed to be recorded",
    74: "NVLink error",
    95: "Uncontained memory error",
    109: "Context switch timeout",
    110: "Security fault",
    119: "GPU system processor does not answer",
    120: "GPU system processor error",
    136: "Link training failed",
    140: "Unrecovered memory error",
    143: "GPU initialization error",
    155: "NVLink software-defined error",
    156: "Resource retirement event",
    158: "GPU fatal timeout",
    167: "PCIe fatal timeout",
    171: "Uncorrectable DRAM error",
    172: "Uncorrectable SRAM error",
}
XIDS_OTHER = {
    54: ("Auxiliary power is not connected", "service"),
    61: ("Power management unit warning: internal breakpoint", "service"),
    123: ("Power management unit does not take writes", "service"),
    79: ("GPU has fallen off the bus", "power-cycle"),
    151: ("Confidential-computing key rotation failed", "reboot"),
}


def xid(number: int, **params: str) -> Code:
    return Code("xid", str(number), params=tuple(params.items()))


def nvlink5(number: int, line: str) -> Code:
    """As it comes from the end of a line of the kernel log."""
    return xid(number, **told(str(number), line))


XIDS = (
    *(at_once(f"xid.{n}", HEALTHY, "", "", xid(n)) for n in XIDS_OF_PROGRAMS),
    *(at_once(f"xid.{n}", HEALTHY, f"Xid {n}: {text}{PCI}", "", xid(n)) for n, text in XIDS_NOTED.items()),
    *(
        at_once(f"xid.{n}", HEALTHY, f"Xid {n}: {text}{PCI}: reset the GPU when it is idle", "reset-gpu", xid(n))
        for n, text in XIDS_WHEN_IDLE.items()
    ),
    *(at_once(f"xid.{n}", UNHEALTHY, f"Xid {n}: {text}{PCI}", "reset-gpu", xid(n)) for n, text in XIDS_RESET.items()),
    *(at_once(f"xid.{n}", UNHEALTHY, f"Xid {n}: {text}{PCI}", action, xid(n)) for n, (text, action) in XIDS_OTHER.items()),
    at_once(
        "xid.nvlink5-reset",
        UNHEALTHY,
        f"Xid 149: NVLink 5 error NETIR_LINK_EVT, link 01{PCI}: look at the device at the link's other end",
        "reset-gpu",
        nvlink5(149, "NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000)"),
    ),
    at_once(
        "xid.nvlink5-restart",
        HEALTHY,
        "",
        "",
        nvlink5(145, "RLW_REMAP Nonfatal XC1 i0 Link 17 (0x00000004 0x00000001 0x00000000 0x00000000)"),
    ),
    at_once(
        "xid.nvlink5-look",
        HEALTHY,
        f"Xid 149: NVLink 5 error NETIR_BER_EVENT, without effect, link 03{PCI}: look at the link's cables, temperature and seating",
        "",
        nvlink5(149, "NETIR_BER_EVENT Nonfatal XC0 i0 Link 03 (0x00086226 0x00000001 0x00000000 0x00000000 0x00000000 0x00000000)"),
    ),
    at_once("xid.nvlink5-harmless", HEALTHY, "", "", nvlink5(146, "TLW_CTRL Nonfatal XC0 i0 Link 00 (0x00000009 0x00000001 0x00000000)")),
    *(at_once("xid.nvlink5", HEALTHY, f"Xid {n}: NVLink 5 error of unknown pattern{PCI}", "reset-gpu", xid(n)) for n in range(144, 151)),
    at_once(
        "xid.nvlink5",
        HEALTHY,
        f"Xid 149: NVLink 5 error NETIR_NEW of unknown pattern, Fatal by the driver's own word, link 02{PCI}",
        "reset-gpu",
        nvlink5(149, "NETIR_NEW Fatal XC0 i0 Link 02 (0x0000007f 0x00000001)"),
    ),
    at_once(
        "xid.nvlink5-event",
        HEALTHY,
        f"Xid 145: NVLink 5 error: what it asks for stands in the kernel log{PCI}",
        "reset-gpu",
        xid(145, by="nvml"),
    ),
    at_once("xid.154", HEALTHY, "", "", xid(154)),
    at_once("xid.162", HEALTHY, "", "", xid(163), xid(162)),
    at_once("xid.163", HEALTHY, f"Xid 163: Power smoothing is off{PCI}", "", xid(163)),
    at_once("xid.other", HEALTHY, f"Xid 1234: unknown to podvitals{PCI}", "service", xid(1234)),
    at_once("recovery.none", HEALTHY, "", "", Code("recovery", "reset"), Code("recovery", "none")),
    at_once(
        "recovery.reset", UNHEALTHY, f"Xid 154: the driver asks for a reset of the GPU{PCI}", "reset-gpu", Code("recovery", "drain-reset")
    ),
    at_once("recovery.reboot", UNHEALTHY, f"Xid 154: the driver asks for a reboot of the node{PCI}", "reboot", Code("recovery", "reboot")),
    at_once(
        "recovery.drain",
        UNHEALTHY,
        f"Xid 154: the driver asks that programs using peer-to-peer stop{PCI}",
        "restart-app",
        Code("recovery", "drain-p2p"),
    ),
    at_once(
        "recovery.other",
        HEALTHY,
        f"Xid 154: the driver asks for recover-imex, unknown to podvitals{PCI}",
        "service",
        Code("recovery", "recover-imex"),
    ),
)

REPEATED = tuple(
    Row(
        f"xid.{n}",
        tuple((k * 3600.0, (xid(n),)) for k in range(5)),
        HEALTHY,
        f"Xid {n}: {text}, again and again: perhaps not the program's fault{PCI}",
        "reset-gpu",
    )
    for n, text in ((13, "Graphics engine exception"), (31, "GPU memory page fault"))
)

NVIDIA = (
    at_once(
        "nvidia.recovery-reset", UNHEALTHY, f"the driver asks for a reset of the GPU{PCI}", "reset-gpu", State("nvidia.recovery", "reset")
    ),
    at_once(
        "nvidia.recovery-reboot", UNHEALTHY, f"the driver asks for a reboot of the node{PCI}", "reboot", State("nvidia.recovery", "reboot")
    ),
    at_once(
        "nvidia.recovery-drain",
        UNHEALTHY,
        f"the driver asks that programs using peer-to-peer stop{PCI}",
        "restart-app",
        State("nvidia.recovery", "drain-p2p"),
    ),
    at_once(
        "nvidia.lost", UNHEALTHY, f"GPU is lost: the driver cannot reach it any more{PCI}", "power-cycle", State("nvidia.presence", "lost")
    ),
    at_once(
        "nvidia.ecc-uncorrected",
        UNHEALTHY,
        f"uncorrected memory errors since the driver was loaded{PCI}",
        "reset-gpu",
        Count("nvidia.ecc_uncorrected", 2),
    ),
    at_once(
        "nvidia.remap-pending",
        HEALTHY,
        f"a memory row waits to be remapped: reset the GPU when it is idle{PCI}",
        "reset-gpu",
        State("nvidia.remap_pending", "yes"),
    ),
    at_once("nvidia.remap-failed", UNHEALTHY, f"a memory row could not be remapped{PCI}", "service", State("nvidia.remap_failed", "yes")),
    after("nvidia.thermal", 10.0, HEALTHY, f"slowed down: too hot{PCI}", "", State("nvidia.thermal_slowdown", "yes")),
    after("nvidia.power-brake", 10.0, HEALTHY, f"slowed down by the power brake{PCI}", "", State("nvidia.power_brake", "yes")),
    at_once("nvidia.nvlink-down", UNHEALTHY, f"NVLink 3 is down{PCI}", "reset-gpu", State("nvidia.nvlink", "down", "3")),
    grew("nvidia.nvlink-errors", "nvidia.nvlink_errors", 101, HEALTHY, f"NVLink 3 has more than 100 errors a minute{PCI}", part="3"),
    at_once(
        "nvidia.fabric",
        UNHEALTHY,
        f"the NVLink fabric did not take the GPU in: Insufficient Resources{PCI}",
        "reset-gpu",
        State("nvidia.fabric", "failed", text="Insufficient Resources"),
    ),
    grew("nvidia.pcie-replay", "nvidia.pcie_replay", 101, HEALTHY, f"the PCIe link replays more than 100 packets a minute{PCI}"),
    after(
        "nvidia.link-width",
        30.0,
        HEALTHY,
        f"PCIe link is x8, it could be x16{PCI}",
        "",
        Level("nvidia.link_width", 8),
        Level("nvidia.max_link_width", 16),
    ),
    at_once("nvidia.fallen", UNHEALTHY, f"GPU has fallen off the bus{PCI}", "power-cycle", line("nvrm-fallen")),
    at_once("nvidia.init-failed", UNHEALTHY, f"the driver could not start the GPU{PCI}", "reboot", line("nvrm-init-failed")),
    at_once(
        "nvidia.sxid-fatal",
        UNHEALTHY,
        "SXid 20034: fatal NVSwitch error, link 30",
        "reboot",
        Code("sxid", "20034", params=(("severity", "Fatal"), ("link", "30"))),
    ),
    at_once("nvidia.sxid", HEALTHY, "SXid 12028: NVSwitch error", "", Code("sxid", "12028", params=(("severity", "Non-fatal"),))),
    at_once(
        "nvidia.reset-required",
        UNHEALTHY,
        f"the GPU has to be reset before it can be used again{PCI}",
        "reset-gpu",
        State("nvidia.reset_required", "yes"),
    ),
    at_once(
        "nvidia.retired-pending",
        HEALTHY,
        f"a memory page waits to be retired: reset the GPU when it is idle{PCI}",
        "reset-gpu",
        State("nvidia.retired_pending", "yes"),
    ),
    after(
        "nvidia.fabric-health",
        10.0,
        HEALTHY,
        f"the NVLink fabric is not well: bandwidth{PCI}",
        "",
        State("nvidia.fabric_health", "yes", "bandwidth"),
    ),
)
