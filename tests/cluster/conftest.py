"""The suite on a real Kubernetes: one cluster for all of it, a namespace and its own processes for each test.

K8S=1.34.4 picks another release. Without root or Go the suite is skipped with one line saying so; under CI=true that is a failure.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import releases
from tests.cluster.api import Api
from tests.cluster.build import DEFAULT_VERSION, cached
from tests.cluster.cluster import Cluster, tail
from tests.cluster.relayed import Relayed
from tests.cluster.releases import Shown
from tests.cluster.subjects import Processes, World

if TYPE_CHECKING:
    from podvitals.kube.client import Client

DEPLOY = Path(__file__).parents[2] / "deploy"
VERSION = os.environ.get("K8S", DEFAULT_VERSION)


def _missing() -> str:
    if os.geteuid() != 0:
        return "root (a kubelet needs it)"
    if not cached(VERSION).exists() and shutil.which("go") is None:
        return "Go 1.26 or newer (Kubernetes is built from source)"
    return "openssl" if shutil.which("openssl") is None else ""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if missing := _missing():
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(f"the cluster suite needs {missing}")
    cluster = Cluster(VERSION).up()
    try:
        for rights in sorted((*DEPLOY.glob("*-rbac.yaml"), *DEPLOY.glob("*-policy.yaml"))):
            cluster.run_kubectl("apply", "-f", str(rights))
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    """As the administrator, in raw dicts."""
    async with Api(cluster.kubeconfig) as api:
        yield api


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator["Client"]:
    """As the administrator, with the client podvitals itself uses."""
    from podvitals.kube.client import Client
    from podvitals.kube.locate import load_config

    async with Client(await asyncio.to_thread(load_config, cluster.kubeconfig)) as client:
        yield client


@pytest.fixture
def processes(cluster: Cluster) -> Iterator[Processes]:
    processes = Processes(cluster)
    yield processes
    processes.end_all()


@pytest.fixture
async def world(cluster: Cluster, api: Api, processes: Processes) -> AsyncIterator[World]:
    async with World.open(cluster, api, processes) as world:
        world.equal_names = releases.lacks(VERSION, Shown.CLAIM_OF_A_TEMPLATE) is not None
        yield world


@pytest.fixture
async def relayed(world: World) -> AsyncIterator[Relayed]:
    yield Relayed(world)
    await world.end_pods()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        wanted = [shown for marker in item.iter_markers("needs") for shown in marker.args]
        for mark in filter(None, (releases.expected(VERSION, shown) for shown in wanted)):
            item.add_marker(mark)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Shows the end of the logs of whatever took part in a test that failed."""
    outcome: Any = yield
    report = outcome.get_result()
    if not report.failed or not isinstance(item, pytest.Function):
        return
    processes = item.funcargs.get("processes")
    if isinstance(processes, Processes):
        for name, path in processes.logs().items():
            report.sections.append((f"log of {name}", tail(path, 40)))
    if isinstance(cluster := item.funcargs.get("cluster"), Cluster):
        report.sections.append(("log of kubelet", tail(cluster.log("kubelet"), 25)))
