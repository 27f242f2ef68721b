"""Lines as drivers really print them, and the device they are about."""

from pathlib import Path

import pytest

from podvitals.detect.detector import Device
from podvitals.detect.phrase import Places, pci_address, said
from podvitals.detect.rules.load import builtin

LINES = {
    "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.": ("pci", "0000:3b:00", "xid", "79"),
    "NVRM: Xid (0000:03:00): 14, Channel 00000001": ("pci", "0000:03:00", "xid", "14"),
    "NVRM: Xid (PCI:0000:9b:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)": (
        "pci",
        "0000:9b:00",
        "xid",
        "154",
    ),
    "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15": ("driver", "nvidia", "life", "reset"),
    "amdgpu 0000:c3:00.0: amdgpu: 3 uncorrectable hardware errors detected in umc block": ("pci", "0000:c3:00.0", "amd", "uncorrectable"),
    "amdgpu 0000:03:00.0: amdgpu: GPU reset begin!": ("pci", "0000:03:00.0", "amd", "reset-begins"),
    "amdgpu 0000:03:00.0: amdgpu: GPU reset(2) succeeded!": ("pci", "0000:03:00.0", "life", "reset"),
    "amdgpu 0000:03:00.0: amdgpu: GPU reset end with ret = -110": ("pci", "0000:03:00.0", "amd", "reset-failed"),
    "amdgpu 0000:03:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=3": ("pci", "0000:03:00.0", "amd", "ring-timeout"),
    "xe 0000:03:00.0: [drm] device wedged, needs recovery": ("pci", "0000:03:00.0", "intel", "wedged"),
    "i915 0000:00:02.0: [drm] GPU HANG: ecode 12:1:85def5fb, in chrome [4242]": ("pci", "0000:00:02.0", "intel", "hang"),
    "xe 0000:03:00.0: [drm] GT0: Engine reset: engine_class=rcs, logical_mask: 0x1, guc_id=2": ("pci", "0000:03:00.0", "intel", "hang"),
    "nvme 0000:01:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer, (Requester ID)": (
        "pci",
        "0000:01:00.0",
        "pcie",
        "fatal",
    ),
    "nvme 0000:01:00.0: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Data Link Layer": ("pci", "0000:01:00.0", "pcie", "fatal"),
    "pcieport 0000:00:01.0: AER: device recovery failed": ("pci", "0000:00:01.0", "pcie", "recovery-failed"),
    "NETDEV WATCHDOG: eth0 (ixgbe): transmit queue 3 timed out": ("net", "eth0", "net", "transmit-timeout"),
    "ixgbe 0000:03:00.0 eth0: NETDEV WATCHDOG: CPU: 1: transmit queue 0 timed out 5000 ms": ("net", "eth0", "net", "transmit-timeout"),
    "mlx5_core 0000:08:00.0: poll_health:825:(pid 0): Fatal error 3 detected": ("pci", "0000:08:00.0", "rdma", "fatal"),
    "mlx5_core 0000:08:00.0: poll_health:1016:(pid 0): device's health compromised - reached miss count": (
        "pci",
        "0000:08:00.0",
        "rdma",
        "fatal",
    ),
    "I/O error, dev sdb, sector 2048 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2": ("disk", "sdb", "block", "io-error"),
    "critical medium error, dev nvme0n1, sector 42 op 0x0:(READ) flags 0x0": ("disk", "nvme0n1", "block", "io-error"),
    "nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff": ("disk", "nvme0", "block", "controller-down"),
    "nvme nvme0: Disabling device after reset failure: -19": ("disk", "nvme0", "block", "controller-dead"),
    "nvme nvme1: I/O tag 12 (100c) opcode 0x2 (I/O Cmd) QID 3 timeout, aborting req_op:READ(0)": ("disk", "nvme1", "block", "timeout"),
    "EXT4-fs (sda1): Remounting filesystem read-only": ("disk", "sda1", "block", "remounted"),
    "XFS (nvme0n1p2): Filesystem has been shut down due to log error (0x2).": ("disk", "nvme0n1p2", "block", "remounted"),
    "BTRFS: error (device sdc1 state A) in btrfs_commit: errno=-5 IO failure, forced readonly": ("disk", "sdc1", "block", "remounted"),
    "neuron:nc_hw_err: NEURON_HW_ERR=SRAM_UNCORRECTABLE_ERROR instance-id=i-1 hostname=h nd-id=3 nc-id=1 serial-num=1": (
        "node",
        "neuron3",
        "node",
        "uncorrectable",
    ),
}


