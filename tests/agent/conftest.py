"""Directories with short paths: a Unix socket's path has 107 bytes, and pytest's own directories take most of them."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        yield Path(directory)
