"""Directories short enough for a lab, whose sockets live in it: pytest's own are too long."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pv-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)
