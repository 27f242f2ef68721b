"""`podvitals check`, `detectors` and `rules` as a person or a script uses them."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from podvitals.detect.detector import Device, Reading
from podvitals.detect.recording import Found, Heard, Named, Record, Taken, Writing
from podvitals.detect.signal import Code, Count, State
from podvitals.detect.sim import write_state
from podvitals.device.health import Health
from tests.cli.test_main import podvitals
from tests.detect.families.tree import Tree

PCI = "resource.kubernetes.io/pciBusID"
GPUS = tuple(Device(f"gpu-{n}", {PCI: f"0000:{n}b:00.0", "productName": "H200", "serial": f"SERIAL-{n}"}) for n in range(3))
XID = Code("xid", "79", "NVRM: Xid (PCI:0000:1b:00): 79, pid=4711, name=secret-trainer, GPU has fallen off the bus.")


def recorded(path: Path, *records: Record) -> Path:
    writing = Writing("0.1.0")
    path.write_text("\n".join([writing.head, *map(writing.line, records)]) + "\n")
    return path


@pytest.fixture
def fallen(tmp_path: Path) -> Path:
    healthy = [Taken(1.0, "nvidia", gpu.name, (State("nvidia.presence", "present"),), whole=True) for gpu in GPUS]
    errors = [Taken(at, "nvidia", "gpu-2", (Count("pcie.aer_nonfatal", count),), whole=False) for at, count in ((2.0, 0), (7.0, 1))]
    fault = Taken(125.0, "nvidia", "gpu-1", (XID,), whole=False)
    return recorded(tmp_path / "fallen.jsonl", Found(0.0, "nvidia", GPUS), *healthy, *errors, fault)


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    directory = tmp_path / "toys"
    directory.mkdir()
    for name in ("t1", "t2"):
        (directory / name).write_text("Healthy\n")
    return directory


STATES = [
    (("Healthy", "Healthy"), 0),
    (("Healthy", "Unhealthy: torn"), 1),
    (("Unknown: dark", "Healthy"), 2),
    (("Unknown: dark", "Unhealthy: torn"), 1),
]


@pytest.mark.parametrize(("states", "code"), STATES)
def test_the_exit_code_says_whether_all_is_well_something_broken_or_unknown(toys: Path, states: tuple[str, str], code: int) -> None:
    for name, state in zip(("t1", "t2"), states, strict=True):
        (toys / name).write_text(f"{state}\n")
    outcome = podvitals("check", "--detector", f"sim:{toys}")
    assert outcome.returncode == code, outcome.stderr
    assert outcome.stderr == ""


def test_a_look_at_this_machine_lists_its_devices_and_whether_they_work(toys: Path) -> None:
    (toys / "t2").write_text("Unhealthy: torn\naction=service\n")
    outcome = podvitals("check", "--detector", f"sim:{toys}")
    assert outcome.stdout.splitlines() == [
        "DEVICE   HEALTH      PRODUCT   WHY    DO        RULE",
        "t2       Unhealthy   sim       torn   service   -",
        "t1       Healthy     sim       -      -         -",
        "2 devices: 1 healthy, 1 unhealthy",
    ]
    assert "t1" not in podvitals("check", "--detector", f"sim:{toys}", "--unhealthy").stdout


def test_every_device_of_this_machine_is_read_by_whatever_family_can() -> None:
    outcome = podvitals("check", "-o", "json")
    assert outcome.returncode in (0, 1, 2)
    assert "Traceback" not in outcome.stderr
    devices = json.loads(outcome.stdout)["devices"]
    assert all(device["health"] in ("Healthy", "Unknown", "Unhealthy") for device in devices)
    assert all(device["message"] for device in devices if device["health"] != "Healthy")


def test_a_single_look_tells_what_has_to_last_before_a_driver_would(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "host")
    tree.write(tree.pci("0000:3b:00.0", "010802", driver="nvme"), current_link_width=2, max_link_width=4)
    outcome = podvitals("check", "--detector", "pcie:0000:3b*", "--root", str(tmp_path / "host"), "-o", "wide")
    assert "PCIe link is x2, it could be x4 (PCI 0000:3b:00.0)" in outcome.stdout
    assert "pcie.link-width" in outcome.stdout


def test_a_family_that_cannot_list_its_devices_is_told_and_is_not_taken_for_health(tmp_path: Path) -> None:
    (tmp_path / "sys/bus/pci").mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices").write_text("")
    outcome = podvitals("check", "--detector", "pcie", "--root", str(tmp_path))
    assert outcome.returncode == 2
    assert "pcie: devices() failed: NotADirectoryError" in outcome.stderr


def test_what_was_asked_for_and_is_not_there_is_not_taken_for_health(tmp_path: Path) -> None:
    (tmp_path / "toys").mkdir()
    outcome = podvitals("check", "--detector", f"sim:{tmp_path}/toys")
    assert (outcome.returncode, outcome.stderr) == (2, f"podvitals check: sim:{tmp_path}/toys finds no device\n")


def test_a_machine_on_which_nothing_is_found_is_not_taken_for_a_healthy_one(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    (tmp_path / "dev").mkdir()
    outcome = podvitals("check", "--root", str(tmp_path))
    assert outcome.returncode == 2
    assert "podvitals check: no device was found, which says nothing of their health: is sysfs mounted?" in outcome.stderr


def test_a_family_that_may_not_read_what_is_there_is_told_to_be_left_out(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.pci("0000:3b:00.0", "030200")
    with socket.socket(socket.AF_UNIX) as refusing:
        refusing.bind(str(tmp_path / "dev/kmsg"))
        outcome = podvitals("check", "--root", str(tmp_path), "-o", "json")
    why = f"{tmp_path}/dev/kmsg cannot be read (no such device or address)"
    assert f"podvitals check: kmsg is left out: {why}\n" in outcome.stderr
    assert json.loads(outcome.stdout)["leftOut"] == {"kmsg": why}


def test_what_goes_into_a_pipe_is_not_cut(toys: Path) -> None:
    why = "torn " * 60 + "apart"
    (toys / "t2").write_text(f"Unhealthy: {why}\n")
    assert why in podvitals("check", "--detector", f"sim:{toys}").stdout


def test_an_earlier_recording_is_kept_where_the_command_line_is_wrong(tmp_path: Path) -> None:
    earlier = tmp_path / "r.jsonl"
    earlier.write_text("precious")
    for wrong in (["--detector", "nonsense"], ["--replay", "/nonexistent/r"], ["--rules", "/nonexistent/r"], ["--root", "/nonexistent"]):
        assert podvitals("check", "--record", str(earlier), *wrong).returncode in (2, 3)
        assert earlier.read_text() == "precious"


def test_prometheus_is_told_of_devices_of_rules_that_speak_and_of_programs_faults(tmp_path: Path) -> None:
    said = [
        Taken(3.0, "nvidia", "gpu-0", (Code("xid", "13"),), whole=False),
        Taken(4.0, "nvidia", "gpu-0", (Code("xid", "31"),), whole=False),
    ]
    path = recorded(tmp_path / "r", Found(0.0, "nvidia", GPUS), *said, Taken(5.0, "nvidia", "gpu-1", (XID,), whole=False))
    outcome = podvitals("check", "--replay", str(path), "-o", "prometheus")
    assert outcome.returncode == 1
    samples = [
        (sample.name.removeprefix("podvitals_detect_"), sample.labels, sample.value)
        for family in text_string_to_metric_families(outcome.stdout)
        for sample in family.samples
    ]
    gpu = {"device": "gpu-1", "product": "H200", "health": "Unhealthy", "action": "power-cycle"}
    rule = {"rule": "xid.79", "class": "fatal", "action": "power-cycle"}
    assert ("device_health", gpu, 1) in samples
    assert ("devices", {"health": "Unhealthy"}, 1) in samples
    assert [labels for name, labels, _ in samples if name == "rule_applies"] == [{"device": "gpu-1"} | rule]
    assert {labels["rule"]: value for name, labels, value in samples if name == "rule_seen_total"} == {
        "xid.13": 1,
        "xid.31": 1,
        "xid.79": 1,
    }
    assert {labels["class"]: value for name, labels, value in samples if name == "rules"}["fatal"] > 50


def test_a_recording_is_told_with_the_rule_its_source_and_what_changed_when(fallen: Path) -> None:
    outcome = podvitals("check", "--replay", str(fallen), "-o", "wide")
    assert outcome.returncode == 1
    table, changes = outcome.stdout.split("\n\n")
    assert "xid.79" in table
    assert "https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html" in table
    assert changes.splitlines() == [
        "+7s  gpu-2  Healthy  uncorrectable PCIe errors, not fatal (AER) (PCI 0000:2b:00.0)",
        "+2m5s  gpu-1  Healthy → Unhealthy  Xid 79: GPU has fallen off the bus (PCI 0000:1b:00.0)  (do: power-cycle)",
        "3 devices: 2 healthy (1 degraded), 1 unhealthy",
    ]


def test_a_script_gets_readings_rules_and_actions_as_json(fallen: Path) -> None:
    outcome = podvitals("check", "--replay", str(fallen), "-o", "json")
    document = json.loads(outcome.stdout)
    gpu = document["devices"][0]
    assert (gpu["device"], gpu["health"], gpu["action"]) == ("gpu-1", "Unhealthy", "power-cycle")
    assert gpu["rules"][0]["id"] == "xid.79"
    assert gpu["readings"] == {"nvidia": {"nvidia.presence": "present"}}
    assert document["changes"][-1]["at"] == 125.0


def test_a_recording_is_made_anonymous_and_means_the_same(fallen: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean.jsonl"
    assert podvitals("check", "--replay", str(fallen), "--record", str(clean), "--anonymise").returncode == 1
    for secret in ("SERIAL-1", "secret-trainer", "4711"):
        assert secret in fallen.read_text()
        assert secret not in clean.read_text()
    assert podvitals("check", "--replay", str(clean)).stdout == podvitals("check", "--replay", str(fallen)).stdout


def test_what_is_watched_is_told_once_and_then_what_changes_until_ctrl_c(toys: Path) -> None:
    line = [sys.executable, "-m", "podvitals", "check", "--watch", "--detector", f"sim:{toys},interval=0.2"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        until(process.stdout.readline, "2 devices: 2 healthy")
        write_state(toys / "t2", Reading(Health.UNHEALTHY, "torn", "service"))
        told = until(process.stdout.readline, "t2")
        assert re.fullmatch(r"\d\d:\d\d:\d\d  t2  Healthy → Unhealthy  torn  \(do: service\)\n", told)
        process.send_signal(signal.SIGINT)
    except BaseException:
        process.kill()
        raise
    finally:
        rest, errors = process.communicate(timeout=30)
    assert (process.returncode, rest, errors) == (1, "", "")


def until(read: Callable[[], str], words: str) -> str:
    while line := read():
        if words in line:
            return line
    raise AssertionError(f"it ended without saying {words!r}")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["check", "--anonymise"], 2, "give --record FILE too"),
        (["check", "-w", "-o", "json"], 2, "-w prints a table"),
        (["check", "--replay", "r", "-w"], 2, "--watch and --detector are for this machine"),
        (["check", "--replay", "/nonexistent/r"], 3, "cannot read recording /nonexistent/r"),
        (["check", "--detector", "sims:/x"], 2, "did you mean sim?"),
        (["check", "--rules", "/nonexistent/r"], 3, "cannot read rules /nonexistent/r"),
        (["check", "--replay", "/etc/hostname"], 2, "/etc/hostname is no recording: its first line does not say that it is one"),
        (["check", "--root", "/nonexistent"], 2, "there is no /nonexistent/sys: --root takes the directory under which"),
        (["detectors", "--root", "/nonexistent"], 2, "there is no /nonexistent/sys"),
        (["check", "-w", "-o", "prometheus"], 2, "-w prints a table"),
        (["rules", "show", "xid.999"], 2, "there is no rule xid.999"),
        (["rules", "explain", "nothing"], 2, "no rule says anything of nothing"),
        (["rules", "list", "--family", "nvidea"], 2, "did you mean 'nvidia'?"),
        (["rules", "frobnicate"], 2, "No such command"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(arguments: list[str], code: int, says: str) -> None:
    outcome = podvitals(*arguments)
    assert outcome.returncode == code
    assert says in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_a_recording_does_not_overwrite_what_it_is_made_of(fallen: Path) -> None:
    before = fallen.read_text()
    assert podvitals("check", "--replay", str(fallen), "--record", str(fallen)).returncode == 2
    assert fallen.read_text() == before


def test_the_families_are_listed_with_what_they_need_and_why_they_cannot_run_here(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    rows = json.loads(podvitals("detectors", "-o", "json", "--root", str(tmp_path)).stdout)["detectors"]
    assert {row["family"] for row in rows} >= {"nvidia", "pcie", "kmsg"}
    assert not any(row["available"] for row in rows if row["family"] in ("nvidia", "pcie", "kmsg"))
    assert all(row["why"] or row["available"] for row in rows)
    assert "FAMILY" in podvitals("detectors").stdout


def test_a_rule_is_explained_by_its_code_its_signal_or_its_name() -> None:
    explained = podvitals("rules", "explain", "xid", "63").stdout
    for words in ("xid.63", "degraded", "reset-gpu", "when the device was reset", "https://docs.nvidia.com/"):
        assert words in explained
    assert podvitals("rules", "explain", "xid.63").stdout == explained
    assert "pcie.aer-nonfatal" in podvitals("rules", "explain", "pcie.aer_nonfatal").stdout
    assert "any other" in podvitals("rules", "explain", "xid", "4711").stdout


FALLEN = "NVRM: Xid (PCI:0000:3b:00): 79, pid=4711, name=python, GPU has fallen off the bus."


@pytest.mark.parametrize(
    "stamp", ["", "[  123.456789] ", "[Mon Nov 23 17:00:00 2026] ", "Nov 23 17:00:00 node-7 kernel: ", "node-7 kernel: [1.2] "]
)
def test_a_line_out_of_dmesg_is_explained_as_it_was_pasted(stamp: str) -> None:
    lines = podvitals("rules", "explain", f"{stamp}{FALLEN}").stdout.splitlines()
    assert lines[:3] == ["Of      pci 0000:3b:00.0", "Is      xid 79", "Rule    xid.79"]
    anchored = podvitals("rules", "explain", f"{stamp}I/O error, dev sda, sector 12").stdout.splitlines()
    assert anchored[:2] == ["Of      block sda", "Is      kmsg block-io-error"]


def test_what_a_person_types_of_a_code_is_understood_or_put_right() -> None:
    explained = podvitals("rules", "explain", "xid", "79").stdout
    assert podvitals("rules", "explain", "Xid 79").stdout == explained
    assert podvitals("rules", "explain", "XID", "79").stdout == explained
    assert "xid.79" in podvitals("rules", "explain", "xid").stdout, "all of a table"
    assert "did you mean xid 79?" in podvitals("rules", "explain", "79").stderr
    assert "did you mean 'pcie.aer_fatal'?" in podvitals("rules", "explain", "pcie.aer_fatl").stderr
    assert "no pattern knows this line" in podvitals("rules", "explain", "what is this").stderr
    assert "which ends what waits for it" in podvitals("rules", "explain", "NVRM: loading NVIDIA UNIX x86_64").stdout


def test_rules_are_listed_by_family_and_for_scripts() -> None:
    assert "fpga.state" in podvitals("rules", "list", "--family", "fpga").stdout
    rules = json.loads(podvitals("rules", "list", "-o", "json").stdout)["rules"]
    assert {rule["id"] for rule in rules} >= {"xid.79", "pcie.gone"}
    assert podvitals("rules", "list", "--family", "fpga").stdout.splitlines()[-1] == "2 rules: 1 fatal, 1 unknown"


def test_lines_of_the_kernel_log_are_listed_and_shown_as_they_are_written(tmp_path: Path) -> None:
    lines = json.loads(podvitals("rules", "list", "--lines", "-o", "json").stdout)["lines"]
    assert {line["id"] for line in lines} >= {"xid", "nvme-down"}
    assert "NVRM: Xid" in podvitals("rules", "list", "--lines").stdout
    ours = tmp_path / "ours.toml"
    ours.write_text(podvitals("rules", "show", "lines.xid").stdout.replace("NVRM: Xid", "NVRM: Xyd", 1))
    assert podvitals("rules", "test", str(ours)).stdout == "changed  line xid: has: NVRM: Xid → NVRM: Xyd\n"
    assert podvitals("rules", "list", "--rules", str(ours)).stdout.splitlines()[-1].endswith("healthy")


def test_a_rule_shown_can_be_copied_into_a_file_of_ones_own(tmp_path: Path) -> None:
    ours = tmp_path / "ours.toml"
    ours.write_text(podvitals("rules", "show", "xid.79").stdout.replace("fatal", "degraded"))
    assert podvitals("rules", "test", str(ours)).stdout == "changed  xid.79: class: fatal → degraded\n"


def test_another_damping_is_told_in_words(tmp_path: Path) -> None:
    ours = tmp_path / "ours.toml"
    ours.write_text('[damping]\nwindow = "1h"\nhold = "30s"\n')
    told = podvitals("rules", "test", str(ours)).stdout
    assert told == "changed  damping: 8 changes in 10min → 8 changes in 1h, better held for 30s\n"


def test_an_operators_rules_are_tried_on_a_recording(fallen: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.toml"
    ours.write_text('[xid.79]\nclass = "degraded"\n')
    outcome = podvitals("rules", "test", str(ours), "--replay", str(fallen))
    assert outcome.returncode == 1
    assert "only with podvitals' own rules:\n  +2m5s  gpu-1  Healthy → Unhealthy" in outcome.stdout
    assert "only with your rules:\n  +2m5s  gpu-1  Healthy  Xid 79" in outcome.stdout
    assert podvitals("check", "--replay", str(fallen), "--rules", str(ours)).returncode == 0
    ours.write_text('[fpga.state]\nclass = "degraded"\n')
    same = podvitals("rules", "test", str(ours), "--replay", str(fallen))
    assert same.returncode == 0
    assert "comes out the same" in same.stdout


BROWNOUT = """
[lines.brownout]
has = "brownout"
pattern = 'card (?P<pci>[0-9a-f:.]+): brownout (?P<level>[0-9]+)'

