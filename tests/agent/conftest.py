"""An API server, a place for an agent, and a driver on a real socket."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from podvitals.device.health import Health
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer
from podvitals.testing import FakeDriver
from tests.agent.cluster import DRIVER, Cluster, reports


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Short: a Unix socket's path has 107 bytes, and pytest's own directories take most of them."""
    with TemporaryDirectory(prefix="pv-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with ApiServer() as api, Client(ClusterConfig(api.url)) as client:
        yield Cluster(tmp_path, client)


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[FakeDriver]:
    async with FakeDriver(tmp_path, DRIVER) as driver:
        driver.report(reports(Health.HEALTHY))
        yield driver
