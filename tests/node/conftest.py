from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """Short: a socket's path has 107 bytes."""
    with TemporaryDirectory(prefix="nw") as directory:
        (Path(directory) / "plugins_registry").mkdir()
        yield Path(directory)
