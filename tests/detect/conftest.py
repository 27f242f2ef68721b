"""A short temporary directory: a socket's path has 107 bytes, and pytest's own directories take most of them."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pv-"))
    yield directory
    shutil.rmtree(directory)
