"""Prometheus' own parser, database and rule engine, built from Go modules (prometheus/main.go): which alerts of deploy/ fire when.

Cold it takes a minute and a half on 2 cores, from the cache nothing.
"""

import fcntl
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.build import CACHE, go

VERSION = "0.316.0"
SOURCE = Path(__file__).parent / "prometheus" / "main.go"
DEPLOY = Path(__file__).parents[2] / "deploy"


def cached() -> Path:
    """Where the program lies, built or not."""
    return CACHE / "prometheus" / VERSION / f"alerts-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}"


def build() -> Path:
    """The program, built if it is not there yet; a second caller waits for the first. BuildFailed where Go could not."""
    program = cached()
    program.parent.mkdir(parents=True, exist_ok=True)
    with open(program.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            with tempfile.TemporaryDirectory(prefix="podvitals-build-") as directory:
                work = Path(directory)
                (work / "main.go").write_bytes(SOURCE.read_bytes())
                required = f"require github.com/prometheus/prometheus v{VERSION}"
                (work / "go.mod").write_text(f"module podvitals.test/alerts\n\ngo 1.26.0\n\n{required}\n")
                partial = program.with_suffix(".partial")
                go(work, "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", str(partial), ".")
            partial.rename(program)
    return program


@dataclass(frozen=True, slots=True)
class Target:
    """What is scraped: `text` as it answers, None: it does not."""

    text: str | None
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Phase:
    """For `seconds`, every scrape finds these targets as they are."""

    seconds: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Alerts:
    """The rules of one file of deploy/, as Prometheus takes them."""

    file: str

    def spec(self) -> Any:
        documents = yaml.safe_load_all((DEPLOY / self.file).read_text())
        return next(one["spec"] for one in documents if one["kind"] == "PrometheusRule")

    def rules(self) -> dict[str, Any]:
        return {rule["alert"]: rule for group in self.spec()["groups"] for rule in group["rules"]}

    def fire(self, phases: Sequence[Phase]) -> list[list[dict[str, dict[str, str]]]]:
        """What fires at the end of each phase: {labels, annotations}. Blocks."""
        played = [
            {"seconds": phase.seconds, "targets": [{"labels": target.labels, "text": target.text} for target in phase.targets]}
            for phase in phases
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(self.spec(), file)
            file.flush()
            done = subprocess.run([str(build()), file.name], input=json.dumps(played), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told: list[list[dict[str, dict[str, str]]]] = json.loads(done.stdout)
        return told
