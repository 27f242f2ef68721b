"""An API server, a place for an agent, and a driver on a real socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podvitals.device.health import Health
from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer
from podvitals.testing import FakeDriver
from tests.agent.cluster import DRIVER, Cluster, reports


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with ApiServer() as api, Client(ClusterConfig(api.url)) as client:
        yield Cluster(tmp_path, client)


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[FakeDriver]:
    async with FakeDriver(tmp_path, DRIVER) as driver:
        driver.report(reports(Health.HEALTHY))
        yield driver