[ours.brownout]
match = { table = "kmsg", code = "brownout" }
class = "fatal"
message = "brownout of level {level}"
needs = "service"
"""


def test_an_operators_pattern_is_tried_on_the_lines_of_a_recording(tmp_path: Path, fallen: Path) -> None:
    ours = tmp_path / "ours.toml"
    ours.write_text(BROWNOUT)
    names = Named(0.0, "kmsg", (("gpu-1", (("pci", "0000:1b:00.0"),)),))
    heard = [Heard(at, "kmsg", f"card 0000:{bus}:00.0: brownout 3") for at, bus in ((9.0, "1b"), (10.0, "7f"))]
    path = recorded(tmp_path / "r", Found(0.0, "kmsg", GPUS), names, Heard(8.0, "kmsg", "card of slot 0000:1b:00.0"), *heard)
    outcome = podvitals("rules", "test", str(ours), "--replay", str(path))
    assert outcome.returncode == 1
    assert "new      line brownout: kmsg brownout\n" in outcome.stdout
    assert "line brownout: found in 2 of 3 lines of the kernel log, of 1 device\n" in outcome.stdout
    assert "+9s  gpu-1  Unhealthy  brownout of level 3" in outcome.stdout
    assert podvitals("check", "--replay", str(path), "--rules", str(ours)).returncode == 1
    without = podvitals("rules", "test", str(ours), "--replay", str(fallen)).stdout
    assert "the recording has no lines of the kernel log, so your lines could not be tried" in without


def test_a_mistake_in_an_operators_rules_is_told_with_line_and_column(tmp_path: Path) -> None:
    ours = tmp_path / "ours.toml"
    ours.write_text('[xid.79]\nclas = "degraded"\n')
    outcome = podvitals("rules", "test", str(ours))
    assert outcome.returncode == 2
    assert f"{ours}:2:1: rule xid.79 has no field 'clas': did you mean 'class'?" in outcome.stderr
