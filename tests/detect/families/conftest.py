"""What the families' tests share: one NVML for the whole process, for the loader knows a library by its name."""

import ctypes

import pytest

from tests.detect.families.nvml.fake import library


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return library(tmp_path_factory.mktemp("nvml"))
