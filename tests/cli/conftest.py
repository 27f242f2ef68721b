"""An API server and a kubeconfig that leads to it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api.server import ApiServer
from tests.cli.cluster import Cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    server = ApiServer()
    await server.start()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "current-context": "lab",
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
                "clusters": [{"name": "lab", "cluster": {"server": server.url}}],
                "users": [{"name": "lab", "user": {}}],
            }
        )
    )
    try:
        async with Client(ClusterConfig(server.url)) as client:
            yield Cluster(client, kubeconfig)
    finally:
        await server.stop()
