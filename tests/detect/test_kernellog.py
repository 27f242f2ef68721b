"""Records of the kernel log, and what their lines mean: lines as they stand in drivers and in reports of their users."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podvitals.detect.kernellog import Joiner, Lines, Reader, Record, parse
from podvitals.detect.rules.load import builtin, read_rules
from podvitals.detect.rules.rule import Rules

LINES = Lines(builtin().lines.values())


def said(text: str, **keys: str) -> list[tuple[str, str, str, str]]:
    """(about, who, table, code) of a line."""
    record = Record(1, 0, 1.0, text, keys)
    return [(found.about, found.who, found.code.table, found.code.code) for found in LINES.said(record)]


def params(text: str) -> dict[str, str]:
    (found, *_) = LINES.said(Record(1, 0, 1.0, text))
    return dict(found.code.params)


def test_a_record_is_taken_apart_as_the_kernel_documents_it() -> None:
    # The example of Documentation/ABI/testing/dev-kmsg.
    data = (
        b"7,160,424069,-;pci_root PNP0A03:00: host bridge window [io  0x0000-0x0cf7] (ignored)\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n"
    )
    record = parse(data)
    assert record == Record(
        160,
        0,
        0.424069,
        "pci_root PNP0A03:00: host bridge window [io  0x0000-0x0cf7] (ignored)",
        {"SUBSYSTEM": "acpi", "DEVICE": "+acpi:PNP0A03:00"},
    )
    assert parse(b"30,340,5690716,-;udevd[80]: starting version 181\n").facility == 3


def test_unknown_fields_are_ignored_and_escapes_undone() -> None:
    record = parse(b"4,7,1000000,c,caller=T12,new=1;na\\x5cme \\xc3\\xa4\\x0a end\n")
    assert (record.text, record.goes_on, record.caller) == ("na\\me ä\n end", True, "T12")


@pytest.mark.parametrize("data", [b"", b"no record", b"6,1,2;text", b"a,b,c,-;text", b"6,1,2,-"])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is no record of the kernel log"):
        parse(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    for whole in (data, b"6,1,1000,-;" + data):
        with suppress(ValueError):
            list(LINES.said(parse(whole)))


GPU = "0000:3b:00.0"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.", ("pci", GPU, "xid", "79")),
        ("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.", ("pci", GPU, "xid", "79")),
        ("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.65.06", ("driver", "NVIDIA", "life", "reset")),
        ("NVRM: Xid (0000:03:00): 13, Graphics Exception: ESR 0x404600=0x80000002", ("pci", "0000:03:00.0", "xid", "13")),
        ("NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.", ("pci", "0000:3b:00.0", "kmsg", "nvrm-fallen")),
        ("NVRM: GPU at PCI:0000:3b:00: has fallen off the bus", ("pci", GPU, "kmsg", "nvrm-fallen")),
        ("NVRM: GPU 0000:3b:00.0: RmInitAdapter failed! (0x26:0xffff:1290)", ("pci", "0000:3b:00.0", "kmsg", "nvrm-init-failed")),
        (
            "nvidia-nvswitch3: SXid (PCI:0000:c5:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error",
            ("pci", "0000:c5:00.0", "sxid", "12028"),
        ),
        (
            "amdgpu 0000:43:00.0: amdgpu: 2 uncorrectable hardware errors detected in umc block",
            ("pci", "0000:43:00.0", "kmsg", "amdgpu-uncorrectable"),
        ),
        (
            "amdgpu 0000:43:00.0: amdgpu: socket: 0, die: 0 1 new uncorrectable hardware errors detected in gfx block",
            ("pci", "0000:43:00.0", "kmsg", "amdgpu-uncorrectable"),
        ),
        (
            "amdgpu 0000:43:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=14, emitted seq=16",
            ("pci", "0000:43:00.0", "kmsg", "amdgpu-ring-timeout"),
        ),
        ("amdgpu 0000:43:00.0: amdgpu: GPU reset begin!", ("pci", "0000:43:00.0", "kmsg", "amdgpu-reset")),
        ("amdgpu 0000:43:00.0: amdgpu: GPU reset(2) succeeded!", ("pci", "0000:43:00.0", "life", "reset")),
        ("amdgpu 0000:43:00.0: amdgpu: GPU reset(3) failed", ("pci", "0000:43:00.0", "kmsg", "amdgpu-reset-failed")),
        ("amdgpu 0000:43:00.0: amdgpu: GPU reset end with ret = -110", ("pci", "0000:43:00.0", "kmsg", "amdgpu-reset-failed")),
        (
            "amdgpu 0000:43:00.0: amdgpu: ERROR: GPU over temperature range(SW CTF) detected!",
            ("pci", "0000:43:00.0", "kmsg", "amdgpu-thermal"),
        ),
        (
            "xe 0000:03:00.0: [drm] *ERROR* CRITICAL: Xe has declared device 0000:03:00.0 as wedged.",
            ("pci", "0000:03:00.0", "kmsg", "xe-wedged"),
        ),
        ("xe 0000:03:00.0: [drm] GT0: reset started", ("pci", "0000:03:00.0", "kmsg", "xe-gt-reset")),
        ("xe 0000:03:00.0: [drm] *ERROR* GT1: reset failed (-ETIMEDOUT)", ("pci", "0000:03:00.0", "kmsg", "xe-reset-failed")),
        ("i915 0000:00:02.0: [drm] GPU HANG: ecode 9:1:85dffffb, in chrome [2127]", ("pci", "0000:00:02.0", "kmsg", "i915-gpu-hang")),
        ("i915 0000:03:00.0: [drm] *ERROR* GT0: Failed to reset chip", ("pci", "0000:03:00.0", "kmsg", "i915-reset-failed")),
        (
            "nvme 0000:01:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer, (Receiver ID)",
            ("pci", "0000:01:00.0", "kmsg", "aer-fatal"),
        ),
        (
            "nvme 0000:01:00.0: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=Transaction Layer, (Requester ID)",
            ("pci", "0000:01:00.0", "kmsg", "aer-nonfatal"),
        ),
        (
            "DMAR: [DMA Read NO_PASID] Request device [3b:00.0] fault addr 0x1000 [fault reason 0x06] PTE Read access is not set",
            ("pci", GPU, "kmsg", "iommu-fault"),
        ),
        ("nvme nvme0: I/O 123 QID 5 timeout, aborting", ("nvme", "nvme0", "kmsg", "nvme-timeout")),
        (
            "nvme nvme0: I/O tag 258 (0102) opcode 0x1 (I/O Cmd) QID 2 timeout, aborting req_op:WRITE(1) size:4096",
            ("nvme", "nvme0", "kmsg", "nvme-timeout"),
        ),
        ("nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff", ("nvme", "nvme0", "kmsg", "nvme-down")),
        ("nvme nvme0: Disabling device after reset failure: -19", ("nvme", "nvme0", "kmsg", "nvme-disabled")),
        ("nvme nvme1: Removing after probe failure status: -19", ("nvme", "nvme1", "kmsg", "nvme-removed")),
        ("blk_update_request: I/O error, dev sda, sector 123 op 0x0:(READ) flags 0x0", ("block", "sda", "kmsg", "block-io-error")),
        (
            "I/O error, dev loop0, sector 8 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2",
            ("block", "loop0", "kmsg", "block-io-error"),
        ),
        ("critical medium error, dev sdb, sector 99 op 0x0:(READ)", ("block", "sdb", "kmsg", "block-medium-error")),
        ("EXT4-fs (sda1): Remounting filesystem read-only", ("block", "sda1", "kmsg", "filesystem-read-only")),
        (
            "XFS (nvme0n1p2): Corruption of in-memory data detected.  Shutting down filesystem",
            ("block", "nvme0n1p2", "kmsg", "filesystem-shut-down"),
        ),
        ("NETDEV WATCHDOG: eth0 (ixgbe): transmit queue 3 timed out", ("ifname", "eth0", "kmsg", "nic-transmit-timeout")),
        (
            "mlx5_core 0000:3b:00.0: poll_health:816:(pid 0): device's health compromised - reached miss count",
            ("pci", "0000:3b:00.0", "kmsg", "mlx5-health"),
        ),
        (
            "NEURON_HW_ERR=HBM_UNCORRECTABLE_ERROR instance-id=i-0592464924bd45322 hostname=ip-1 nd-id=3 nc-id=0 serial-num=19a",
            ("neuron", "3", "kmsg", "neuron-uncorrectable"),
        ),
        ("NEURON_HW_ERR=DMA_ERROR instance-id=i-0 hostname=ip-1 nd-id=0 nc-id=0 serial-num=19a", ("neuron", "0", "kmsg", "neuron-error")),
    ],
)
def test_a_line_means_its_code_for_its_device(text: str, found: tuple[str, str, str, str]) -> None:
    assert found in said(text)
    assert len({code for *_, code in said(text)}) == len(said(text))


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (0, "None", "none"),
        (1, "GPU Reset Required", "reset"),
        (1, "PF FLR", "reset"),
        (2, "Node Reboot Required", "reboot"),
        (2, "OS Reboot", "reboot"),
        (3, "Drain P2P", "drain-p2p"),
        (4, "Drain and Reset", "drain-reset"),
    ],
)
def test_xid_154_tells_the_action_by_its_number_whatever_its_words(number: int, words: str, code: str) -> None:
    text = f"NVRM: Xid (PCI:0008:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x{number} ({words})"
    assert [("pci", "0008:01:00.0", "xid", "154"), ("pci", "0008:01:00.0", "recovery", code)] == said(text)


def test_details_of_a_line_are_its_parameters() -> None:
    assert params("NVRM: Xid (PCI:0000:3b:00): 31, pid=2280636, name=python3, Ch 00000008, intr 10000000") == {
        "pci": GPU,
        "xid": "31",
        "pid": "2280636",
        "name": "python3",
        "what": "Ch 00000008, intr 10000000",
    }


def test_what_an_nvlink_error_asks_for_is_decoded_from_its_line() -> None:
    found = params("NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000 0x00000000 0x00000000)")
    assert (found["unit"], found["link"], found["asks"]) == ("NETIR_LINK_EVT", "01", "reset")
    with_program = params("NVRM: Xid (PCI:0000:3b:00): 145, pid=4, name=train, RLW_REMAP Nonfatal XC1 i0 Link 17 (0x00000004 0x00000001)")
    assert (with_program["unit"], with_program["asks"], with_program["name"]) == ("RLW_REMAP", "restart", "train")


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: Xid (PCI:0000:3b:00): abc, pid=2280636",
        "amdgpu 0000:43:00.0: amdgpu: 3 correctable hardware errors detected in umc block",
        "nvme nvme0: 16/0/0 default/read/poll queues",
        "I/O error of no device",
        "pcieport 0000:00:1c.0: AER: Corrected error message received from 0000:01:00.0",
    ],
)
def test_a_line_that_tells_of_no_fault_means_nothing(text: str) -> None:
    assert not said(text)


def test_the_record_s_own_device_key_says_whom_a_line_is_about() -> None:
    slot = '[lines.slot]\nhas = "Link Down"\npattern = "Slot.*Link Down"'
    lines = Lines(read_rules(slot, "x.toml", Rules(), origin="").lines.values())
    devices = {
        "+pci:0000:17:01.0": ("pci", "0000:17:01.0"),
        "+nvme:nvme0": ("nvme", "nvme0"),
        "n8": ("ifindex", "8"),
        "b259:3": ("number", "259:3"),
    }
    for device, whom in devices.items():
        (found,) = lines.said(Record(1, 0, 0.0, "pciehp: Slot(1): Link Down", {"DEVICE": device}))
        assert (found.about, found.who) == whom
    assert not list(lines.said(Record(1, 0, 0.0, "pciehp: Slot(1): Link Down", {"DEVICE": "c127:3"}))), "about no device we know"


class Hearing:
    """What records say, one after the other."""

    def __init__(self) -> None:
        self._joiner, self._reader = Joiner(), Reader(builtin().lines.values())

    def said(self, text: str, goes_on: bool = False, caller: str = "") -> list[str]:
        record = self._joiner.whole(Record(1, 0, 0.0, text, goes_on=goes_on, caller=caller))
        return [f"{said.who} {said.code.table} {said.code.code}" for said in self._reader.said(record)]


def test_a_line_in_pieces_is_understood_once_it_is_whole_and_told_once() -> None:
    hearing = Hearing()
    assert not hearing.said("NVRM: Xid (PCI:0000:3b:00)")
    assert hearing.said(": 79, GPU has fallen", goes_on=True) == [f"{GPU} xid 79"]
    assert not hearing.said(" off the bus.", goes_on=True)
    assert not hearing.said("NVRM: Xid (PCI:0000:3b:00)", caller="T1")
    assert not hearing.said(": 48, DBE", goes_on=True, caller="T2"), "another caller's piece"


def cper(*texts: str) -> list[str]:
    hearing = Hearing()
    return [said for text in texts for said in hearing.said(text)]


def test_a_fatal_record_of_the_firmware_is_told_of_its_pci_device() -> None:
    head, event, section, device = (
        "[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 4",
        "[Hardware Error]: event severity: {}",
        "[Hardware Error]:   section_type: PCIe error",
        "[Hardware Error]:   device_id: 0000:3b:00.0",
    )
    record = [head, event.format("fatal"), section, device]
    assert cper(*record) == [f"{GPU} cper fatal"], "of the last boot (BERT)"
    numbered = [f"{{1}}{line}" for line in record]
    other = [f"{{2}}{line}" for line in (head, event.format("corrected"), section, device.replace("3b", "5e"))]
    mixed = [line for pair in zip(numbered, other, strict=True) for line in pair]
    assert cper(*mixed) == [f"{GPU} cper fatal"]
    assert cper(section, device) == [], "a record whose beginning was not seen"
