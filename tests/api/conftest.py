"""The suite's first subject: the lab's API server, on a real socket. The second, the real kube-apiserver: tests/cluster/test_api.py."""

from collections.abc import AsyncIterator

import pytest_asyncio

from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer
from tests.api.subject import Subject, subject_on


@pytest_asyncio.fixture
async def subject() -> AsyncIterator[Subject]:
    async with ApiServer() as server, Client(ClusterConfig(server.url)) as client, subject_on(client) as made:
        yield made
