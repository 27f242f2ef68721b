"""Short socket directories: a Unix socket path has 107 bytes, and pytest's tmp_path spends most of them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pv", dir="/tmp") as directory:
        yield Path(directory)
