"""docs/slurm.md as its readers use it: the scripts it shows are run as they stand."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from podvitals.detect.detector import Device
from podvitals.detect.recording import Found, Record, Taken, Writing
from podvitals.detect.signal import Code, State

PAGE = Path(__file__).parents[2] / "docs/slurm.md"
HEALTH_CHECK, PROLOG = (block.split("```")[0] for block in PAGE.read_text().split("```bash\n")[1:3])
GPUS = tuple(Device(f"gpu-{n}", {"productName": "H200"}) for n in range(3))
HEALTHY: tuple[Record, ...] = (
    Found(0.0, "nvidia", GPUS),
    *(Taken(1.0, "nvidia", gpu.name, (State("nvidia.presence", "present"),), whole=True) for gpu in GPUS),
)
DEGRADED = Taken(2.0, "nvidia", "gpu-0", (Code("xid", "63"),), whole=False)
FATAL = Taken(3.0, "nvidia", "gpu-2", (Code("xid", "79"),), whole=False)


@pytest.fixture
def bin_directory(tmp_path: Path) -> Path:
    """podvitals, that reads a recording instead of this machine, and scontrol, that writes down what it is told."""
    directory = tmp_path / "bin"
    directory.mkdir()
    recording, told = tmp_path / "r.jsonl", tmp_path / "told"
    for name, words in (
        ("podvitals", f'exec {sys.executable} -m podvitals "$@" --replay {recording}'),
        ("scontrol", f"printf '%s\\n' \"$@\" > {told}"),
    ):
        (directory / name).write_text(f"#!/bin/bash\n{words}\n")
        (directory / name).chmod(stat.S_IRWXU)
    return directory


def run(script: str, directory: Path, *records: Record) -> tuple[int, str]:
    """Its exit code, and the reason for which the node was drained; empty where it was not."""
    writing = Writing("0.1.0")
    (directory.parent / "r.jsonl").write_text("".join(f"{line}\n" for line in (writing.head, *map(writing.line, records))))
    told = directory.parent / "told"
    told.unlink(missing_ok=True)
    environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
    outcome = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False)
    said = told.read_text().splitlines() if told.exists() else []
    return outcome.returncode, next((word.removeprefix("reason=") for word in said if word.startswith("reason=")), "")


def test_the_health_check_drains_a_node_with_a_broken_device_and_says_which_and_why(bin_directory: Path) -> None:
    assert run(HEALTH_CHECK, bin_directory, *HEALTHY) == (0, "")
    assert run(HEALTH_CHECK, bin_directory, *HEALTHY, DEGRADED) == (0, "")
    reason = "podvitals: gpu-2 Unhealthy H200 Xid 79: GPU has fallen off the bus power-cycle xid.79"
    assert run(HEALTH_CHECK, bin_directory, *HEALTHY, DEGRADED, FATAL) == (0, reason)


def test_the_prolog_turns_a_job_away_from_a_broken_device_alone(bin_directory: Path) -> None:
    assert run(PROLOG, bin_directory, *HEALTHY, DEGRADED)[0] == 0
    assert run(PROLOG, bin_directory, Found(0.0, "nvidia", GPUS))[0] == 0, "cannot tell"
    assert run(PROLOG, bin_directory, *HEALTHY, FATAL)[0] == 1