@pytest.mark.parametrize(("line", "means"), LINES.items(), ids=lambda value: value[:48] if isinstance(value, str) else "")
def test_a_line_of_the_kernel_log_says_what_and_of_which_device(line: str, means: tuple[str, str, str, str]) -> None:
    (heard,) = said(builtin(), line)
    kind, where, table, code = means
    assert (heard.kind, heard.where.split(" ")[0], heard.code.table, heard.code.code) == (kind, where, table, code)
    assert heard.code.text == line


def test_every_phrase_is_tried_by_some_line() -> None:
    rules = builtin()
    heard = {(h.code.table, h.code.code, h.kind) for line in LINES for h in said(rules, line)}
    for phrase in rules.phrases.values():
        assert any((phrase.table, phrase.device) == (table, kind) and phrase.code in (code, "{code}") for table, code, kind in heard)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "usb 1-1: new high-speed USB device number 2",
        "NVRM: The NVIDIA probe routine was not called for 1 device(s).",
        "amdgpu 0000:c3:00.0: amdgpu: 0 uncorrectable hardware errors detected in umc block",
        "amdgpu 0000:c3:00.0: amdgpu: 3 correctable hardware errors detected in umc block",
        "nvme 0000:01:00.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)",
        "NEURON_HW_ERR=SRAM_CORRECTABLE_ERROR nd-id=3",
        "amdgpu 0000:03:00.0: amdgpu: GPU reset end with ret = 0",
        "EXT4-fs (sda1): mounted filesystem with ordered data mode",
        "x" * 100_000,
    ],
)
def test_a_line_that_says_nothing_of_a_fault_says_nothing(line: str) -> None:
    assert list(said(builtin(), line)) == []


def test_the_words_of_an_nvlink_5_error_are_taken_apart() -> None:
    line = "NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000 0x0 0x0 0x0 0x0)"
    (heard,) = said(builtin(), line, age=7.0)
    assert dict(heard.code.params) == {"pci": "0009:01:00.0", "unit": "NETIR_LINK_EVT", "severity": "Fatal", "link": "01"}
    assert heard.code.age == 7.0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0000:3b:00", "0000:3b:00.0"),
        ("3b:00.1", "0000:3b:00.1"),
        ("0009:01:00.0", "0009:01:00.0"),
        ("0000:3B:00.0", "0000:3b:00.0"),
        ("00000000:3B:00.0", "00000000:3b:00.0"),
        ("eth0", ""),
    ],
)
def test_an_address_is_written_in_one_way(text: str, address: str) -> None:
    assert pci_address(text) == address


PLACES = Places(
    [
        Device("gpu", {"resource.kubernetes.io/pciBusID": "0000:3b:00.0", "driver": "nvidia"}),
        Device("gpu-part", {"resource.kubernetes.io/pciBusID": "0000:3b:00.0", "driver": "nvidia"}),
        Device("nic", {"ifname": "eth0"}),
        Device("fast", {"disk": "nvme0n1", "controller": "nvme0"}),
        Device("slow", {"disk": "sda"}),
        Device("tpu", nodes=[Path("/dev/accel0")]),
        Device("neuron", {"path": "/dev/neuron3"}),
    ]
)


@pytest.mark.parametrize(
    ("kind", "where", "names"),
    [
        ("pci", "0000:3b:00", ("gpu", "gpu-part")),
        ("pci", "0000:3b:00.1", ()),
        ("driver", "NVIDIA", ("gpu", "gpu-part")),
        ("net", "eth0", ("nic",)),
        ("net", "eth1", ()),
        ("disk", "nvme0n1p2", ("fast",)),
        ("disk", "nvme0", ("fast",)),
        ("disk", "nvme0n2", ("fast",)),
        ("disk", "nvme1n1", ()),
        ("disk", "sda1", ("slow",)),
        ("disk", "sdb", ()),
        ("node", "/dev/accel0", ("tpu",)),
        ("node", "neuron3", ("neuron",)),
        ("node", "neuron4", ()),
    ],
)
def test_a_place_in_the_log_is_found_among_the_devices(kind: str, where: str, names: tuple[str, ...]) -> None:
    assert PLACES.names(kind, where) == names
