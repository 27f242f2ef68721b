"""What the rules about everything else have to say."""

from podvitals.detect.families import drm
from podvitals.detect.signal import Code, Count, Level, State
from podvitals.detect.uevents import Uevent
from tests.detect.catalogue.rows import HEALTHY, PCI, UNHEALTHY, UNKNOWN, Row, after, at_once, grew, line


def wedged(methods: str, **keys: str) -> Code:
    """As the kernel tells it."""
    (code,) = drm.wedged(Uevent("change", "/devices/pci0000:3a/0000:3b:00.0/drm/card0", "drm", {"WEDGED": methods, **keys}))
    return code


AMD_AND_INTEL = (
    at_once("amd.uncorrectable-count", UNHEALTHY, f"uncorrectable errors in block umc{PCI}", "service", Count("amd.ras_ue", 1, "umc")),
    at_once(
        "amd.uncorrectable",
        UNHEALTHY,
        f"uncorrectable hardware errors in block umc{PCI}",
        "service",
        line("amdgpu-uncorrectable", block="umc", count="1"),
    ),
    grew("amd.correctable-rate", "amd.ras_ce", 101, HEALTHY, f"more than 100 correctable errors an hour in block gfx{PCI}", part="gfx"),
    at_once("amd.reset-begins", HEALTHY, f"the driver reset the GPU{PCI}", "", line("amdgpu-reset")),
    at_once("amd.reset-failed", UNHEALTHY, f"the driver could not reset the GPU{PCI}", "reboot", line("amdgpu-reset-failed")),
    at_once("amd.ring-timeout", HEALTHY, "", "", line("amdgpu-ring-timeout", ring="gfx_0.0.0")),
    at_once(
        "amd.cper-fatal",
        UNHEALTHY,
        f"the firmware recorded a fatal hardware error: fatal CPER{PCI}",
        "service",
        Code("cper", "fatal", "fatal CPER", age=3600.0),
    ),
    after("amd.throttled", 10.0, HEALTHY, f"slowed down: thermal{PCI}", "", State("amd.throttled", "yes", "thermal")),
    at_once("amd.lost", UNHEALTHY, f"GPU is lost from the bus{PCI}", "power-cycle", line("amdgpu-lost")),
    at_once("amd.over-temperature", HEALTHY, f"GPU is over its temperature range{PCI}", "", line("amdgpu-thermal")),
    at_once("intel.wedged", UNHEALTHY, f"the driver gave the GPU up (wedged){PCI}", "reset-gpu", line("xe-wedged")),
    at_once(
        "intel.survivability",
        UNHEALTHY,
        f"the GPU waits for its firmware to be flashed (survivability mode){PCI}",
        "service",
        State("intel.survivability", "yes"),
    ),
    at_once(
        "intel.critical", UNHEALTHY, f"the GPU says of itself that its state is critical{PCI}", "service", State("intel.health", "critical")
    ),
    at_once("intel.warning", HEALTHY, f"the GPU says of itself that it has minor troubles{PCI}", "", State("intel.health", "warning")),
    at_once("drm.wedged", UNHEALTHY, f"the driver gave the GPU up (wedged){PCI}", "reset-gpu", wedged("rebind,bus-reset")),
    at_once(
        "drm.wedged-cold",
        UNHEALTHY,
        f"the driver gave the GPU up (wedged): its power has to be cut{PCI}",
        "power-cycle",
        wedged("cold-reset"),
    ),
    at_once(
        "drm.wedged-vendor",
        UNHEALTHY,
        f"the driver gave the GPU up (wedged): it takes its vendor's own procedure{PCI}",
        "service",
        wedged("vendor-specific"),
    ),
    at_once("drm.recovered", HEALTHY, f"the driver reset the GPU{PCI}", "", line("amdgpu-reset"), wedged("none")),
    at_once("drm.recovered", HEALTHY, f"the driver reset the GPU, which train used{PCI}", "", wedged("none", TASK="train", PID="7")),
    at_once("intel.hang", HEALTHY, "", "", line("i915-gpu-hang", ecode="12:1:85def5fb")),
    after("intel.throttled", 10.0, HEALTHY, f"slowed down: pl1{PCI}", "", State("intel.throttled", "yes", "pl1")),
    at_once("intel.gt-reset", HEALTHY, "", "", line("xe-gt-reset", gt="GT0")),
    at_once("intel.reset-failed", UNHEALTHY, f"the driver could not reset the GPU{PCI}", "reboot", line("xe-reset-failed", gt="GT0")),
    at_once(
        "intel.error-fatal",
        UNHEALTHY,
        f"fatal hardware error in Tile0{PCI}",
        "reset-gpu",
        line("xe-hardware-error", tile="Tile0", severity="FATAL"),
    ),
    at_once(
        "intel.error-nonfatal",
        HEALTHY,
        f"uncorrectable hardware error, not fatal, in Tile0{PCI}",
        "",
        line("xe-hardware-error", tile="Tile0", severity="NONFATAL"),
    ),
    at_once("intel.error", HEALTHY, "", "", line("xe-hardware-error", tile="Tile0", severity="CORRECTABLE")),
)

