"""An API server and a kubeconfig that leads to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api.server import ApiServer
from tests.cli.cluster import Cluster, kubeconfig_for


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    server = ApiServer()
    await server.start()
    try:
        async with Client(ClusterConfig(server.url)) as client:
            yield Cluster(client, kubeconfig_for(server.url, tmp_path))
    finally:
        await server.stop()
