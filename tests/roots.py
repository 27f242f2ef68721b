"""Tests that need root: skipped without it on a person's machine, failing without it in CI, where nothing may be left out silently."""

import os

import pytest

_LEAVE_OUT = os.geteuid() != 0 and os.environ.get("CI") != "true"
requires_root = pytest.mark.skipif(_LEAVE_OUT, reason="needs root (CI=true makes this a failure)")