PCIE = (
    grew("pcie.aer-fatal", "pcie.aer_fatal", 1, UNHEALTHY, f"fatal PCIe errors (AER){PCI}", "reset-gpu"),
    at_once(
        "pcie.fatal",
        UNHEALTHY,
        f"fatal PCIe error (AER), Transaction Layer{PCI}",
        "reset-gpu",
        line("aer-fatal", layer="Transaction Layer"),
    ),
    at_once("pcie.nonfatal", HEALTHY, f"uncorrectable PCIe error, not fatal (AER){PCI}", "", line("aer-nonfatal")),
    at_once(
        "pcie.recovery-failed",
        UNHEALTHY,
        f"the kernel could not recover the device from a PCIe error{PCI}",
        "reset-gpu",
        Code("pcie", "recovery-failed"),
    ),
    at_once(
        "pcie.iommu-fault", HEALTHY, f"the device reached for memory it may not use (IOMMU){PCI}", "", line("iommu-fault", what="DMA Read")
    ),
    grew("pcie.aer-nonfatal", "pcie.aer_nonfatal", 2, HEALTHY, f"uncorrectable PCIe errors, not fatal (AER){PCI}"),
    grew("pcie.aer-nonfatal", "pcie.aer_nonfatal", 3, UNHEALTHY, f"3 or more uncorrectable PCIe errors an hour (AER){PCI}", "reset-gpu"),
    grew("pcie.aer-correctable", "pcie.aer_correctable", 101, HEALTHY, f"more than 100 corrected PCIe errors a minute (AER){PCI}"),
    after(
        "pcie.link-width",
        30.0,
        HEALTHY,
        f"PCIe link is x1, it could be x4{PCI}",
        "",
        Level("pcie.link_width", 1),
        Level("pcie.max_link_width", 4),
    ),
    after(
        "pcie.link-speed",
        30.0,
        HEALTHY,
        f"PCIe link runs at 2.5 GT/s, it could at 32{PCI}",
        "",
        Level("pcie.link_speed", 2.5),
        Level("pcie.max_link_speed", 32.0),
    ),
    at_once("pcie.gone", UNHEALTHY, f"device left the bus{PCI}", "power-cycle", State("pcie.presence", "gone")),
    at_once("pcie.disabled", UNKNOWN, f"device is not enabled: its health cannot be told{PCI}", "", State("pcie.enabled", "0")),
    at_once("pcie.unbound", UNKNOWN, f"no driver is bound: its health cannot be told{PCI}", "", State("pcie.driver", "")),
)

