"""Whom a line of the kernel log may be about: of a line that names no device nothing is kept, of one that does nothing is lost."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podvitals.detect.kernellog import Lines, Record
from podvitals.detect.rules.load import builtin, read_rules
from podvitals.detect.subject import Names, Subject, normal

DEVICES: dict[str, list[Subject]] = {
    "pci-0000-3b-00-0": [("pci", "0000:3b:00.0"), ("driver", "nvidia")],
    "disk-a": [("block", "sda"), ("block", "sda1"), ("number", "8:1"), ("block", "cciss/c0d0")],
    "eth0-100": [("ifname", "eth0.100"), ("ifindex", "7")],
    "nvme-x": [("nvme", "nvme0"), ("block", "nvme0n1")],
    "neuron3": [("neuron", "3")],
}


@pytest.fixture
def names() -> Names:
    names = Names()
    for device, subjects in DEVICES.items():
        names.know(device, subjects)
    return names


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: Xid (PCI:0000:3B:00): 79, fallen",
        "NVRM: GPU at 00000000:3B:00.0 is lost",
        "DMAR: Request device [3b:00.0] fault",
        "NVRM: loading NVIDIA UNIX x86_64 Kernel Module",
        "I/O error, dev sda, sector 1",
        "EXT4-fs (sda1): error",
        "I/O error, dev cciss!c0d0, sector 1",
        "8021q: eth0.100: down.",
        "link of eth0.100.",
        "nvme nvme0: dead",
        "block nvme0n1: no path",
        "neuron: nd-id=3 failed",
        "{1}[Hardware Error]: event severity: fatal",
    ],
)
def test_a_line_that_names_a_device_is_kept(names: Names, text: str) -> None:
    assert names.mentioned(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "python[4711]: segfault at 0 ip 0",
        "NVRM: Xid (PCI:0000:5e:00): 79, fallen",
        "I/O error, dev sdab, sector 1",
        "audit: type=1400 name=/home/somebody/nvidia-smi",
        "IN=eth1 MAC=aa:bb:cc:dd:ee:ff SRC=10.0.0.1",
    ],
)
def test_a_line_that_names_none_is_not(names: Names, text: str) -> None:
    assert not names.mentioned(text, {"DEVICE": "+pci:0000:5e:00.0"})


def test_the_record_s_own_device_key_names_it_too(names: Names) -> None:
    for key in ("+pci:0000:3b:00.0", "+nvme:nvme0", "n7", "b8:1"):
        assert names.mentioned("something", {"DEVICE": key}), key


def test_a_name_that_is_known_already_is_no_news(names: Names) -> None:
    assert not names.know("disk-a", [("block", "sda")])
    assert names.know("disk-a", [("block", "sdb")])
    assert names.devices("block", "sdb") == names.devices("block", "sda") == ["disk-a"]
    assert names.devices("block", "cciss!c0d0") == ["disk-a"]


PATTERNS = Lines(
    read_rules(
        "".join(
            f"[lines.{kind}]\nhas = '{has}'\npattern = '(?:^|[^\\w!-]){has}(?P<{kind}>{shape})(?:$|[^\\w!-])'\n"
            for kind, has, shape in (
                ("pci", "at ", "[0-9a-f:.]+"),
                ("block", "dev ", "[a-z0-9!]+"),
                ("ifname", "dev ", "[a-z0-9.]+"),
                ("nvme", "ctl ", "nvme[0-9]+"),
            )
        ),
        "x.toml",
        builtin(),
        origin="x.toml",
    ).lines.values()
)


HAS, NAMES = ("at ", "dev ", "ctl "), ("0000:3b:00.0", "3B:00", "sda1", "cciss!c0d0", "eth0.100", "nvme0")
junk = st.lists(st.sampled_from((*HAS, *NAMES, " ", ",", ".", ": ", "x")), max_size=4).map("".join)


@example("", "dev ", "sda1", ".x")
@given(junk, st.sampled_from(HAS), st.sampled_from(NAMES), junk)
def test_whatever_a_pattern_can_tell_of_a_known_device_is_in_a_line_that_is_kept(before: str, has: str, name: str, behind: str) -> None:
    names, text = Names(), before + has + name + behind
    for device, subjects in DEVICES.items():
        names.know(device, subjects)
    told = [said for said in PATTERNS.said(Record(1, 0, 0.0, text)) if names.devices(said.about, normal(said.about, said.who))]
    assert not told or names.mentioned(text, {})
