"""Tests that need a right: left out without it on a person's machine, with the reason; run, and so failing, in CI (CI=true)."""

import os
from pathlib import Path

import pytest

_CAP_MKNOD = 27


def requires(what: str, there: bool) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not there and os.environ.get("CI") != "true", reason=f"needs {what} (CI=true makes this a failure)")


def _capable(bit: int) -> bool:
    (held,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(held, 16) >> bit & 1)


requires_mknod = requires("the right to make device nodes (CAP_MKNOD)", _capable(_CAP_MKNOD))
requires_root = requires("root", os.geteuid() == 0)