NET_AND_RDMA = (
    at_once("net.gone", UNHEALTHY, "interface eth0 does not exist", "service", State("net.presence", "gone")),
    at_once("net.renamed", UNHEALTHY, "interface eth0 was renamed to lan0", "", State("net.presence", "renamed", text="lan0")),
    at_once("net.admin-down", UNHEALTHY, "interface eth0 is down: set down by an administrator", "", State("net.admin", "down")),
    at_once(
        "net.operstate", UNHEALTHY, "interface eth0 is down: its state is lowerlayerdown", "", State("net.operstate", "lowerlayerdown")
    ),
    at_once("net.carrier", UNHEALTHY, "interface eth0 is down: no carrier", "", State("net.carrier", "0")),
    grew("net.carrier-flaps", "net.carrier_changes", 3, HEALTHY, "carrier of eth0 changed 3 times or more in 10 minutes"),
    after(
        "net.speed",
        30.0,
        HEALTHY,
        "interface eth0 runs at 100 Mbit/s, it could at 25000",
        "",
        Level("net.speed", 100),
        Level("net.max_speed", 25000),
    ),
    grew("net.rx-crc", "net.rx_crc_errors", 101, HEALTHY, "interface eth0 receives more than 100 damaged frames a minute"),
    at_once("net.transmit-timeout", HEALTHY, "interface eth0 does not send: a transmit queue timed out", "", line("nic-transmit-timeout")),
    at_once("rdma.fatal", UNHEALTHY, f"the adapter's firmware reports a fatal error{PCI}", "reboot", line("mlx5-health")),
    at_once("rdma.state", UNHEALTHY, "port 1 is DOWN, not ACTIVE", "", State("rdma.state", "DOWN", "1")),
    at_once("rdma.phys-state", UNHEALTHY, "port 1 has no link: Polling", "", State("rdma.phys_state", "Polling", "1")),
    grew("rdma.link-downed", "rdma.link_downed", 1, UNHEALTHY, "port 1 lost its link", part="1"),
    grew("rdma.buffer-overrun", "rdma.excessive_buffer_overrun_errors", 1, UNHEALTHY, "port 1 has buffer overruns", "service", "1"),
    grew("rdma.link-integrity", "rdma.local_link_integrity_errors", 1, UNHEALTHY, "port 1 has link integrity errors", "service", "1"),
    grew("rdma.rnr-nak-retry", "rdma.rnr_nak_retry_err", 1, UNHEALTHY, "port 1 gave up on a receiver that was not ready", part="1"),
    Row(
        "rdma.symbol-errors",
        ((0.0, (Count("rdma.symbol_error", 0, "1"),)), (1800.0, (Count("rdma.symbol_error", 121, "1"),))),
        UNHEALTHY,
        "port 1 has more than 120 symbol errors an hour: check the cable",
        "service",
    ),
    Row(
        "rdma.symbol-error-burst",
        ((0.0, (Count("rdma.symbol_error", 0, "1"),)), (5.0, (Count("rdma.symbol_error", 101, "1"),))),
        HEALTHY,
        "port 1 has more than 10 symbol errors a second",
    ),
    grew("rdma.link-recovery", "rdma.link_error_recovery", 6, HEALTHY, "port 1 recovers its link more than 5 times a minute", part="1"),
)

DISKS = (
    at_once("block.nvme-state", UNHEALTHY, f"controller is resetting, not live{PCI}", "power-cycle", State("nvme.state", "resetting")),
    at_once("block.spare", HEALTHY, "SMART: spare blocks run out", "service", State("nvme.warning_spare", "yes")),
    at_once("block.temperature", HEALTHY, "SMART: temperature beyond its limits", "", State("nvme.warning_temperature", "yes")),
    at_once(
        "block.reliability", UNHEALTHY, "SMART: the disk is not reliable any more", "service", State("nvme.warning_reliability", "yes")
    ),
    at_once("block.smart-read-only", UNHEALTHY, "SMART: the disk went read-only", "service", State("nvme.warning_read_only", "yes")),
    at_once("block.backup", HEALTHY, "SMART: the backup of its volatile memory failed", "service", State("nvme.warning_backup", "yes")),
    grew("block.ioerr-cnt", "block.ioerr_cnt", 1, HEALTHY, "commands failed (ioerr_cnt)"),
    Row(
        "block.read-only",
        ((0.0, (State("block.read_only", "0"),)), (5.0, (State("block.read_only", "1"),))),
        UNHEALTHY,
        "disk became read-only",
        "service",
    ),
    at_once("block.gone", UNHEALTHY, "disk is gone", "service", State("block.presence", "gone")),
    *(at_once("block.io-error", HEALTHY, "I/O errors", "", line(f"block-{kind}-error")) for kind in ("io", "medium", "target")),
    at_once("block.controller-down", HEALTHY, f"controller went down and was reset{PCI}", "", line("nvme-down", nvme="nvme0")),
    at_once("block.controller-dead", UNHEALTHY, f"controller does not come back from a reset{PCI}", "power-cycle", line("nvme-disabled")),
    at_once("block.timeout", HEALTHY, "commands time out", "", line("nvme-timeout", nvme="nvme0")),
    at_once("block.remounted", UNHEALTHY, "a file system on the disk was stopped after errors", "service", line("filesystem-read-only")),
)

