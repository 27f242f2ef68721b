"""A node of the lab's kubelet whose drivers are stand-ins; `Gates` by parametrization."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from podvitals.kube.client import Client
from podvitals.kube.config import ClusterConfig
from podvitals.lab.api import ApiServer
from podvitals.lab.kubelet.gates import Gates
from tests.lab.kubelet.fakes import FakeDrivers
from tests.lab.kubelet.place import Lab, furnish, node


@pytest.fixture
async def lab(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    furnish(tmp_path)
    drivers = FakeDrivers()
    async with ApiServer() as server, Client(ClusterConfig(server.url)) as client:
        async with AsyncExitStack() as stack:
            kubelet = await stack.enter_async_context(node(client, drivers, tmp_path, gates=getattr(request, "param", Gates())))
            yield Lab(client, kubelet, drivers, tmp_path, stack.aclose)
    assert not list((tmp_path / "pods").iterdir()), "nothing of a pod stays"
    assert not list((tmp_path / "logs").iterdir())