OTHERS = (
    at_once("node.missing", UNHEALTHY, "device node /dev/accel0 is missing", "", State("node.presence", "missing")),
    at_once("node.kind", UNHEALTHY, "/dev/accel0 is a regular file, no device", "", State("node.kind", "regular file")),
    at_once(
        "node.uncorrectable",
        UNHEALTHY,
        "Neuron: SRAM_UNCORRECTABLE_ERROR",
        "service",
        line("neuron-uncorrectable", what="SRAM_UNCORRECTABLE_ERROR", neuron="3"),
    ),
    at_once("node.neuron-error", HEALTHY, "Neuron: DMA_ABORT", "", line("neuron-error", what="DMA_ABORT", neuron="3")),
    after("fpga.state", 10.0, UNHEALTHY, "FPGA is not operating: its state is 'power off'", "service", State("fpga.state", "power off")),
    at_once("fpga.unknown", UNKNOWN, "the FPGA's manager does not know its state", "", State("fpga.state", "unknown")),
    at_once(
        "hwmon.emergency",
        UNHEALTHY,
        "Composite is beyond its emergency limit of 110 °C",
        "service",
        Level("hwmon.temp", 110, "Composite"),
        Level("hwmon.temp_emergency", 110, "Composite"),
    ),
    at_once(
        "hwmon.critical",
        HEALTHY,
        "Composite is beyond its critical limit of 84.8 °C",
        "service",
        Level("hwmon.temp", 85, "Composite"),
        Level("hwmon.temp_crit", 84.8, "Composite"),
    ),
    after(
        "hwmon.high",
        60.0,
        HEALTHY,
        "Composite is beyond its limit of 81.8 °C",
        "",
        Level("hwmon.temp", 82, "Composite"),
        Level("hwmon.temp_max", 81.8, "Composite"),
    ),
    at_once("hwmon.fault", UNKNOWN, "sensor Composite is broken", "", State("hwmon.fault", "yes", "Composite")),
    at_once("probe.unhealthy", UNHEALTHY, "disk array degraded", "", State("probe.outcome", "unhealthy", text="disk array degraded")),
    at_once("probe.unknown", UNKNOWN, "no answer", "", State("probe.outcome", "unknown", text="no answer")),
    at_once("probe.degraded", HEALTHY, "one spare left", "", State("probe.outcome", "degraded", text="one spare left")),
    grew("kmsg.lost", "kmsg.lost", 1, HEALTHY, "lines of the kernel log were lost before they were read: a fault may have been missed"),
    at_once("pcie.silent", UNHEALTHY, f"device does not answer on the bus{PCI}", "power-cycle", State("pcie.answers", "no")),
    at_once("rdma.gone", UNHEALTHY, f"adapter is gone{PCI}", "power-cycle", State("rdma.presence", "gone")),
    at_once("block.offline", UNHEALTHY, "disk is offline: the kernel gave it up", "service", State("block.scsi_state", "offline")),
    grew("block.media-errors", "nvme.media_errors", 1, HEALTHY, "SMART: data could not be read back"),
    grew("net.wire-errors", "net.wire_errors", 101, HEALTHY, "interface eth0 counts more than 100 errors a minute (rx_fcs)", part="rx_fcs"),
    grew("amd.bad-pages", "amd.bad_pages", 1, HEALTHY, f"a page of memory was retired{PCI}"),
)
